"""The three collections behave alike, in the process, as processes and in a container."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

ITEM = {"title": "my title", "content": "my content"}
OTHER = {"title": "another", "content": ""}
UNKNOWN = "/00000000-0000-4000-8000-000000000000"


@pytest.fixture
def call(collection: SimpleNamespace):
    return collection.call


def problem(answer, status):
    """Assert that the answer is a problem document of this status, and return it."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    document = answer.json
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["X-Request-Id"]
    return document


def test_put_creates_and_says_where(collection):
    answer = collection.call("PUT", "", ITEM)
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {**ITEM, "id": answer.json["id"]}
    assert str(uuid.UUID(answer.json["id"])) == answer.json["id"]
    assert answer.headers["Location"] == f"{collection.path}/{answer.json['id']}"
    read = collection.call("GET", f"/{answer.json['id']}")
    assert (read.status, read.json, read.etag) == (200, answer.json, answer.etag)


@pytest.mark.parametrize("where", ["path", "query", "body"])
def test_the_id_may_stand_in_path_query_or_body(call, where):
    id = str(uuid.uuid4())
    suffix = {"path": f"/{id}", "query": f"?id={id}", "body": ""}[where]
    extra = {"id": id} if where == "body" else {}
    assert call("PUT", suffix, ITEM | extra).json == {"id": id, **ITEM}
    assert call("POST", suffix, {"title": "new"} | extra).json == {"id": id, **ITEM, "title": "new"}
    assert call("GET", f"?id={id}").json["title"] == "new"
    deleted = call("DELETE", suffix, extra) if extra else call("DELETE", suffix)
    assert deleted.status == 204
    problem(call("GET", f"/{id}"), 404)


def test_ids_are_the_same_in_either_case(call):
    id = "ABCDEF00-0000-4000-8000-0000000000AA"
    assert call("PUT", f"/{id}", ITEM).json["id"] == id.lower()
    assert call("GET", f"/{id.lower()}").status == 200


@pytest.mark.parametrize("method", ["PUT", "GET", "POST", "DELETE"])
def test_two_different_ids_are_refused(call, method):
    one, other = uuid.uuid4(), uuid.uuid4()
    body = {} if method == "GET" else {"json": ITEM}
    problem(call(method, f"/{one}?id={other}", **body), 400)
    problem(call(method, f"?id={one}&id={other}", **body), 400)
    if method != "GET":
        problem(call(method, f"/{one}", {"id": str(other)} | (ITEM if method == "PUT" else {})), 400)


def test_put_with_an_id_can_be_repeated(call):
    path = f"/{uuid.uuid4()}"
    first = call("PUT", path, ITEM)
    again = call("PUT", path, ITEM)
    assert (first.status, again.status) == (201, 200)
    assert (again.json, again.etag) == (first.json, first.etag)
    for name in ITEM:
        problem(call("PUT", path, {**ITEM, name: "another"}), 409)
    assert call("GET", path).json == first.json


def test_post_updates_what_it_names(call):
    created = call("PUT", "", ITEM)
    path = f"/{created.json['id']}"
    updated = call("POST", path, {"content": "new"})
    assert (updated.status, updated.json) == (200, {**created.json, "content": "new"})
    assert updated.etag != created.etag
    assert call("GET", path).etag == updated.etag


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", {"title": "x"}), ("DELETE", None)])
def test_an_unknown_id_is_not_found(call, method, body):
    problem(call(method, UNKNOWN, body) if body else call(method, UNKNOWN), 404)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_update_and_delete_need_an_id(call, method):
    assert "id" in problem(call(method, "", {}), 400)["detail"]


def test_a_deleted_item_is_gone_and_may_be_created_again_with_another_etag(call):
    path = f"/{uuid.uuid4()}"
    first = call("PUT", path, ITEM)
    assert call("DELETE", path).status == 204
    problem(call("DELETE", path), 404)
    assert call("PUT", path, ITEM).etag != first.etag


def test_get_answers_304_to_a_matching_if_none_match(call):
    created = call("PUT", "", ITEM)
    path = f"/{created.json['id']}"
    for tag in (created.etag, f'"1", {created.etag}', f"W/{created.etag}", "*"):
        answer = call("GET", path, headers={"If-None-Match": tag})
        assert (answer.status, answer.body, answer.etag) == (304, b"", created.etag)
    assert call("GET", path, headers={"If-None-Match": '"1"'}).status == 200


