"""The DynamoDB store, with a real client, when DynamoDB behaves and when it does not."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from app import create_app
from app.settings import Settings
from app.stores import Condition, ConditionFailed, Item, NotFound, StoreTimeout, StoreUnavailable, new_version
from app.stores.dynamodb import DynamoStore
from app.stores.dynamodb_client import DynamoClient
from app.stores.dynamodb_errors import explain
from entrypoint.settings import THREADS
from tests.api import app_api
from tests.faults import FaultyDynamo, FaultyServer, answer_cut, answer_late, answer_lost, body, broken, error, slow
from tests.running import ROOT, wait_for

REGION = "us-east-1"
ANY = Condition()
THROTTLED = error("ProvisionedThroughputExceededException")


@pytest.fixture
def dynamo(aws):
    with FaultyDynamo(aws.url) as server:
        yield server


@pytest.fixture
def table(aws):
    return aws.new_table()


@pytest.fixture
def store(dynamo, table):
    client = DynamoClient(table, REGION, dynamo.url)
    # what the making takes would count in the time that an operation has
    client.job.start()
    client.job.wait(60)
    return DynamoStore(client)


@pytest.fixture
def api(aws, dynamo, table, store_directory):
    """The whole application, its table behind the faults."""
    changes = {"AWS_ENDPOINT_URL_DYNAMODB": dynamo.url, "TABLE_NAME": table, "RUN_DIR": store_directory}
    return app_api(create_app(Settings.from_environment({**aws.environment, **changes})))


def item(title="title", id=None):
    return Item(id or str(uuid.uuid4()), title, "content", new_version())


def matching(*versions):
    return Condition(match=frozenset(versions))


# an answer that is lost, and the client's own retry


@pytest.mark.parametrize("fault", [answer_lost, answer_late, error("InternalServerError", 500)])
@pytest.mark.parametrize("faults", [1, 2])
def test_a_create_survives_lost_answers(store, dynamo, fault, faults):
    new = item()
    dynamo.faults.extend([fault] * faults)
    assert store.create("alice", new).version == new.version
    assert store.read("alice", new.id) == new


@pytest.mark.parametrize("conditional", [False, True])
def test_an_update_recognises_its_own_success(store, dynamo, conditional):
    old = store.create("alice", item())
    dynamo.faults.append(answer_lost)
    new = store.update("alice", old.id, {"title": "new"}, matching(old.version) if conditional else ANY)
    assert (new.title, new.content) == ("new", "content")
    assert new.version != old.version
    assert store.read("alice", old.id) == new


@pytest.mark.parametrize("conditional", [False, True])
def test_a_delete_recognises_its_own_success(store, dynamo, conditional):
    old = store.create("alice", item())
    dynamo.faults.append(answer_lost)
    store.delete("alice", old.id, matching(old.version) if conditional else ANY)
    assert store.read("alice", old.id) is None


def test_a_delete_that_was_only_throttled_before_finds_nothing(store, dynamo):
    dynamo.faults.append(THROTTLED)
    with pytest.raises(NotFound):
        store.delete("alice", item().id, ANY)


def test_the_write_of_another_is_not_taken_for_an_own_success(store, dynamo):
    others = store.create("alice", item("another's"))
    dynamo.faults.append(broken)
    assert store.create("alice", item("mine", others.id)) == others
    dynamo.faults.append(broken)
    with pytest.raises(ConditionFailed):
        store.update("alice", others.id, {"title": "mine"}, matching(1))
    dynamo.faults.append(broken)
    with pytest.raises(ConditionFailed):
        store.delete("alice", others.id, matching(1))
    assert store.read("alice", others.id) == others


def test_what_one_operation_met_does_not_count_for_the_next(store, dynamo):
    dynamo.faults.append(answer_lost)
    store.create("alice", item())
    with pytest.raises(NotFound):
        store.delete("alice", item().id, ANY)


def test_no_operation_is_late_because_of_the_one_before(store, dynamo):
    """A connection that was closed meanwhile is the usual case."""
    there = store.create("alice", item())
    for call in (
        lambda: store.create("alice", item()),
        lambda: store.read("alice", there.id),
        lambda: store.page("alice", 10, None),
        lambda: store.update("alice", there.id, {"title": "new"}, ANY),
        lambda: store.delete("alice", there.id, ANY),
    ):
        store._client.operation.began = float("-inf")
        dynamo.faults.append(broken)
        call()


@pytest.mark.parametrize("after", ["refused", THROTTLED, error("AccessDeniedException")])
def test_a_write_that_timed_out_is_not_known_whatever_came_after(store, dynamo, after):
    def late_then_down(handler):
        if after == "refused":
            dynamo.goes_down(connections=False)
        slow(handler)

    dynamo.fault = None if after == "refused" else after
    dynamo.faults.append(late_then_down)
    with pytest.raises(StoreTimeout):
        store.create("alice", item())
    dynamo.released.set()


# conditions


def test_more_versions_than_an_expression_takes(store, dynamo):
    """moto takes any number."""
    old = store.create("alice", item())
    many = range(1, 102)
    with pytest.raises(ConditionFailed):
        store.update("alice", old.id, {"title": "new"}, matching(*many))
    with pytest.raises(ConditionFailed):
        store.delete("alice", old.id, matching(*many))
    with pytest.raises(NotFound):
        store.delete("alice", item().id, matching(*many))
    assert dynamo.requests == ["PutItem", "GetItem", "GetItem", "GetItem"]
    new = store.update("alice", old.id, {"title": "new"}, matching(*many, old.version))
    store.delete("alice", old.id, Condition(none_match=frozenset(many)))
    assert store.read("alice", new.id) is None


def test_a_condition_checked_here_still_holds_when_the_write_happens(store, dynamo):
    old = store.create("alice", item())
    seen = []

    def changed_meanwhile(handler):
        # after the store has read the item, and before it writes
        if not seen:
            seen.append(DynamoStore.update(store, "alice", old.id, {"content": "meanwhile"}, ANY))
        dynamo.answer(handler)

    store.read("alice", old.id)
    dynamo.faults.extend([None, changed_meanwhile])
    new = store.update("alice", old.id, {"title": "new"}, Condition(none_match=frozenset([1])))
    assert (new.title, new.content) == ("new", "meanwhile")


def test_an_item_that_others_write_all_the_time_is_given_up(store, dynamo, aws, table, monkeypatch):
    monkeypatch.setattr("app.stores.dynamodb_attempts.LAST_RETRY", 0.3)
    old = store.create("alice", item())
    key = {"userId": {"S": "alice"}, "itemId": {"S": old.id}}

    def is_written_after_it_was_read(handler):
        answer = dynamo.forward(handler)
        if dynamo.requests[-1] == "GetItem" and len(dynamo.requests) < 1000:
            aws.dynamodb.put_item(TableName=table, Item=key | {"version": {"N": str(new_version())}})
        handler.send(*answer)

    dynamo.fault = is_written_after_it_was_read
    with pytest.raises(StoreUnavailable, match="written to too often") as raised:
        store.delete("alice", old.id, Condition(none_match=frozenset([1])))
    assert raised.value.retry_after == 1


def test_reads_ask_for_every_write_that_was_answered(store, dynamo):
    """moto shows them unasked."""
    asked = []

    def notes_consistency(handler):
        asked.append(json.loads(handler.body).get("ConsistentRead"))
        dynamo.answer(handler)

    dynamo.fault = notes_consistency
    store.read("alice", item().id)
    store.page("alice", 10, None)
    assert asked == [True, True]


# pages


def test_pages_of_large_items_are_bounded_and_have_every_item_once(store, dynamo):
    ids = sorted(store.create("alice", Item(str(uuid.uuid4()), "t", "€" * 65_536, new_version())).id for _ in range(12))
    dynamo.requests.clear()
    found, after = [], None
    while after is not None or not found:
        page = store.page("alice", 100, after)
        # DynamoDB reads 1 MiB a call
        assert 0 < sum(len(item.content.encode()) for item in page.items) < 1.2 * 1024**2
        found += [item.id for item in page.items]
        after = page.next
    assert found == ids
    assert dynamo.requests == ["Query"] * 3


def test_next_is_there_only_when_more_follow(store):
    ids = sorted(store.create("alice", item()).id for _ in range(4))
    store.create("zoe", item())
    assert store.page("alice", 3, None).next == ids[2]
    assert store.page("alice", 4, None).next is None
    last = store.page("alice", 3, ids[2])
    assert ([found.id for found in last.items], last.next) == (ids[3:], None)
    assert store.page("bob", 3, ids[2]).items == []


def test_dynamodb_says_that_more_may_follow_where_nothing_does(store, dynamo):
    """moto does not; DynamoDB does whenever it has read as many as it was asked for."""

    def claims_more(handler):
        status, content, headers = dynamo.forward(handler)
        answer, limit = json.loads(content), json.loads(handler.body)["Limit"]
        if len(answer["Items"]) == limit:
            answer["LastEvaluatedKey"] = {name: answer["Items"][-1][name] for name in ("userId", "itemId")}
        handler.send(status, json.dumps(answer).encode(), headers)

    ids = sorted(store.create("alice", item()).id for _ in range(4))
    dynamo.fault = claims_more
    assert store.page("alice", 4, None).next is None
    assert store.page("alice", 3, None).next == ids[2]
    assert store.page("alice", 1, ids[2]).next is None


def test_an_empty_part_of_the_table_is_no_page(store, dynamo):
    there = store.create("alice", item())

    def finds_nothing_yet(handler):
        last = {"userId": {"S": "alice"}, "itemId": {"S": "0"}}
        answer = json.dumps({"Items": [], "Count": 0, "ScannedCount": 0, "LastEvaluatedKey": last})
        handler.send(200, answer.encode(), {"Content-Type": "application/x-amz-json-1.0"})

    dynamo.faults.append(finds_nothing_yet)
    page = store.page("alice", 10, None)
    assert (page.items, page.next) == ([there], None)


def test_a_page_may_start_after_an_item_that_is_gone(store):
    ids = sorted(store.create("alice", item()).id for _ in range(3))
    store.delete("alice", ids[1], ANY)
    assert [found.id for found in store.page("alice", 3, ids[1]).items] == ids[2:]


def test_only_these_operations_are_used(api, dynamo, aws):
    headers = {"Authorization": f"Bearer {aws.token('alice')}"}
    for path in ("/db-item", "/authenticated-item"):
        id = api("PUT", path, {"title": "a", "content": "b"}, headers=headers).json["id"]
        api("POST", f"{path}/{id}", {"title": "c"}, headers=headers)
        api("GET", path, headers=headers)
        api("GET", f"{path}/{id}", headers=headers)
        api("DELETE", f"{path}/{id}", headers=headers)
    assert set(dynamo.requests) == {"PutItem", "UpdateItem", "Query", "GetItem", "DeleteItem"}


def test_rows_have_the_attributes_that_are_documented(api, aws, table):
    created = api("PUT", "/db-item", {"title": "a", "content": "b"})
    version = {"N": created.etag.strip('"')}
    text = {"userId": "SYSTEM", "itemId": created.json["id"], "title": "a", "content": "b"}
    rows = aws.dynamodb.scan(TableName=table)["Items"]
    assert rows == [{name: {"S": value} for name, value in text.items()} | {"version": version}]


def test_a_row_of_an_earlier_template_without_version_can_be_used(api, aws, table):
    id = str(uuid.uuid4())
    row = {"userId": {"S": "SYSTEM"}, "itemId": {"S": id}, "title": {"S": "old"}}
    aws.dynamodb.put_item(TableName=table, Item=row)
    read = api("GET", f"/db-item/{id}")
    assert read.json == {"id": id, "title": "old", "content": ""}
    assert api("POST", f"/db-item/{id}", {"content": "new"}).json == {"id": id, "title": "old", "content": "new"}
    assert api("DELETE", f"/db-item/{id}", headers={"If-Match": api("GET", f"/db-item/{id}").etag}).status == 204


@pytest.mark.parametrize("condition", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize(("method", "status"), [("POST", 200), ("DELETE", 204)])
def test_conditions_hold_for_a_row_without_version(api, aws, table, method, status, condition):
    id = str(uuid.uuid4())
    aws.dynamodb.put_item(TableName=table, Item={"userId": {"S": "SYSTEM"}, "itemId": {"S": id}})
    tags = {"If-Match": api("GET", f"/db-item/{id}").etag, "If-None-Match": '"1"'}
    change = {"title": "new"} if method == "POST" else {}
    assert api(method, f"/db-item/{id}", change, headers={condition: tags[condition]}).status == status


# failures, as a client sees them

FAILURES = {
    "throttled": (THROTTLED, 503, "1", "Try again"),
    "throttled otherwise": (error("ThrottlingException"), 503, "1", "Try again"),
    "table missing": (error("ResourceNotFoundException"), 503, None, "TABLE_NAME"),
    "table with other keys": (error("ValidationException"), 503, None, "userId"),
    "access denied": (error("AccessDeniedException"), 503, None, "rights"),
    "credentials expired": (error("ExpiredTokenException"), 503, "5", "renew"),
    "credentials unknown": (error("UnrecognizedClientException"), 503, "5", "renew"),
    "signature wrong": (error("InvalidSignatureException"), 503, "5", "renew"),
    "internal error": (error("InternalServerError", 500), 503, "1", "DynamoDB failed"),
    "unavailable": (error("ServiceUnavailable", 503), 503, "1", "DynamoDB failed"),
    "an error nobody knows": (error("BrandNewException"), 503, None, "log"),
    "a proxy's page": (body(b"<html>SECRET cause</html>", 502, Content_Type="text/html"), 503, "1", "DynamoDB failed"),
    "not DynamoDB": (body(b"<html>SECRET cause</html>", 200, Content_Type="text/html"), 503, None, "not DynamoDB"),
    "connection broken": (broken, 503, "1", "broke"),
    "answer cut short": (answer_cut, 503, "1", "broke"),
}


def test_the_rights_are_where_it_says_they_are():
    denied = RuntimeError()
    denied.response = {"Error": {"Code": "AccessDeniedException"}}
    (document,) = re.findall(r"rights that (\S+) lists", explain(denied).message)
    assert '"dynamodb:GetItem"' in (ROOT / document).read_text()


OUTCOME_UNKNOWN = {"internal error", "unavailable", "a proxy's page", "connection broken", "answer cut short"}

CALLS = [
    ("PUT", "", {"title": "a", "content": "b"}),
    ("GET", "", None),
    ("GET", "/00000000-0000-4000-8000-000000000000", None),
    ("POST", "/00000000-0000-4000-8000-000000000000", {"title": "a"}),
    ("DELETE", "/00000000-0000-4000-8000-000000000000", {}),
]


def call_all(api, path, headers):
    """Every kind of request at once; pairs of the method and its answer."""
    with ThreadPoolExecutor(len(CALLS)) as threads:
        answers = threads.map(lambda call: api(call[0], path + call[1], call[2], headers=headers), CALLS)
        return [(call[0], answer) for call, answer in zip(CALLS, answers, strict=True)]


@pytest.mark.parametrize("path", ["/db-item", "/authenticated-item"])
@pytest.mark.parametrize("name", FAILURES)
def test_failures_become_problems_that_say_what_to_do(api, dynamo, aws, caplog, path, name):
    fault, status, retry_after, says = FAILURES[name]
    headers = {"Authorization": f"Bearer {aws.token('alice')}"}
    dynamo.fault = fault
    for method, answer in call_all(api, path, headers):
        assert answer.status == status
        unknown = name in OUTCOME_UNKNOWN and method != "GET"
        assert ("may have happened" in answer.json["detail"]) == unknown
        assert answer.headers.get("Retry-After") == retry_after
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert says in answer.json["detail"]
        assert b"SECRET" not in answer.body
        assert b"127.0.0.1" not in answer.body
    causes = [record for record in caplog.records if record.name == "app.stores.dynamodb_client"]
    assert len(causes) == len(CALLS)
    assert all(record.levelno == logging.ERROR for record in causes)
    dynamo.fault = None
    assert api("GET", path, headers=headers).status == 200


def test_an_answer_that_is_cut_short_does_not_say_that_there_is_no_item(store, dynamo):
    """Nor that a delete found none; boto3 takes it for an empty answer."""
    there = store.create("alice", item())
    dynamo.fault = answer_cut
    for call in (lambda: store.read("alice", there.id), lambda: store.delete("alice", there.id, ANY)):
        with pytest.raises(StoreUnavailable):
            call()


def test_the_log_has_the_cause(api, dynamo, caplog):
    dynamo.fault = error("AccessDeniedException", message="User arn:aws:iam::1:role/x is not authorized")
    api("GET", "/db-item")
    assert "query: ClientError" in caplog.text
    assert "arn:aws:iam::1:role/x is not authorized" in caplog.text


def test_everything_slow_is_over_within_ten_seconds(api, dynamo):
    dynamo.fault = slow
    began = time.monotonic()
    answers = call_all(api, "/db-item", {})
    assert time.monotonic() - began < 10
    for method, answer in answers:
        assert answer.status == (503 if method == "GET" else 504)
        assert answer.headers.get("Retry-After") == ("1" if method == "GET" else None)
    # one of them has tried again; a third time only if the first two, of 2 s each, were over after 4.9 s
    assert len(dynamo.requests) - len(CALLS) in (1, 2)


@pytest.mark.parametrize("fault", [slow, THROTTLED])
def test_one_thread_at_a_time_waits_for_dynamodb(api, dynamo, fault):
    dynamo.fault = fault
    call_all(api, "/db-item", {})
    dynamo.requests.clear()
    began = time.monotonic()
    with ThreadPoolExecutor(20) as threads:
        calls = [threads.submit(api, "GET", "/db-item") for _ in range(20)]
        wait_for(lambda: sum(not call.done() for call in calls) <= 1, 5, "all but one have their answer")
        assert {call.result().status for call in calls} == {503}
    assert time.monotonic() - began < 10
    assert len(dynamo.requests) <= (3 if fault is slow else 22)
    dynamo.fault = None
    assert {answer.status for _, answer in call_all(api, "/item", {})} == {200, 201, 404}
    assert api("GET", "/db-item").status == 200


def test_who_is_answered_does_not_wait_for_others(store, dynamo):
    attempts = store._client._attempts
    attempts._silent_until = float("inf")
    store.read("alice", item().id)
    # another thread waits; a connection that has been idle is closed
    with attempts._waiting:
        dynamo.faults.append(broken)
        store.read("alice", item().id)


def test_no_attempt_begins_late(store, dynamo, monkeypatch):
    monkeypatch.setattr("app.stores.dynamodb_attempts.LAST_RETRY", 0.0)
    dynamo.fault = broken
    with pytest.raises(StoreUnavailable):
        store.read("alice", item().id)
    assert dynamo.requests == ["GetItem"]


def test_no_connection_is_over_within_ten_seconds_and_it_recovers(api, dynamo):
    assert api("GET", "/db-item").status == 200
    dynamo.goes_down()
    began = time.monotonic()
    answers = call_all(api, "/db-item", {})
    assert time.monotonic() - began < 10
    assert [answer.status for _, answer in answers] == [503] * len(CALLS)
    assert {answer.headers["Retry-After"] for _, answer in answers} == {"1"}
    assert "cannot be reached" in " ".join(answer.json["detail"] for _, answer in answers)
    assert api("GET", "/ping").status == 200
    assert api("PUT", "/item", {"title": "a", "content": "b"}).status == 201
    dynamo.comes_up()
    assert api("GET", "/db-item").status == 200


def test_advice_to_wait_long_is_not_taken(api, dynamo):
    content = json.dumps({"__type": "ThrottlingException"}).encode()
    dynamo.fault = body(content, 400, Content_Type="application/x-amz-json-1.0", x_amz_retry_after="60000")
    began = time.monotonic()
    assert api("GET", "/db-item").status == 503
    assert time.monotonic() - began < 5


def test_a_missing_table_is_found_once_it_is_made(api, aws, dynamo, store_directory):
    settings = {"TABLE_NAME": f"new-{uuid.uuid4()}", "RUN_DIR": store_directory}
    api = app_api(create_app(Settings.from_environment({**aws.environment, **settings})))
    assert api("GET", "/db-item").status == 503
    from local.resources import create_table

    create_table(aws.dynamodb, settings["TABLE_NAME"])
    assert api("GET", "/db-item").status == 200


@pytest.fixture
def no_credentials(monkeypatch, tmp_path):
    """boto3's chain finds nothing; returns the shared credentials file it looks into."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr("app.stores.dynamodb_client.RENEWAL", 0.05)
    return tmp_path / "credentials"


