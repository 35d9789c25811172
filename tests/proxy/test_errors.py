"""Every response that no application made is a problem document; every response that one made stays as it was."""

from __future__ import annotations

import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.proxy.conftest import container_files
from tests.proxy.raw import ask, assert_problem, exchange, request, responses
from tests.proxy.upstreams import nginx_alone
from tests.running import ROOT, stack, wait_for

CHUNKED = b"POST /seen HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
MADE_BY_NGINX = {
    "bare word": (b"hello\r\n\r\n", 400),
    "no host": (request("GET", "/seen", host=None), 400),
    "0xff in the target": (b"GET /\xff HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 400),
    "address of the error page": (request("GET", "/__error"), 404),
    "address of the other error page": (request("GET", "/__upstream_failed"), 404),
    **{
        f"address of Gunicorn's error page for {status}": (request("GET", f"/__gunicorn/{status}"), 404)
        for status in (400, 431, 500, 503)
    },
    "TRACE": (request("TRACE", "/seen"), 405),
    "TRACE of /ping": (request("TRACE", "/ping"), 405),
    "length over the limit": (request("PUT", "/seen", "Content-Length: 1048577"), 413),
    "length far over the limit": (request("PUT", "/seen", "Content-Length: 9999999999"), 413),
    "length over the limit, with some of it": (request("PUT", "/seen", "Content-Length: 1048577") + b"x" * 5000, 413),
    "chunks over the limit": (CHUNKED + b"100001\r\n" + b"x" * 0x100001 + b"\r\n0\r\n\r\n", 413),
    "long target": (request("GET", "/seen?" + "a" * 9000), 414),
    "long header": (request("GET", "/seen", "X: " + "a" * 9000), 431),
    "many headers": (request("GET", "/seen", *["X: a"] * 200), 431),
    "TRACE with a length over the limit": (request("TRACE", "/seen", "Content-Length: 9999999"), 405),
    "two lengths of a body, one over the limit": (CHUNKED[:-2] + b"Content-Length: 9999999\r\n\r\n", 400),
    "one-letter method": (request("A", "/seen"), 501),
    "unknown transfer encoding": (request("PUT", "/seen", "Transfer-Encoding: x"), 501),
    "HTTP/2.0": (b"GET /seen HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    "HTTP/2.0 of /ping": (b"GET /ping HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    # what Gunicorn refuses
    "control in a header": (request("GET", "/seen", "X: a\x01b"), 400),
    "control in a header, with a body": (request("PUT", "/seen", "X: a\x01b", body=b"x" * 1_000_000), 400),
    "two types": (request("PUT", "/seen", "Content-Type: a/b", "Content-Type: c/d", body=b"x" * 1_000_000), 400),
    # what a WSGI application leaves to Gunicorn
    "exception": (request("GET", "/raise"), 500),
    "exception, with a body": (request("PUT", "/raise", body=b"x" * 1_000_000), 500),
    "sys.exit": (request("GET", "/exit"), 500),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE_BY_NGINX)
def test_it_is_a_problem(shown, name):
    sent, status = MADE_BY_NGINX[name]
    response = ask(shown.port, sent, first=True)
    document = assert_problem(response, status)
    assert ("it has been logged with this request_id" in document["detail"]) == (status == 500)
    assert (response.get("allow") is not None) == (status == 405)
    assert shown.answers()


def test_a_body_as_large_as_allowed_is_passed_on(shown):
    answer = ask(shown.port, request("PUT", "/seen", body=b"x" * 2**20))
    assert answer.status == 200
    assert ["content-length", "1048576"] in answer.json["headers"]


def listed_statuses() -> list[int]:
    """Those in the configuration's own list of error pages; 494 is Nginx's name for one kind of 431."""
    lists = re.findall(r"^error_page (\d[\d ]*) /__error;", (ROOT / "nginx/errors.conf").read_text(), re.M)
    return [int(status) for status in lists[0].split()]


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """Nginx fails with each status at /made/<status>."""
    project = container_files(tmp_path_factory.mktemp("failing"))
    made = "".join(f"location /made/{status} {{ return {status}; }}\n" for status in listed_statuses())
    errors = project / "nginx/errors.conf"
    errors.write_text(errors.read_text() + made)
    with stack(project, APP_MODULE="shown:app") as running:
        yield running


def test_the_list_has_what_nginx_may_answer():
    """And 502, which has a page of its own."""
    assert {400, 403, 404, 405, 408, 412, 413, 414, 416, 421, 429, 431, 500, 501, 503, 504, 505} <= set(
        listed_statuses()
    )


# Nginx never sends a 408: it closes the connection
@pytest.mark.parametrize("status", sorted({*listed_statuses()} - {408}))
def test_every_status_has_its_document(failing, status):
    """Some are hard to bring about: a 421 needs TLS in Nginx, a 411 or a 412 what is not used here."""
    response = ask(failing.port, request("GET", f"/made/{status}"))
    assert_problem(response, status)
    assert response.get("allow") == ("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH" if status == 405 else None)
    assert response.get("retry-after") == ("1" if status in (429, 503) else None)
    assert response.get("access-control-allow-origin") == "*"
    head = exchange(failing.port, request("HEAD", f"/made/{status}"))
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nContent-Type: application/problem+json\r\n" in head
    assert head.endswith(b"\r\n\r\n")


def test_allow_says_what_is_passed_on(shown):
    methods = ask(shown.port, request("TRACE", "/seen")).get("allow").split(", ")
    for method in methods:
        answer = exchange(shown.port, request(method, "/seen"))
        assert responses(answer, head=method == "HEAD")[0].status == 200


@pytest.mark.parametrize("name", ["no host", "long target", "long header", "control in a header", "exception"])
def test_a_problem_for_head_has_no_body(shown, name):
    sent, status = MADE_BY_NGINX[name]
    raw = exchange(shown.port, b"HEAD" + sent[3:])
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    assert body == b""


def test_http_0_9_gets_the_document_alone(shown):
    """Such a client knows no header."""
    for path in (b"/seen", b"/ping"):
        raw = exchange(shown.port, b"GET " + path + b"\r\n")
        assert raw.startswith(b'{"type":"about:blank","title":"HTTP Version Not Supported","status":505,')


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 405, 408, 413, 414, 421, 429, 431, 500, 501, 502, 503, 504, 505]
)
def test_an_error_of_the_application_stays_as_it_was(shown, status):
    response = ask(shown.port, request("GET", f"/own/{status}"))
    assert (response.status, response.body) == (status, b"mine")
    assert response.get("content-type").startswith("text/plain")
    for name in ("x-content-type-options", "referrer-policy", "content-security-policy", "cache-control", "allow"):
        assert response.get(name) == "mine"
    assert response.get("retry-after") == "77"
    # except that there is one id of a request
    assert len(response.get("x-request-id")) == 32


