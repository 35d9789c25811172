"""What the application does to Flask itself."""

from __future__ import annotations

import gc
import weakref

from flask import after_this_request


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