def test_credentials_that_come_later_are_found(no_credentials, api):
    answer = api("GET", "/db-item")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert "role" in answer.json["detail"]
    assert api("GET", "/ping").status == 200
    no_credentials.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    wait_for(lambda: api("GET", "/db-item").status == 200, 10, "the new credentials are used")


def test_expired_credentials_are_replaced_by_renewed_ones(no_credentials, api, dynamo):
    no_credentials.write_text("[default]\naws_access_key_id = old\naws_secret_access_key = b\n")

    def checks_credentials(handler):
        if "Credential=old/" in handler.headers["Authorization"]:
            error("ExpiredTokenException")(handler)
        else:
            dynamo.answer(handler)

    dynamo.fault = checks_credentials
    assert "renew" in api("GET", "/db-item").json["detail"]
    no_credentials.write_text("[default]\naws_access_key_id = new\naws_secret_access_key = b\n")
    wait_for(lambda: api("GET", "/db-item").status == 200, 10, "the renewed credentials are used")


class Credentials(FaultyServer):
    """The addresses at which ECS and EC2 give a task or an instance the credentials of its role."""

    def answer(self, handler):
        now = datetime.now(UTC)
        secret = {"AccessKeyId": "role", "SecretAccessKey": "b", "Token": "c", "Code": "Success"}
        times = {"LastUpdated": f"{now:%FT%TZ}", "Expiration": f"{now + timedelta(hours=6):%FT%TZ}"}
        credentials = json.dumps(secret | times)
        answers = {"/latest/api/token": "t", "/latest/meta-data/iam/security-credentials/": "my-role"}
        handler.send(200, answers.get(handler.path, credentials).encode(), {})