def test_if_match_comes_first_for_reads_too(call):
    created = call("PUT", "", ITEM)
    path, same = f"/{created.json['id']}", {"If-None-Match": created.etag}
    for tag in ('"1"', f"W/{created.etag}"):
        problem(call("GET", path, headers={"If-Match": tag, **same}), 412)
    for tag in (created.etag, "*"):
        assert call("GET", path, headers={"If-Match": tag}).status == 200
        assert call("GET", path, headers={"If-Match": tag, **same}).status == 304


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_if_match_guards_writes(call, method):
    created = call("PUT", "", ITEM)
    path, body = f"/{created.json['id']}", {"title": "new"} if method == "POST" else {}
    # the same number in another spelling is another tag, and one of thousands of digits is no number to Python
    for tag in ('"1"', f"W/{created.etag}", '"x"', created.etag.replace('"', '"0', 1), f'"{"9" * 5000}"'):
        problem(call(method, path, body, headers={"If-Match": tag}), 412)
    problem(call(method, path, body, headers={"If-None-Match": created.etag}), 412)
    problem(call(method, path, body, headers={"If-None-Match": "*"}), 412)
    assert call("GET", path).etag == created.etag
    assert call(method, path, body, headers={"If-Match": f', "1",,{created.etag} ,'}).status in (200, 204)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_if_match_star_asks_for_any_version(call, method):
    created = call("PUT", "", ITEM)
    body = {"title": "new"} if method == "POST" else {}
    assert call(method, f"/{created.json['id']}", body, headers={"If-Match": "*"}).status in (200, 204)
    problem(call(method, UNKNOWN, body, headers={"If-Match": "*"}), 404)


def test_put_honours_conditions(call):
    path = f"/{uuid.uuid4()}"
    problem(call("PUT", path, ITEM, headers={"If-Match": "*"}), 412)
    problem(call("PUT", "", ITEM, headers={"If-Match": '"1"'}), 412)
    created = call("PUT", path, ITEM, headers={"If-None-Match": "*"})
    assert created.status == 201
    for item in (ITEM, OTHER):
        for tag in ("*", created.etag):
            problem(call("PUT", path, item, headers={"If-None-Match": tag}), 412)
    assert call("PUT", path, ITEM, headers={"If-Match": created.etag}).status == 200
    problem(call("PUT", path, OTHER, headers={"If-Match": created.etag}), 409)


@pytest.mark.parametrize("value", ["1", '"1', "*, *", '"a" "b"', "", ",", '"a",b', '"a"b,', "W/1", '"a\tb"'])
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_a_malformed_condition_is_refused(call, header, value):
    created = call("PUT", "", ITEM)
    problem(call("GET", f"/{created.json['id']}", headers={header: value}), 400)


def test_a_listing_has_every_item_once_in_a_stable_order(call):
    created = {call("PUT", "", {"title": f"{n}", "content": ""}).json["id"] for n in range(23)}

    def listing():
        seen, cursor, pages = [], "", 0
        while cursor is not None:
            page = call("GET", f"?limit=5&cursor={cursor}" if cursor else "?limit=5").json
            assert len(page["items"]) <= 5
            seen += [item["id"] for item in page["items"]]
            cursor = page["next"]
            pages += 1
        return seen

    first = listing()
    assert len(first) == len(created)
    assert set(first) == created
    assert listing() == first


def test_a_page_has_fifty_items_unless_told_otherwise(call):
    for n in range(51):
        call("PUT", "", {"title": f"{n}", "content": ""})
    page = call("GET").json
    assert len(page["items"]) == 50
    assert len(call("GET", f"?cursor={page['next']}").json["items"]) == 1
    assert len(call("GET", "?limit=100").json["items"]) == 51


# SQL's length ends at the first NUL
@pytest.mark.parametrize("content", ["x" * 65_536, "\0" + "x" * 65_535], ids=["text", "NUL"])
def test_a_page_of_large_items_is_bounded_and_none_is_missed(call, content):
    created = {call("PUT", "", {"title": f"{n}", "content": content}).json["id"] for n in range(40)}
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        answer = call("GET", f"?limit=100{cursor}")
        assert len(answer.body) < 1.2 * 1024**2
        seen += [item["id"] for item in answer.json["items"]]
        cursor = answer.json["next"] and f"&cursor={answer.json['next']}"
        pages += 1
    assert pages > 1
    assert sorted(seen) == sorted(created)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=", "limit=1&limit=2", "limit=1.0"]
)
def test_a_bad_limit_is_refused(call, query):
    problem(call("GET", f"?{query}"), 400)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "AAAA",
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "%00",
        "AAAAAAAAAAAAAAAAAAAAAB",
        "é",
        "A" * 500,
        "A" * 22 + "&cursor=" + "A" * 22,
    ],
)
def test_a_bad_cursor_is_refused(call, cursor):
    problem(call("GET", f"?cursor={cursor}"), 400)