def test_the_headers_of_an_answer_may_be_long():
    """test_logs.py has one that is too long."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: %b\r\n\r\n" % (b"y" * 8000)
    with nginx_alone(lambda connection, _: connection.sendall(answer)) as nginx:
        assert ask(nginx.port, request("GET", "/t")).get("x") == "y" * 8000


def test_a_body_that_the_application_does_not_read_breaks_nothing(shown):
    """The connection to Gunicorn must not be closed before Nginx has read the answer."""
    with ThreadPoolExecutor(4) as threads:
        sent = [request("PUT", "/unread", body=b"x" * 1_000_000)] * 40
        answers = list(threads.map(lambda data: ask(shown.port, data), sent))
    assert {(answer.status, answer.body) for answer in answers} == {(401, b"no")}


@pytest.mark.parametrize(
    ("headers", "status"), [(["X: unread"], 401), (["X: a\x01b"], 400), (["Content-Type: a/b"] * 2, 400)]
)
def test_gunicorn_takes_the_whole_of_a_request_that_it_has_answered(shown, headers, status):
    """As Nginx would find it that is still sending: it does not always get to read the answer once it cannot."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(f"{shown.run_dir}/run/gunicorn.sock")
        connection.sendall(request("PUT", "/unread", *headers, body=b"x" * 4_000_000))
        assert connection.recv(100).startswith(b"HTTP/1.1 %d " % status)


def test_a_worker_that_dies_with_a_request_is_a_502(project, tmp_path):
    with stack(project, APP_MODULE="shown:app") as running:
        document = assert_problem(ask(running.port, request("PUT", f"/die?file={tmp_path}/seen")), 502)
        assert "may have been carried out" in document["detail"]
        raw = exchange(running.port, request("HEAD", f"/die?file={tmp_path}/seen"))
        assert raw.endswith(b"\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 502 ")