CHAIN = {
    "static keys": lambda _: {"AWS_ACCESS_KEY_ID": "static", "AWS_SECRET_ACCESS_KEY": "b"},
    "profile": lambda _: {"AWS_PROFILE": "mine"},
    "task role": lambda url: {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/role"},
    "instance role": lambda url: {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{url}/",
        "AWS_EC2_METADATA_DISABLED": "false",
    },
}


@pytest.mark.parametrize(
    ("source", "key"),
    [("static keys", "static"), ("profile", "profile"), ("task role", "role"), ("instance role", "role")],
)
def test_credentials_come_from_boto3s_own_chain(no_credentials, monkeypatch, api, dynamo, source, key):
    no_credentials.write_text("[mine]\naws_access_key_id = profile\naws_secret_access_key = b\n")
    used = []

    def notes_credentials(handler):
        used.append(re.search(r"Credential=(\w+)/", handler.headers["Authorization"])[1])
        dynamo.answer(handler)

    dynamo.fault = notes_credentials
    with Credentials() as server:
        for name, value in CHAIN[source](server.url).items():
            monkeypatch.setenv(name, value)
        assert api("GET", "/db-item").status == 200
    assert used == [key]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "AWS_REGION"),
        ({"AWS_PROFILE": "nobody"}, "AWS_PROFILE"),
    ],
)
def test_a_configuration_that_boto3_refuses(no_credentials, aws, monkeypatch, store_directory, changes, says):
    variables = {**aws.environment, "RUN_DIR": store_directory, **changes}
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    api = app_api(create_app(Settings.from_environment(variables)))
    answer = api("GET", "/db-item")
    assert answer.status == 503
    assert says in answer.json["detail"]
    assert api("GET", "/item").status == 200


