"""What the application does to Flask itself."""

from __future__ import annotations

import gc
import io
import weakref

import pytest
from flask import after_this_request, request
from werkzeug.test import EnvironBuilder, run_wsgi_app


def test_functions_of_one_request_are_not_kept_for_ever(app):
    """Flask asks of each whether it is a coroutine, and the answers are remembered."""
    kept = weakref.WeakSet()

    @app.get("/closure")
    def closure():
        def after(response):
            return response

        kept.add(after)
        after_this_request(after)
        return ""

    client = app.test_client()
    for _ in range(400):
        assert client.get("/closure").status_code == 200
    gc.collect()
    assert len(kept) <= 200


def test_a_view_may_be_a_coroutine_function(app):
    """The answer that is remembered is the one that Flask gives."""
    asked = []
    app.async_to_sync = lambda function: asked.append(function) or (lambda: "from a coroutine")

    @app.get("/coroutine")
    async def coroutine():
        return ""

    assert app.test_client().get("/coroutine").text == "from a coroutine"
    assert len(asked) == 1


@pytest.mark.parametrize(("ends_by_itself", "status"), [(True, "201 CREATED"), (False, "400 BAD REQUEST")])
def test_a_body_without_a_length_is_read_if_it_ends(app, ends_by_itself, status):
    """A server that takes chunked bodies says so with wsgi.input_terminated; without it, reading might never end."""
    body = io.BytesIO(b'{"title":"my title","content":"my content"}')
    environ = EnvironBuilder("/item", method="PUT", input_stream=body, content_type="application/json").get_environ()
    assert environ.pop("CONTENT_LENGTH")
    if ends_by_itself:
        environ["wsgi.input_terminated"] = True
    assert run_wsgi_app(app, environ)[1] == status


ITEM = "/item/00000000-0000-4000-8000-000000000001"


def answer(app, **request_parts):
    """Status and body of the answer to a GET of an item that is there, as the server gets them."""
    put = app.test_client().put(ITEM, json={"title": "my title", "content": "my content"})
    assert put.status_code in (200, 201)
    body, status, _ = run_wsgi_app(app, EnvironBuilder(ITEM, **request_parts).get_environ(), buffered=True)
    return status, b"".join(body)


def test_what_waits_for_the_end_of_an_answer_is_done(app):
    ended = []

    @app.after_request
    def hook(response):
        response.call_on_close(lambda: ended.append(response.status_code))
        return response

    assert answer(app)[0] == "200 OK"
    assert ended == [200]


def test_a_hook_may_make_an_iterator_of_an_answer(app):
    @app.after_request
    def hook(response):
        response.response = (piece for piece in ("one", "two"))
        response.content_length = 6
        return response

    assert answer(app) == ("200 OK", b"onetwo")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_hook_may_find_that_nothing_has_changed(app, method):
    @app.after_request
    def hook(response):
        response.last_modified = 0
        return response.make_conditional(request)

    headers = {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}
    assert answer(app, method=method, headers=headers) == ("304 NOT MODIFIED", b"")


def test_the_answer_to_head_has_no_body(app):
    assert answer(app, method="HEAD") == ("200 OK", b"")
