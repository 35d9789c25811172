"""What gunicorn.conf.py makes of Gunicorn: answers in one piece."""

from __future__ import annotations

import gc
import io
import os
import runpy
import socket
import sys
import time
from types import SimpleNamespace

import pytest
from gunicorn import util
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.config import Config
from gunicorn.errors import HaltServer
from gunicorn.http import get_parser, wsgi

from entrypoint.in_progress import Queue
from entrypoint.turns import Turns
from tests.running import ROOT


@pytest.fixture
def conf(monkeypatch, tmp_path):
    """The file's names; what it changes elsewhere is changed back."""
    monkeypatch.setenv("RUN_DIR", str(tmp_path))
    monkeypatch.setenv("APP_MODULE", "app.wsgi:app")
    changed = (sys, "excepthook"), (util, "write_error"), (wsgi, "Response"), (WSGIApplication, "load_wsgiapp")
    for owner, name in changed:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    yield runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    gc.enable()


def writes(method, application):
    """Answer a request as Gunicorn does, and return each write as the kernel got it."""
    # a socket that keeps the boundaries
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    config = Config()
    request = next(iter(get_parser(config, [f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode()], "")))
    response, environ = wsgi.create(request, ours, "", "unix:x", config)
    body = application(environ, response.start_response)
    if isinstance(body, environ["wsgi.file_wrapper"]):
        response.write_file(body)
    else:
        for item in body:
            response.write(item)
    response.close()
    ours.close()
    return list(iter(lambda: theirs.recv(2**16), b""))


def plain(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    return [b"pong"]


def empty(environ, start_response):
    start_response("204 No Content", [])
    return []


def stream(environ, start_response):
    start_response("200 OK", [])
    return iter([b"", b"one", b"two"])


def file(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"file"))


@pytest.mark.parametrize(
    ("method", "application", "bodies"),
    [
        ("GET", plain, [b"pong"]),
        ("HEAD", plain, [b""]),
        ("DELETE", empty, [b""]),
        ("GET", file, [b"file"]),
    ],
)
def test_headers_and_body_are_one_write(conf, method, application, bodies):
    (whole,) = writes(method, application)
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 20")
    assert [body] == bodies


def test_a_stream_is_sent_as_it_comes(conf):
    head, *chunks = writes("GET", stream)
    assert head.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert chunks == [b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"]


def test_a_file_goes_straight_to_the_socket(conf, tmp_path):
    (tmp_path / "file").write_bytes(b"file")

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return environ["wsgi.file_wrapper"]((tmp_path / "file").open("rb"))

    head, body = writes("GET", application)
    assert head.endswith(b"\r\n\r\n")
    assert body == b"file"


def test_a_request_that_found_every_thread_busy_for_long_is_too_late(conf):
    sent = time.time() - Queue.LEAST - 1
    request = {"PATH_INFO": "/item", "HTTP_X_REQUEST_START": f"t={sent:.3f}"}
    queue = Queue()
    queue.ended(0.1)
    assert queue.too_late(request)
    assert not queue.too_late(request | {"PATH_INFO": "/ping"})


def test_a_request_that_found_a_free_thread_is_not_too_late(conf, monkeypatch):
    """However long the machine slept in between, or how far its clock was put forward or back."""
    queue = Queue()
    queue.ended(0.1)
    now = time.time()
    for sent, begun in ((now, now + 60), (now + 60, now), (now - 60, now - 60)):
        monkeypatch.setattr(time, "time", lambda begun=begun: begun)
        assert not queue.too_late({"PATH_INFO": "/item", "HTTP_X_REQUEST_START": f"t={sent:.3f}"})


@pytest.mark.parametrize(
    ("usual", "waited", "late"),
    [
        (0.1, 1.9, False),
        (0.1, 2.1, True),
        # of those that take long, each may wait for two
        (2, 3.9, False),
        (2, 4.1, True),
        (20, 4.9, False),
        (20, 5.1, True),
    ],
)
def test_how_long_a_request_may_wait_depends_on_how_long_they_take(conf, monkeypatch, usual, waited, late):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    queue = Queue()
    sent = now - waited
    for _ in range(40):
        queue.ended(usual)
    # refused, and so it took no time
    queue.ended(None)
    assert queue.too_late({"PATH_INFO": "/item", "HTTP_X_REQUEST_START": f"t={sent:.3f}"}) is late
    assert not queue.too_late({"PATH_INFO": "/item"})


@pytest.mark.parametrize(
    ("fate", "age", "counts"),
    [
        pytest.param(b"\0", 0, True, id="never ready"),
        pytest.param(b"\0", 60, True, id="never ready, after a long start"),
        pytest.param(b"r", 1, True, id="young"),
        pytest.param(b"r", 3, False, id="killed later"),
        pytest.param(b"e", 1, False, id="ended by itself"),
    ],
)
def test_workers_that_die_young_end_gunicorn(conf, monkeypatch, fate, age, counts):
    """Ten for each worker within a minute."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def die(times):
        for _ in range(times):
            conf["child_exit"](SimpleNamespace(num_workers=2), SimpleNamespace(fate=fate, begun=now - age))

    die(19)
    now += 61
    die(19)
    if counts:
        with pytest.raises(HaltServer, match="20 workers died within a minute"):
            die(1)
    else:
        die(1)


@pytest.mark.parametrize(
    ("requests", "computes", "waits", "gives_way"),
    [
        pytest.param(40, 0.0001, 0, True, id="many"),
        pytest.param(1, 0.003, 0, True, id="one that computes"),
        pytest.param(1, 0.003, 0.02, True, id="one that computes and waits"),
        pytest.param(1, 0.001, 0.02, False, id="one that waits for DynamoDB"),
        pytest.param(1, 0.0001, 0.02, True, id="one that has waited for its turn"),
    ],
)
def test_a_thread_gives_way_after_its_turn(monkeypatch, requests, computes, waits, gives_way):
    yields, wall, cpu = [], [0.0], [0.0]
    monkeypatch.setattr(os, "sched_yield", lambda: yields.append(True))
    monkeypatch.setattr("entrypoint.turns.time", SimpleNamespace(monotonic=lambda: wall[0], thread_time=lambda: cpu[0]))
    turns = Turns()
    for _ in range(requests):
        wall[0] += computes + waits
        cpu[0] += computes
        turns.request_ended()
    assert bool(yields) is gives_way