@pytest.mark.parametrize(("method", "suffix", "json"), CALLS)
def test_without_a_table_the_answer_names_the_variable(store_directory, method, suffix, json):
    api = app_api(create_app(Settings.from_environment({"RUN_DIR": store_directory})))
    answer = api(method, f"/db-item{suffix}", json)
    assert answer.status == 503
    assert "TABLE_NAME" in answer.json["detail"]
    assert api("GET", "/ping").status == 200


def test_nothing_of_the_client_is_left_to_defaults_that_change(store):
    store.read("alice", item().id)
    config = store._client._client.meta.config
    assert (config.connect_timeout, config.read_timeout, config.tcp_keepalive) == (1, 2, True)
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}
    assert config.max_pool_connections >= THREADS
    assert config.user_agent.startswith("flask-crud-app ")


# processes

PROCESSES = """
import os, sys, threading
from app import create_app

app = create_app()
assert not {"boto3", "botocore", "joserfc"} & set(sys.modules), "imported before the fork"
assert threading.active_count() == 1
ends = []
for number in range(3):
    end, write = os.pipe()
    ends.append(end)
    if os.fork() == 0:
        # nobody has sent a request yet
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(20)
        made = "boto3" in sys.modules and "joserfc" in sys.modules
        created = app.test_client().put("/db-item", json={"title": str(number), "content": ""})
        os.write(write, f"{made} {created.status_code}".encode())
        os._exit(0)
    os.close(write)
print([os.read(end, 100).decode() for end in ends])
# in a process that was not forked a health check does it
assert app.test_client().get("/ping").status_code == 200
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(20)
assert {"boto3", "joserfc"} <= set(sys.modules)
assert app.test_client().get("/db-item").status_code == 200
"""


