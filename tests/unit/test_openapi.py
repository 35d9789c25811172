"""The OpenAPI description is valid, complete, and says the same of all three collections."""

from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate

from app.openapi import describe
from app.openapi_components import PROBLEMS
from app.payload import CONTENT_LENGTH, PAGE_MAXIMUM, TITLE_LENGTH
from tests.running import ROOT

COLLECTIONS = ("/item", "/db-item", "/authenticated-item")
METHODS = {"get", "put", "post", "delete"}
ID = "3f2b8c1e-5d64-4d2a-9f0e-6a1b2c3d4e5f"
DESCRIPTION = describe()


def operations():
    for path, methods in DESCRIPTION["paths"].items():
        yield from ((path, method, methods[method]) for method in METHODS & methods.keys())


def resolve(value):
    """A part of the description with its references replaced by what they name."""
    if isinstance(value, dict) and "$ref" in value:
        target = DESCRIPTION
        for word in value["$ref"].removeprefix("#/").split("/"):
            target = target[word]
        return resolve(target)
    if isinstance(value, dict):
        return {name: resolve(member) for name, member in value.items()}
    return [resolve(member) for member in value] if isinstance(value, list) else value


def test_it_is_openapi_3_1():
    assert DESCRIPTION["openapi"].startswith("3.1")
    validate(DESCRIPTION)


def test_it_is_served(api):
    answer = api("GET", "/openapi.json")
    assert (answer.status, answer.headers["Content-Type"], answer.json) == (200, "application/json", DESCRIPTION)


def test_it_has_every_path_and_method_of_the_application(app):
    def described(rule):
        return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)

    # what the page at /docs is made of is its own business
    rules = [rule for rule in app.url_map.iter_rules() if not rule.rule.startswith("/docs/")]
    served = {(described(rule), method.lower()) for rule in rules for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert {(path, method) for path, method, _ in operations()} == served


def test_the_collections_differ_only_in_their_names_and_in_who_may_use_them():
    def without_what_differs(path):
        operations = resolve({suffix: DESCRIPTION["paths"][path + suffix] for suffix in ("", "/{id}")})
        for methods in operations.values():
            methods.pop("description")
            for operation in (methods[method] for method in METHODS):
                operation.pop("security", None)
                for status in ("401", "403"):
                    operation["responses"].pop(status, None)
        text = json.dumps(operations).replace(f'"{path}"', '"PATH"')
        return re.sub("(create|read|list|update|delete)(Authenticated|Db)?Item", r"\1Item", text)

    assert len({without_what_differs(path) for path in COLLECTIONS}) == 1


def test_only_authenticated_item_asks_for_a_token():
    for path, _, operation in operations():
        if path.startswith("/authenticated-item"):
            assert operation["security"] == [{"accessToken": []}]
            assert {"401", "403"} <= operation["responses"].keys()
        else:
            assert "security" not in operation
            assert "401" not in operation["responses"]


def test_clients_are_told_to_wait_where_nginx_tells_them_to():
    titles = (ROOT / "nginx/error-titles.conf").read_text()
    (told,) = re.findall(r"map \$status \$error_retry_after \{(.*?)\}", titles, re.S)
    described = {
        status
        for status in PROBLEMS
        if "Retry-After" in DESCRIPTION["components"]["responses"][f"Problem{status}"]["headers"]
    }
    assert described == {int(status) for status in re.findall(r"(\d{3}) 1;", told)}


def test_every_error_is_a_problem_document():
    for path, method, operation in operations():
        for status, answer in resolve(operation["responses"]).items():
            if status >= "400":
                schema = answer["content"]["application/problem+json"]["schema"]
                assert set(schema["required"]) == {"type", "title", "status", "detail", "request_id"}, (path, method)
            assert "X-Request-Id" in answer["headers"], (path, method, status)


@pytest.mark.parametrize(
    ("method", "suffix", "statuses"),
    [
        ("get", "", "200 304 404 412"),
        ("put", "", "200 201 409 412 415 422 507"),
        ("post", "", "200 404 412 415 422 507"),
        ("delete", "", "204 404 412 415 422"),
        ("get", "/{id}", "200 304 404 412"),
        ("put", "/{id}", "200 201 409 412 415 422 507"),
        ("post", "/{id}", "200 404 412 415 422 507"),
        ("delete", "/{id}", "204 404 412 415 422"),
    ],
)
def test_every_operation_names_its_statuses(method, suffix, statuses):
    always = "400 408 413 414 429 431 500 502 503 504"
    for path in COLLECTIONS:
        secured = " 401 403" if path == "/authenticated-item" else ""
        responses = DESCRIPTION["paths"][path + suffix][method]["responses"]
        assert set(responses) == set(f"{always} {statuses}{secured}".split())


def test_conditions_and_versions_are_described():
    for path in COLLECTIONS:
        for suffix in ("", "/{id}"):
            for method in METHODS:
                operation = resolve(DESCRIPTION["paths"][path + suffix][method])
                names = {parameter["name"] for parameter in operation["parameters"]}
                assert {"If-Match", "If-None-Match"} <= names
                assert ("id" in names) == (suffix != "" or method in ("get", "delete"))
                if method != "delete":
                    assert "ETag" in operation["responses"]["200"]["headers"]
        assert "Location" in resolve(DESCRIPTION["paths"][path]["put"])["responses"]["201"]["headers"]


def test_limits_are_those_of_the_application():
    schemas = DESCRIPTION["components"]["schemas"]
    for name in ("Item", "NewItem", "Changes"):
        assert schemas[name]["properties"]["title"]["maxLength"] == TITLE_LENGTH
        assert schemas[name]["properties"]["content"]["maxLength"] == CONTENT_LENGTH
    assert DESCRIPTION["components"]["parameters"]["Limit"]["schema"]["maximum"] == PAGE_MAXIMUM


def validator(name):
    return Draft202012Validator(resolve(DESCRIPTION["components"]["schemas"][name]), format_checker=FormatChecker())


def test_examples_are_what_they_are_examples_of():
    for _, _, operation in operations():
        for answer in resolve(operation["responses"]).values():
            for content in answer.get("content", {}).values():
                examples = [example["value"] for example in content.get("examples", {}).values()]
                for example in [*examples, *([content["example"]] if "example" in content else [])]:
                    Draft202012Validator(content["schema"]).validate(example)


def test_what_the_application_answers_is_what_it_describes(api):
    item = {"title": "a", "content": "b"}
    created = api("PUT", "/item", item)
    validator("Item").validate(created.json)
    validator("ItemPage").validate(api("GET", "/item").json)
    page = api("PUT", "/item", item) and api("GET", "/item?limit=1").json
    assert page["next"]
    validator("ItemPage").validate(page)
    for problem in (
        api("GET", f"/item/{ID}"),
        api("GET", "/nothing"),
        api("PUT", "/item", {"title": 1, "more": 2}),
        api("GET", "/db-item"),
    ):
        validator("Problem").validate(problem.json)
        described = DESCRIPTION["components"]["responses"][f"Problem{problem.status}"]["content"]
        assert problem.json["title"] == described["application/problem+json"]["example"]["title"]
    for name, value in (("ETag", created.etag), ("Location", created.headers["Location"])):
        assert re.search(DESCRIPTION["components"]["headers"][name]["schema"]["pattern"], value)
