"""The running service when AWS fails: what its logs say, what goes on, and how it recovers."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults import FaultyDynamo, KeyServer, error, slow
from tests.hostile_tokens import HEADER, Pool
from tests.running import stack, wait_for
from tests.tokens import POOL_KEY, jwk, make_token

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


def test_slow_dynamodb_holds_up_nobody_else(service, dynamo):
    dynamo.fault = slow
    over = threading.Event()
    answers = []

    def ask():
        """Statuses and seconds of requests to the table, one after the other."""
        while not over.wait(0.1):
            began = time.monotonic()
            answers.append((service.api("GET", "/db-item").status, time.monotonic() - began))

    with ThreadPoolExecutor(16) as threads:
        asking = [threads.submit(ask) for _ in range(16)]
        try:
            # until then every thread may wait for the first attempt
            wait_for(lambda: answers)
            others = [service.api("GET", path).status for path in ("/item", "/ping") * 50]
            # in each worker one at a time waits for another attempt: the others are told at once
            wait_for(lambda: sum(seconds < 1 for _, seconds in answers) >= 50, 20, "most are told at once")
        finally:
            over.set()
    for request in asking:
        request.result()
    assert others == [200] * 100
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < 10


def test_every_worker_loads_the_keys_by_itself_and_strangers_make_none_load_them_again(service, keys, pool):
    wait_for(lambda: len(keys.requests) == WORKERS, 10, "every worker has loaded the keys")
    stranger = bearer(make_token({**HEADER, "kid": "unknown"}, pool.claims(), POOL_KEY))
    valid = bearer(pool.token())
    with ThreadPoolExecutor(8) as threads:
        refused = [threads.submit(service.api, "GET", "/authenticated-item", headers=stranger) for _ in range(200)]
        served = [threads.submit(service.api, "GET", "/authenticated-item", headers=valid) for _ in range(20)]
    assert {request.result().status for request in refused} == {401}
    assert {request.result().status for request in served} == {200}
    assert len(keys.requests) == WORKERS


def test_keys_that_cannot_be_loaded_at_start_are_loaded_later(aws, dynamo, keys, pool):
    keys.goes_down()
    addresses = {"AWS_ENDPOINT_URL_DYNAMODB": dynamo.url, "COGNITO_JWKS_URL": keys.url}
    with stack(**{**aws.environment, **addresses}) as service:
        answer = service.api("GET", "/authenticated-item", headers=bearer(pool.token()))
        assert answer.status == 503
        assert 1 <= int(answer.headers["Retry-After"]) <= 10
        assert service.api("GET", "/ping").status == service.api("GET", "/db-item").status == 200
        keys.comes_up()
        headers = bearer(pool.token())
        wait_for(
            lambda: service.api("GET", "/authenticated-item", headers=headers).status == 200, 20, "the keys are loaded"
        )