def test_every_process_has_a_client_of_its_own_made_after_the_fork(aws, table, store_directory):
    variables = {**os.environ, **aws.environment, "TABLE_NAME": table, "RUN_DIR": store_directory}
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.returncode) == ("['True 201', 'True 201', 'True 201']", 0), done.stderr


def test_a_client_made_before_a_fork_is_not_used_after_it(store, dynamo):
    store.create("alice", item())
    before = store._client._client
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            store.create("alice", item())
            os.write(writes, b"same" if store._client._client is before else b"another")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reads, 10) == b"another"


def test_a_request_waits_for_the_client_but_not_for_ever(dynamo, table, monkeypatch):
    store = DynamoStore(DynamoClient(table, REGION, dynamo.url))
    monkeypatch.setattr("app.stores.dynamodb_client.PATIENCE", 0.05)
    never = threading.Event()
    monkeypatch.setattr(store._client.job, "_work", lambda: never.wait(30))
    with pytest.raises(StoreUnavailable, match="is being made") as raised:
        store.read("alice", item().id)
    assert raised.value.retry_after == 1
    never.set()


# races

# as many rounds as it takes to see that no condition is missing: each of them shows it in the first
ROUNDS, RACERS = 20, 16


@pytest.mark.parametrize("path", ["/db-item", "/authenticated-item"])
def test_of_sixteen_that_race_one_wins(aws, table, store_directory, path):
    settings = {**aws.environment, "TABLE_NAME": table, "RUN_DIR": store_directory}
    api = app_api(create_app(Settings.from_environment(settings)))
    headers = {"Authorization": f"Bearer {aws.token('alice')}"}
    with ThreadPoolExecutor(RACERS) as threads:

        def race(method, suffix, if_match=None):
            condition = {"If-Match": if_match} if if_match else {}
            calls = [
                threads.submit(
                    api, method, path + suffix, {"title": f"{n}", "content": ""}, headers=headers | condition
                )
                for n in range(RACERS)
            ]
            return sorted(call.result().status for call in calls)

        for _ in range(ROUNDS):
            suffix = f"/{uuid.uuid4()}"
            assert race("PUT", suffix) == [201] + [409] * (RACERS - 1)
            etag = api("GET", path + suffix, headers=headers).etag
            assert race("POST", suffix, etag) == [200] + [412] * (RACERS - 1)
            assert race("DELETE", suffix) == [204] + [404] * (RACERS - 1)
