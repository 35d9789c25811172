"""What the last line of a container gives as the cause, and what is kept of Nginx's lines."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback

import pytest

from entrypoint import logs
from entrypoint.request_logs import JsonFormatter

REFUSED = 'connection to server at "db" (10.0.0.1), port 5432 failed: Connection refused'
BACKGROUND = "(Background on this error at: https://sqlalche.me/e/20/e3q8)"


class OperationalError(Exception):
    pass


def chained():
    try:
        raise OperationalError("unable to open database file")
    except OperationalError as error:
        raise OperationalError(f"(sqlite3.OperationalError) {error}\n{BACKGROUND}") from error


def indented():
    raise OperationalError(f"{REFUSED}\n\tIs the server running on that host?\n\n{BACKGROUND}\n")


def over_several_lines():
    raise ValueError(
        "1 validation error for Settings\n"
        "field\n"
        "  Field required [type=missing]\n"
    )  # fmt: skip


def with_notes():
    error = ValueError("wrong")
    error.add_note("a note")
    raise error


def wrong_syntax():
    compile("def\n", "settings.py", "exec")


def group():
    raise ExceptionGroup("two things", [ValueError("one\nthing"), TypeError("another")])


def long():
    raise RuntimeError("begin\n" + "x" * 1000 + "\nend")


CAUSES = {
    chained: f"{__name__}.OperationalError: (sqlite3.OperationalError) unable to open database file {BACKGROUND}",
    indented: f"{__name__}.OperationalError: {REFUSED} Is the server running on that host? {BACKGROUND}",
    over_several_lines: "ValueError: 1 validation error for Settings field Field required [type=missing]",
    with_notes: "ValueError: wrong a note",
    wrong_syntax: "SyntaxError: invalid syntax",
    group: "ExceptionGroup: two things (2 sub-exceptions) ",
    long: "RuntimeError: begin xxx",
}


@pytest.fixture
def said(capsys):
    """The cause that a program leaves which writes these lines."""

    def feed(text):
        output = logs.ProgramOutput("gunicorn", "warning")
        output.feed(text.encode())
        output.close()
        return output.cause()

    return feed


def failure(function):
    """What sys.exc_info() says of an exception that leaves the function."""
    try:
        function()
    except Exception:
        return sys.exc_info()


@pytest.mark.parametrize("function", CAUSES)
def test_the_cause_is_all_that_an_exception_says(said, function):
    record = logging.LogRecord("gunicorn", logging.CRITICAL, "", 0, "failed", (), failure(function))
    cause = said(JsonFormatter().format(record))
    assert cause.startswith(CAUSES[function])
    assert len(cause) < 500 and "\n" not in cause
    assert __file__ in cause, "the line of the project's own"


@pytest.mark.parametrize("function", CAUSES)
def test_the_cause_is_the_same_when_the_traceback_is_printed(said, function):
    """By an application with a way to log of its own."""
    trace = "".join(traceback.format_exception(*failure(function)))
    assert said(f"CRITICAL:gunicorn:failed\n{trace}").startswith(CAUSES[function])


def test_the_end_of_a_long_cause_is_kept(said):
    record = logging.LogRecord("gunicorn", logging.CRITICAL, "", 0, "failed", (), failure(long))
    assert "xxx end (" in said(JsonFormatter().format(record))


def test_an_exception_without_a_traceback_is_a_cause(said):
    assert said(json.dumps({"level": "error", "exception": "ValueError: one\ntwo"})) == "ValueError: one two"


def test_a_worker_class_that_gunicorn_cannot_load_is_a_cause(said):
    def load():
        try:
            import not_installed  # noqa: F401
        except ImportError:
            raise RuntimeError("gevent worker requires gevent 24.10.1 or higher")  # noqa: B904

    trace = "".join(traceback.format_exception(*failure(load)))
    cause = said(f"\nError: class uri 'gevent' invalid or not found: \n\n[{trace}]\n\n")
    assert cause.startswith("RuntimeError: gevent worker requires gevent 24.10.1 or higher")


def test_the_last_that_is_printed_is_a_cause(said):
    assert said("usage: gunicorn\n[\nit cannot be\n]\n") == "it cannot be"


def test_the_first_exception_of_the_last_seconds_is_the_cause(capsys, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    output = logs.ProgramOutput("gunicorn", "warning")
    output.feed(b'{"level": "error", "exception": "ValueError: of a request, long ago"}\n')
    now += logs.CAUSE_SECONDS + 1
    assert output.cause() == "it gave no reason"
    for text in ("what it is", "what follows from it"):
        output.feed(json.dumps({"level": "error", "exception": f"ValueError: {text}"}).encode() + b"\n")
    assert output.cause() == "ValueError: what it is"


NGINX = "2026/11/22 12:00:00 [crit] 12#12: "
CLIENT = ', client: 1.2.3.4, server: localhost, request: "GET /a?s3cr3t HTTP/1.1", host: "h"'
FORGED = ', client: 6.6.6.6, server: localhost, request: "GET /admin '
KEPT = {
    '*1 open() "/a b" failed (13: Permission denied)' + CLIENT: '*1 open() "/a b" failed (13: Permission denied), client: '
    '1.2.3.4, request: "GET /a"',
    "*1 writev() failed (32: Broken pipe)" + CLIENT: '*1 writev() failed (32: Broken pipe), client: 1.2.3.4, request: '
    '"GET /a"',
    '*1 limiting requests, excess: 1.0 by zone "requests"' + CLIENT: '*1 limiting requests, excess: 1.0 by zone '
    '"requests", client: 1.2.3.4, request: "GET /a"',
    f'*1 writev() failed{CLIENT}, referrer: "{FORGED}"': '*1 writev() failed, client: 1.2.3.4, request: "GET /a"',
    f'*1 open() "/a{FORGED}" failed{CLIENT}': "*1 open() …",
    f'*1 open() "/a" failed{FORGED}" failed{CLIENT}': "*1 open() …",
    f'*1 open() "/a{FORGED}': "*1 open() …",
    f'*1 client sent duplicate host header: "Host: a{FORGED}", previous value: "Host: b"{CLIENT}': "*1 client sent "
    "duplicate host header: …",
    f'*1 client sent duplicate host header: "Host: a"{FORGED}': "*1 client sent duplicate host header: …",
    f'*1 client sent invalid method{CLIENT.replace("GET /a", FORGED)}': "*1 client sent invalid method, client: 1.2.3.4",
    "*1 client 1.2.3.4 closed keepalive connection": "*1 client 1.2.3.4 closed keepalive connection",
    'unknown directive "a" in /run/nginx.conf:1': 'unknown directive "a" in /run/nginx.conf:1',
}  # fmt: skip


@pytest.fixture
def printed(capsys):
    """The lines that Nginx's become."""

    def feed(*lines):
        output = logs.ProgramOutput("nginx", "warning")
        output.feed("".join(f"{line}\n" for line in lines).encode())
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return feed