@pytest.mark.parametrize(
    "id",
    [
        "x",
        "123",
        "0" * 32,
        "{00000000-0000-4000-8000-000000000000}",
        "00000000-0000-4000-8000-00000000000g",
        "00000000-0000-4000-8000-0000000000000",
    ],
)
def test_an_id_that_is_no_uuid_is_refused(call, id):
    for answer in (
        call("GET", f"/{id}"),
        call("GET", f"?id={id}"),
        call("PUT", f"/{id}", ITEM),
        call("PUT", "", {**ITEM, "id": id}),
        call("POST", f"/{id}", ITEM),
        call("DELETE", f"/{id}"),
    ):
        problem(answer, 400)


BAD_JSON = {
    "truncated": '{"title": "a", "content": ',
    "empty": "",
    "not a number": '{"title": NaN, "content": ""}',
    "infinity": '{"title": "a", "content": Infinity}',
    "10,000 deep": "[" * 10_000 + "]" * 10_000,
    "two values": '{"title":"a","content":""}{}',
    "single quotes": "{'title': 'a', 'content': ''}",
    "raw newline": '{"title": "a\nb", "content": ""}',
    "byte order mark": "\ufeff{}",
    "raw NUL": '{"title": "\x00", "content": ""}',
    "bad escape": r'{"title": "\x", "content": ""}',
    "trailing comma": '{"title": "a", "content": "",}',
}