def test_a_limit_of_gunicorn_s_may_be_lower(project):
    limits = "--limit-request-fields 20 --limit-request-line 100"
    with stack(project, APP_MODULE="shown:app", GUNICORN_CMD_ARGS=limits) as running:
        assert_problem(ask(running.port, request("GET", "/seen", *["X: y"] * 20)), 431)
        # of the statuses that Gunicorn has for what it refuses, the others become this one
        assert_problem(ask(running.port, request("GET", "/seen?" + "a" * 100)), 400)


def test_no_answer_in_time_is_a_504(changed_project, new_gate):
    project = changed_project("nginx/proxy.conf", "proxy_read_timeout", "1s")
    with stack(project, APP_MODULE="shown:app") as running:
        gate = new_gate()
        document = assert_problem(ask(running.port, request("PUT", gate.target)), 504)
        wait_for(lambda: "Gunicorn did not answer in time" in [line.get("failure") for line in running.log()])
        # it arrived, and once
        assert gate.begun() == 1
        gate.open()
        assert "may have been carried out" in document["detail"]


@pytest.mark.parametrize("start", [b"GET /", b"GET /seen HTTP/1.1\r\nHost: h\r\nX: "])
def test_a_header_that_does_not_end_in_time_closes_the_connection(changed_project, start):
    """Nginx sends no 408 itself: it closes, and logs 408."""
    project = changed_project("nginx/time-limits.conf", "client_header_timeout", "1s")
    with stack(project, APP_MODULE="shown:app") as running:
        with socket.create_connection(("127.0.0.1", running.port), 10) as connection:
            connection.sendall(start)
            stop = threading.Event()

            def drip():
                # a byte now and then does not prolong it
                while not stop.wait(0.2):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

            dripping = threading.Thread(target=drip)
            dripping.start()
            try:
                received = connection.recv(1)
            except ConnectionResetError:
                received = b""
            stop.set()
            dripping.join()
        assert received == b""
        wait_for(lambda: [line for line in running.log() if line.get("status") == 408])


def test_a_body_that_stops_closes_the_connection(changed_project, new_gate):
    """And the application hears nothing of it."""
    project, gate = changed_project("nginx/time-limits.conf", "client_body_timeout", "1s"), new_gate()
    with stack(project, APP_MODULE="shown:app") as running:
        assert exchange(running.port, request("PUT", gate.target, "Content-Length: 9") + b"x") == b""
        wait_for(lambda: [line for line in running.log() if line.get("status") == 408])
        assert gate.begun() == 0


def test_a_static_file_takes_no_post(project, tmp_path):
    (tmp_path / "a.txt").write_text("static")
    with stack(project, APP_MODULE="shown:app", STATIC_PATH=str(tmp_path)) as running:
        assert ask(running.port, request("GET", "/static/a.txt")).body == b"static"
        response = ask(running.port, request("POST", "/static/a.txt"))
        assert_problem(response, 405)
        assert response.get("allow") == "GET, HEAD"
        assert_problem(ask(running.port, request("GET", "/static/a.txt", 'If-Match: "b"')), 412)


@pytest.mark.parametrize("target", ["/static/a.txt", "/static/nothing"])
def test_a_static_file_is_refused_for_the_same_reasons(project, tmp_path, target):
    (tmp_path / "a.txt").write_text("static")
    bad = [b"GET %s HTTP/1.1\r\nHost: %s\r\n" % (target.encode(), host) for host in (b'h<>"', b"h@h", b"h:x", b"h\xff")]
    bad += [b"GET %s#x HTTP/1.1\r\nHost: h\r\n" % target.encode()]
    with stack(project, APP_MODULE="shown:app", STATIC_PATH=str(tmp_path)) as running:
        for head in bad:
            assert_problem(ask(running.port, head + b"Connection: close\r\n\r\n"), 400)
        assert_problem(
            ask(running.port, b"GET %s HTTP/1.2\r\nHost: h\r\nConnection: close\r\n\r\n" % target.encode()), 505
        )


@pytest.mark.parametrize(
    "head",
    [
        request("OPTIONS", "/item", "Origin: https://x", "Access-Control-Request-Headers: " + "a" * 7900),
        request("GET", "/item//" + "%ff" * 1200),
        request("GET", "/item//" + "a" * 8100),
        request("GET", "/docs/?" + "a" * 8100),
        request("GET", "/item/?" + "a" * 8100),
    ],
    ids=lambda head: head[:14].decode(),
)
def test_what_a_client_sends_makes_no_answer_that_nginx_cannot_take(running_stack, head):
    assert ask(running_stack.port, head).status < 500