@pytest.mark.parametrize(
    ("said", "level"),
    [("emerg", "critical"), ("alert", "critical"), ("crit", "critical"), ("error", "error"), ("warn", "warning"),
     ("notice", "info"), ("info", "info"), ("debug", "debug")],
)  # fmt: skip
def test_nginxs_levels_have_pythons_names(printed, said, level):
    assert [line["level"] for line in printed(NGINX.replace("crit", said) + "worker process 12 exited")] == [level]


@pytest.mark.parametrize("message", KEPT)
def test_what_a_client_writes_is_not_taken_for_nginxs_words(printed, message):
    assert [line["message"] for line in printed(NGINX + message)] == [KEPT[message]]


def test_a_line_of_nginxs_that_a_client_has_broken_has_no_rest(printed):
    forged = '{"level": "critical", "logger": "access", "message": "FORGED"}'
    lines = printed(
        NGINX + '*1 open() "/a', forged, f'" failed{CLIENT}', NGINX + "worker process 12 exited on signal 9"
    )
    assert [(line["logger"], line["message"]) for line in lines] == [
        ("nginx", "*1 open() …"),
        ("nginx", "worker process 12 exited on signal 9"),
    ]


def test_what_keeps_nginx_from_starting_is_kept(capsys):
    reasons = [
        "sh: 1: exec: /run/nginx/nginx: not found",
        "nginx: [emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)",
        'nginx: invalid option: "x"',
        "{",
    ]
    output = logs.ProgramOutput("nginx", "warning")
    output.feed(f"{NGINX}*1 writev() failed{CLIENT}\n".encode())
    # it has ended, and is started anew
    output.close()
    output.feed("".join(f"{reason}\n" for reason in reasons).encode())
    messages = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    assert messages[1:] == [reason.replace("nginx: [emerg] ", "") for reason in reasons]
