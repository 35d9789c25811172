"""Headers of responses: security, and CORS, of the application's answers and of Nginx's own."""

from __future__ import annotations

import pytest

from tests.proxy.raw import ask, exchange, request, responses
from tests.running import stack

A, B, OTHER = "https://a.example", "https://b.example:8443", "https://a.example.evil.example"
# of the application, of Nginx, and of Nginx before it has read a header
STATUSES = {200: ("GET", "/item"), 404: ("GET", "/nothing"), 501: ("XY", "/item"), 414: ("GET", "/item?" + "a" * 9000)}


@pytest.fixture(scope="module")
def listed():
    with stack(CORS_ORIGINS=f"{A}, {B}") as running:
        yield running


def answer(running, status: int, origin: str | None = None):
    response = ask(running.port, request(*STATUSES[status], *([f"Origin: {origin}"] if origin else [])))
    assert response.status == status
    return response


@pytest.mark.parametrize("status", STATUSES)
def test_json_is_never_a_page(running_stack, status):
    response = answer(running_stack, status)
    assert response.get("x-content-type-options") == "nosniff"
    assert response.get("referrer-policy") == "strict-origin-when-cross-origin"
    assert response.get("content-security-policy") == "default-src 'none'; frame-ancestors 'none'"
    assert response.get("server") == "nginx"
    assert not [name for name, _ in response.headers if name in ("x-powered-by", "via")]


def test_what_the_application_sets_stays(shown):
    response = ask(shown.port, request("GET", "/own/200"))
    assert response.get("content-security-policy") == response.get("referrer-policy") == "mine"


def test_a_page_has_no_policy_that_it_did_not_ask_for(shown):
    response = ask(shown.port, request("GET", "/nowhere"))
    assert response.get("content-type").startswith("text/html")
    assert response.get("content-security-policy") is None
    assert response.get("x-content-type-options") == "nosniff"


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("origin", [None, A, OTHER])
def test_by_default_anybody_s_scripts_may_read_every_answer(running_stack, status, origin):
    response = answer(running_stack, status, origin)
    assert response.get("access-control-allow-origin") == "*"
    assert response.get("access-control-allow-credentials") is None
    if origin:
        exposed = set(response.get("access-control-expose-headers").split(", "))
        assert {"Retry-After", "X-Request-Id"} <= exposed
        # what an update and the way to a new item need
        assert status != 200 or {"ETag", "Location"} <= exposed


@pytest.mark.parametrize("status", [200, 404, 501])
@pytest.mark.parametrize("origin", [None, A, B, OTHER, "null", "http://a.example", "a.example"])
def test_a_list_is_for_those_in_it(listed, status, origin):
    response = answer(listed, status, origin)
    allowed = response.get("access-control-allow-origin")
    assert allowed == (origin if origin in (A, B) else None)
    assert "Origin" in [value for name, value in response.headers if name == "vary"]
    assert response.get("access-control-allow-credentials") is None


def test_a_preflight_names_methods_and_headers(running_stack):
    asked = ["Origin: https://a.example", "Access-Control-Request-Method: PUT"]
    response = ask(
        running_stack.port,
        request("OPTIONS", "/item", *asked, "Access-Control-Request-Headers: authorization, if-match"),
    )
    assert response.status in (200, 204)
    assert {"PUT", "POST", "DELETE", "GET"} <= set(response.get("access-control-allow-methods").split(", "))
    allowed = response.get("access-control-allow-headers").lower()
    assert {"authorization", "if-match"} <= set(allowed.split(", "))
    assert int(response.get("access-control-max-age")) >= 60
    assert response.get("access-control-allow-origin") == "*"


def test_a_preflight_of_somebody_else_allows_nothing(listed):
    asked = [f"Origin: {OTHER}", "Access-Control-Request-Method: PUT"]
    response = ask(listed.port, request("OPTIONS", "/item", *asked))
    assert response.get("access-control-allow-origin") is None


def test_a_header_cannot_be_split(listed):
    """An Origin with a line break in it stays one header, and not the response's."""
    raw = exchange(listed.port, request("XY", "/item", f"Origin: {A}%0d%0aX-Evil: 1"))
    assert b"X-Evil" not in raw
    assert len(responses(raw)) == 1
