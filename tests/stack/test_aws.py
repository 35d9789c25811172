"""The running service when AWS fails: what its logs say, what goes on, and how it recovers."""

from __future__ import annotations

import pytest

from tests.faults import FaultyDynamo, KeyServer, error
from tests.hostile_tokens import Pool
from tests.running import stack, wait_for
from tests.tokens import POOL_KEY, jwk

ITEM = {"title": "my title", "content": "my content"}
WORKERS = 2


@pytest.fixture
def pool(aws):
    return Pool(aws.environment["COGNITO_USER_POOL_ID"], aws.environment["COGNITO_CLIENT_ID"])


@pytest.fixture
def dynamo(aws):
    with FaultyDynamo(aws.url) as server:
        yield server


@pytest.fixture
def keys():
    with KeyServer(jwk(POOL_KEY)) as server:
        yield server


@pytest.fixture
def service(aws, dynamo, keys):
    """The stack with both of its AWS services behind servers that can fail."""
    addresses = {"AWS_ENDPOINT_URL_DYNAMODB": dynamo.url, "COGNITO_JWKS_URL": keys.url}
    with stack(**{**aws.environment, **addresses, "WEB_CONCURRENCY": str(WORKERS)}) as running:
        yield running


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_a_failure_is_logged_once_with_its_cause_and_the_request_id(service, dynamo):
    dynamo.fault = error("AccessDeniedException", message="not authorized to perform: dynamodb:Query")
    answer = service.api("GET", "/db-item")
    assert answer.status == 503
    assert b"dynamodb:Query" not in answer.body

    def lines():
        return [line for line in service.log() if line["logger"] == "app.stores.dynamodb_client"]

    wait_for(lines)
    (line,) = lines()
    assert line["level"] == "error"
    assert line["request_id"] == answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert "not authorized to perform: dynamodb:Query" in line["message"]


def test_without_dynamodb_everything_else_goes_on_and_it_recovers_by_itself(service, dynamo, pool):
    api = service.api
    assert api("PUT", "/db-item", ITEM).status == 201
    dynamo.goes_down()
    for path in ("/db-item", "/authenticated-item"):
        assert api("GET", path, headers=bearer(pool.token())).status == 503
    assert api("GET", "/ping").status == 200
    assert api("PUT", "/item", ITEM).status == 201
    dynamo.comes_up()
    assert api("GET", "/db-item").status == 200