@pytest.mark.parametrize("name", BAD_JSON)
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_what_is_not_json_is_a_400(call, method, name):
    problem(call(method, UNKNOWN, body=BAD_JSON[name], headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("body", [b'{"title": "\xff", "content": ""}', '{"title":"a","content":""}'.encode("utf-16")])
def test_a_body_that_is_not_utf8_is_a_400(call, body):
    problem(call("PUT", "", body=body, headers={"Content-Type": "application/json"}), 400)


NOT_ITEMS = {
    "an array": ("[]", ""),
    "a string": ('"x"', ""),
    "null": ("null", ""),
    "a number": ("1", ""),
    "title a number": ('{"title": 1, "content": ""}', "/title"),
    "title null": ('{"title": null, "content": ""}', "/title"),
    "title an object": ('{"title": {}, "content": ""}', "/title"),
    "title empty": ('{"title": "", "content": ""}', "/title"),
    "title too long": (json.dumps({"title": "x" * 201, "content": ""}), "/title"),
    "content an array": ('{"title": "a", "content": []}', "/content"),
    "content too long": (json.dumps({"title": "a", "content": "x" * 65_537}), "/content"),
    "content a boolean": ('{"title": "a", "content": true}', "/content"),
    "content a number of 5,000 digits": ('{"title": "a", "content": ' + "9" * 5000 + "}", "/content"),
    "unknown field": ('{"title": "a", "content": "", "user~/id": "x"}', "/user~0~1id"),
    "userId": ('{"title": "a", "content": "", "userId": "x"}', "/userId"),
    "version": ('{"title": "a", "content": "", "version": 1}', "/version"),
    "lone surrogate": (r'{"title": "\ud800", "content": ""}', "/title"),
    "lone surrogate as a name": (r'{"title": "a", "content": "", "\udfff": ""}', "/?"),
    "duplicate key": ('{"title": "a", "title": "b", "content": ""}', "/title"),
    "id a number": ('{"id": 1, "title": "a", "content": ""}', "/id"),
}


@pytest.mark.parametrize("name", NOT_ITEMS)
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_json_that_is_no_item_is_a_422(call, method, name):
    body, pointer = NOT_ITEMS[name]
    document = problem(call(method, UNKNOWN, body=body, headers={"Content-Type": "application/json"}), 422)
    assert document["errors"][0]["pointer"] == pointer
    assert document["errors"][0]["detail"]


@pytest.mark.parametrize("missing", ["title", "content"])
def test_put_needs_title_and_content(call, missing):
    body = {name: value for name, value in ITEM.items() if name != missing}
    assert problem(call("PUT", "", body), 422)["errors"] == [{"pointer": f"/{missing}", "detail": "is required"}]


@pytest.mark.parametrize(
    ("title", "content"),
    [
        ("x" * 200, "y" * 65_536),
        ("é" * 200, "\U0001f600" * 16_384),
        ("\u0000", "\u0000\u001f"),
        ("\\", '"{}'),
        ("a", ""),
    ],
)
def test_text_comes_back_as_it_was_sent(call, title, content):
    created = call("PUT", "", {"title": title, "content": content})
    assert created.status == 201
    read = call("GET", f"/{created.json['id']}").json
    assert (read["title"], read["content"]) == (title, content)


@pytest.mark.parametrize(
    "type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "x"]
)
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_body_that_is_not_declared_as_json_is_a_415(call, method, type):
    problem(call(method, UNKNOWN, body=json.dumps(ITEM), headers={"Content-Type": type} if type else {}), 415)


@pytest.mark.parametrize(
    "type", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/json; profile=x"]
)
def test_a_body_may_be_declared_as_json_in_other_words(call, type):
    assert call("PUT", "", body=json.dumps(ITEM), headers={"Content-Type": type}).status == 201


def test_a_body_of_two_mebibytes_is_a_413(call):
    body = json.dumps({"title": "a", "content": "x" * 2 * 1024**2})
    problem(call("PUT", "", body=body, headers={"Content-Type": "application/json"}), 413)


@pytest.mark.parametrize("method", ["PATCH", "LINK", "ITEM"])
def test_another_method_is_a_405_that_says_which_are_allowed(call, method):
    answer = call(method, UNKNOWN)
    detail = problem(answer, 405)["detail"]
    assert detail.startswith(f"{method} is not allowed at ")
    assert detail.endswith("; allowed: DELETE, GET, HEAD, OPTIONS, POST, PUT.")
    assert {"GET", "PUT", "POST", "DELETE"} <= {word.strip() for word in answer.headers["Allow"].split(",")}


@pytest.mark.parametrize("suffix", ["s", "/", f"{UNKNOWN}/x", f"{UNKNOWN}/", "/%2e%2e/ping/x"])
def test_an_unknown_path_is_a_404(call, suffix):
    assert problem(call("GET", suffix), 404)["detail"].startswith("Nothing is at /")


def test_every_body_ends_its_line(call):
    """For those who read it in a terminal."""
    answers = [call("PUT", "", ITEM), call("GET", ""), call("PATCH", ""), call("GET", "/1"), call("GET", "/a/b")]
    assert {answer.body[-1:] for answer in answers} == {b"\n"}


def test_head_is_get_without_a_body(call):
    created = call("PUT", "", ITEM)
    answer = call("HEAD", f"/{created.json['id']}")
    assert (answer.status, answer.body, answer.etag) == (200, b"", created.etag)


def test_any_origin_may_read_but_without_credentials(call):
    answer = call("GET", "", headers={"Origin": "https://example.com"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


RACERS = 16


def race(call, count, request):
    """Send the same request from `count` threads at once; return the statuses, sorted."""
    with ThreadPoolExecutor(count) as threads:
        return sorted(answer.status for answer in threads.map(lambda n: request(n), range(count)))


@pytest.mark.parametrize("rounds", [pytest.param(10)])
def test_of_many_that_create_the_same_id_one_does(call, rounds):
    for _ in range(rounds):
        path = f"/{uuid.uuid4()}"
        statuses = race(call, RACERS, lambda n, path=path: call("PUT", path, {"title": f"{n}", "content": ""}))
        assert statuses == [201] + [409] * (RACERS - 1)


def test_of_many_that_update_the_same_version_one_does(call):
    created = call("PUT", "", ITEM)
    path, etag = f"/{created.json['id']}", created.etag
    for _ in range(10):
        statuses = race(
            call, RACERS, lambda n, etag=etag: call("POST", path, {"title": f"{n}"}, headers={"If-Match": etag})
        )
        assert statuses == [200] + [412] * (RACERS - 1)
        etag = call("GET", path).etag


def test_of_many_that_delete_one_does(call):
    for _ in range(10):
        path = f"/{call('PUT', '', ITEM).json['id']}"
        assert race(call, RACERS, lambda n, path=path: call("DELETE", path)) == [204] + [404] * (RACERS - 1)
