"""A request reaches Gunicorn once, whenever the connection to it breaks."""

from __future__ import annotations

import re
import socket
import struct

import pytest

from tests.proxy.conftest import container_files
from tests.proxy.raw import ask, assert_problem, exchange, request, responses
from tests.proxy.upstreams import nginx_alone
from tests.running import wait_for

METHODS = ["PUT", "POST", "DELETE"]


def close(connection: socket.socket, data: bytes) -> bool:
    connection.close()
    return False


def reset(connection: socket.socket, data: bytes) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return False


def half_a_status_line(connection: socket.socket, data: bytes) -> bool:
    connection.sendall(b"HTTP/1.")
    return close(connection, data)


def half_a_header(connection: socket.socket, data: bytes) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-")
    return close(connection, data)


@pytest.fixture(scope="module")
def two_servers(tmp_path_factory):
    """The configuration with a second server in the upstream, so that Nginx has somewhere to try again.

    With one it only does so on connections that it keeps.
    """
    project = container_files(tmp_path_factory.mktemp("two"))
    upstream = project / "nginx/upstream.conf"
    upstream.write_text(re.sub(r"(?m)^ *server .*;$", r"\g<0>\n\g<0>", upstream.read_text()))
    return project


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("breaks", [close, reset, half_a_status_line, half_a_header])
def test_a_broken_connection_is_a_502_and_no_second_try(two_servers, method, breaks):
    with nginx_alone(breaks, project=two_servers) as nginx:
        assert_problem(ask(nginx.port, request(method, "/t", body=b"once")), 502)
        assert len(nginx.recorder.requests) == 1
        assert nginx.recorder.requests[0].startswith(method.encode() + b" /t HTTP/1.1\r\n")


# large enough for Nginx to be in the middle of it
LARGE = b"x" * 1_000_000
EARLY = {
    "before the request": lambda data: True,
    "within the header": lambda data: len(data) > 0,
    "within the body": lambda data: len(data) > 400_000,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("breaks", [close, reset])
@pytest.mark.parametrize("when", EARLY)
def test_a_connection_that_breaks_early_is_not_replaced(two_servers, method, breaks, when):
    """One that was reset before it carried a byte as well: Nginx cannot know."""
    with nginx_alone(breaks, EARLY[when], project=two_servers) as nginx:
        assert_problem(ask(nginx.port, request(method, "/t", body=LARGE)), 502)
        assert len(nginx.recorder.requests) == 1


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_before_the_request_is_there_is_the_answer(method):
    """An upstream that answers early and closes, as Gunicorn does at a limit of its own."""

    def early(connection, data):
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        return close(connection, data)

    with nginx_alone(early, EARLY["within the header"]) as nginx:
        # whether it can still be read once the connection is gone is the kernel's business
        assert ask(nginx.port, request(method, "/t", body=LARGE)).status in (401, 502)
        assert len(nginx.recorder.requests) == 1


def test_an_answer_that_breaks_off_is_not_asked_for_again():
    def half_a_body(connection, data):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        return close(connection, data)

    with nginx_alone(half_a_body) as nginx:
        raw = exchange(nginx.port, request("PUT", "/t", body=b"once"))
        # the client sees that it is not whole
        assert raw.endswith(b"\r\n\r\nhalf")
        assert b"Content-Length: 100\r\n" in raw
        assert len(nginx.recorder.requests) == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_connection_that_has_carried_a_request_carries_no_other(method):
    """Between Nginx and Gunicorn: one that was kept could be closed by Gunicorn just as the next request is sent."""
    answered = []

    def first_good_then_broken(connection, data):
        answered.append(data)
        if len(answered) > 1:
            return close(connection, data)
        # as an upstream that keeps the connection
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        assert connection.recv(1) == b""
        return False

    with nginx_alone(first_good_then_broken) as nginx:
        # one connection of a client
        first = b"GET /first HTTP/1.1\r\nHost: h\r\n\r\n"
        found = responses(exchange(nginx.port, first + request(method, "/t", body=b"once")))
        assert [response.status for response in found] == [200, 502]
        assert len(nginx.recorder.requests) == 2


@pytest.mark.parametrize("method", METHODS)
def test_the_application_sees_it_once_when_its_worker_dies(shown, tmp_path, method):
    file = tmp_path / "seen"
    assert_problem(ask(shown.port, request(method, f"/die?file={file}", body=b"!")), 502)
    # by the time that both workers serve again a second try would have been seen
    wait_for(lambda: all(shown.answers() for _ in range(8)))
    assert file.read_text() == f"{method}!\n"


def test_no_gunicorn_is_a_502_with_retry_after():
    with nginx_alone() as nginx:
        nginx.recorder.close()
        response = ask(nginx.port, request("PUT", "/t", body=b"x"))
        assert_problem(response, 502)
        assert response.get("retry-after") == "1"
