"""What is taken for an application, and what is said of the rest. Nothing is called to find out."""

from __future__ import annotations

import functools
from pathlib import Path

import flask
import pytest
from werkzeug.local import LocalProxy
from werkzeug.middleware.proxy_fix import ProxyFix

from entrypoint.application import explain, refusal


def called(*_, **__):
    raise AssertionError("called")


def wsgi(environ, start_response):
    called()


def create_app(config_name, testing=False):
    called()


class Handler:
    """PEP 3333 has such an application as its example."""

    def __init__(self, environ, start_response):
        called()


class Middleware:
    def handle(self, environ, start_response, *more):
        called()

    __call__ = handle


class Unreadable:
    __signature__ = "none"
    __call__ = called


@functools.wraps(lambda: None)
def decorated(environ, start_response):
    called()


APPLICATIONS = {
    "Flask": flask.Flask("shop"),
    "ProxyFix": ProxyFix(wsgi),
    "function": wsgi,
    "function with a name of its own": lambda e, s: called(),
    "function with more that it may be given": lambda environ, start_response, level=1: called(),
    "function with defaults": lambda environ=None, start_response=None: called(),
    "any arguments": called,
    "class": Handler,
    "object": Middleware(),
    "method": Middleware().handle,
    "partial": functools.partial(lambda app, environ, start_response: called(), wsgi),
    "decorated": decorated,
    "proxy": LocalProxy(lambda: wsgi),
    "proxy for what is not there yet": LocalProxy(lambda: 1 / 0),
    "signature that cannot be read": Unreadable(),
    "written in C": max,
    # cannot be told from an application whose parameters have names of their own
    "factory that needs something, and may be given more": create_app,
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_what_can_be_called_as_an_application_is_one(name):
    assert refusal(APPLICATIONS[name], "shop:app") == ""


FACTORIES = [
    (lambda: called(), "()"),
    (lambda test_config=None: called(), "()"),
    (lambda config=None, testing=False: called(), "()"),
    (lambda config=None, *extensions: called(), "()"),
    (lambda **settings: called(), "()"),
    (lambda *, testing=False: called(), "()"),
    (lambda config_name: called(), "(…)"),
    (type("Shop", (), {"__call__": wsgi}), "()"),
]


@pytest.mark.parametrize(("factory", "call"), FACTORIES)
def test_a_factory_lacks_its_parentheses(factory, call):
    question = f"is a function that makes an application: did you mean APP_MODULE=shop:create_app{call}?"
    assert refusal(factory, "shop:create_app") == f"APP_MODULE=shop:create_app {question}"


def test_the_name_that_gunicorn_looks_for_by_itself():
    assert refusal(lambda: called(), "shop").endswith("did you mean APP_MODULE=shop:application()?")


@pytest.mark.parametrize(
    ("what", "module", "takes"),
    [
        pytest.param(lambda scope, receive, send: called(), "shop:app", "(scope, receive, send)", id="ASGI"),
        pytest.param(lambda: called(), "shop:create_app()", "()", id="what a factory has made"),
        pytest.param(
            type("View", (), {"__call__": lambda self, request: None})(), "shop:app", "(request)", id="object"
        ),
    ],
)
def test_what_is_no_factory_either_says_what_it_takes(what, module, takes):
    expected = f"APP_MODULE={module} takes {takes}, and a WSGI application takes (environ, start_response)"
    assert refusal(what, module) == expected


@pytest.mark.parametrize(
    "cause",
    [
        "PermissionError: [Errno 13] Permission denied: 'logs' (/app/shop.py, line 4)",
        "OSError: [Errno 30] Read-only file system: 'logs' (/app/shop.py, line 4)",
        "sqlite3.OperationalError: attempt to write a readonly database (/app/shop.py, line 4)",
        "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) unable to open database file (/app/shop.py, line 4)",
    ],
)
def test_who_may_not_write_is_told_what_decides_it(cause):
    assert explain(cause, "shop:app", Path("/app")).endswith("from /app: is what it writes in WRITABLE_DIRECTORIES?")
    assert "WRITABLE" not in explain("ValueError: logs (/app/shop.py, line 4)", "shop:app", Path("/app"))
