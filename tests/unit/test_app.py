"""What the application does to Flask itself, and what it needs of the system."""

from __future__ import annotations

import gc
import io
import re
import subprocess
import sys
import weakref

import pytest
from flask import after_this_request, request
from werkzeug.test import EnvironBuilder, run_wsgi_app

from app import create_app
from app.settings import Settings
from tests.running import ROOT


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


@pytest.mark.parametrize("sent", ["0123456789abcdef" * 2, "0123456789abcdef" * 3, "mine"])
def test_an_answer_without_nginx_has_its_id_whatever_the_client_sends(api, sent):
    answer = api("GET", "/nothing", headers={"X-Request-Id": sent})
    assert answer.headers["X-Request-Id"] == answer.json["request_id"]
    assert re.fullmatch("[0-9a-f]{32}", answer.json["request_id"])


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


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "204 NO CONTENT"),
        (b'{"id":"00000000-0000-4000-8000-000000000001"}', "204 NO CONTENT"),
        (b'{"id":"00000000-0000-4000-8000-000000000002"}', "400 BAD REQUEST"),
    ],
)
def test_the_id_in_a_chunked_body_counts_for_a_delete(app, body, status):
    """Nginx gives every body a length; a server without it need not."""
    app.test_client().put(ITEM, json={"title": "my title", "content": "my content"})
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    builder = EnvironBuilder(ITEM, method="DELETE", input_stream=io.BytesIO(body), content_type="application/json")
    environ = builder.get_environ() | chunked
    environ.pop("CONTENT_LENGTH")
    assert run_wsgi_app(app, environ)[1] == status


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


@pytest.mark.parametrize(("length", "status"), [(2048, 201), (2049, 413)])
def test_no_body_is_longer_than_the_settings_allow(store_directory, length, status):
    app = create_app(Settings.from_environment({"RUN_DIR": store_directory, "MAX_BODY_SIZE": "2k"}))
    body = b'{"title": "my title", "content": ""}'.ljust(length)
    assert app.test_client().put("/item", data=body, content_type="application/json").status_code == status


@pytest.mark.parametrize("length", ["1048577", "9" * 4301])
def test_no_body_is_longer_than_any_item_needs(app, length):
    """Whatever MAX_BODY_SIZE says for others: decoded, JSON may take forty times its size."""
    app.config["MAX_CONTENT_LENGTH"] = 10 * 2**20
    environ = {"CONTENT_LENGTH": length}
    answer = app.test_client().put("/item", content_type="application/json", environ_overrides=environ)
    assert answer.status_code == 413
    assert answer.json["title"] == "Content Too Large"
    assert answer.json["detail"] == "The body is larger than 1048576 bytes."


def test_a_stream_is_no_longer_either(app):
    app.config["MAX_CONTENT_LENGTH"] = 10 * 2**20
    body = io.BytesIO(b" " * 2**21)
    builder = EnvironBuilder("/item", method="PUT", input_stream=body, content_type="application/json")
    environ = builder.get_environ() | {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    environ.pop("CONTENT_LENGTH")
    assert run_wsgi_app(app, environ)[1] == "413 REQUEST ENTITY TOO LARGE"
    assert body.tell() <= 2**20 + 1


def test_not_every_error_of_a_body_is_listed(app):
    """The answer to a megabyte of them would be several."""
    answer = app.test_client().put("/item", json={f"field {n}": "" for n in range(1000)})
    assert answer.status_code == 422
    assert len(answer.json["errors"]) == 20


def test_an_error_of_the_application_is_for_the_log(app, caplog):
    @app.get("/fails")
    def fails():
        raise RuntimeError("SECRET cause")

    answer = app.test_client().get("/fails")
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert "SECRET" not in answer.text
    assert "SECRET cause" in caplog.text


STYLE = "/docs/swagger-ui.css"


@pytest.mark.parametrize(
    "headers", [{"If-Match": "*"}, {"If-Match": '"x"'}, {"Range": "x=0-1"}, {"Range": "bytes=0-0"}]
)
def test_a_file_of_the_page_is_sent_whole(app, headers):
    client = app.test_client()
    whole = client.get(STYLE)
    answer = client.get(STYLE, headers=headers)
    assert (answer.status_code, answer.data) == (200, whole.data)
    assert answer.content_type == "text/css; charset=utf-8"


def test_a_file_of_the_page_that_a_browser_has_is_not_sent_again(app):
    client = app.test_client()
    whole = client.get(STYLE)
    for tag in (whole.headers["ETag"], "W/" + whole.headers["ETag"], "*"):
        answer = client.get(STYLE, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == whole.headers["ETag"]
    assert client.get(STYLE, headers={"If-None-Match": '"x"'}).status_code == 200


# what Python lacks on Windows, as far as its own modules can do without it here, and what it has there for one of them
LIKE_WINDOWS = """
import os, shutil, signal, sys, time
for module, names in {
    os: "chown fork forkpty fstatvfs getgid getgroups geteuid getpgid getuid kill killpg mkfifo nice pipe2 posix_fadvise"
        " posix_fallocate posix_spawn pread pwrite register_at_fork sched_getaffinity sched_setscheduler sched_yield"
        " sendfile statvfs sync sysconf uname wait4 O_CLOEXEC O_DIRECTORY O_NONBLOCK",
    signal: "SIGALRM SIGCHLD SIGHUP SIGKILL SIGUSR1 SIGUSR2 alarm pause pthread_sigmask setitimer sigwait",
    time: "clock_gettime clock_getres tzset",
}.items():
    for name in names.split():
        vars(module).pop(name, None)
for name in ("fcntl", "grp", "pwd", "resource", "syslog", "termios"):
    sys.modules[name] = None
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(2**30, 0, 2**30)
"""
USE = """
from app import create_app
from app.settings import Settings
client = create_app(Settings.from_environment({"RUN_DIR": sys.argv[1]})).test_client()
created = client.put("/item", json={"title": "my title", "content": "my content"})
address = created.headers["Location"]
print(created.status_code, client.get(address).status_code, client.delete(address).status_code)
print(client.get(address).status_code, client.get("/ping").text)
"""


def test_the_application_runs_by_itself_on_windows(store_directory):
    command = [sys.executable, "-c", LIKE_WINDOWS + USE, store_directory]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["201", "200", "204", "404", "pong"], "")
