"""RATE_LIMIT and CONNECTIONS_PER_IP: off by default, per client address, 429, and never for health checks."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.proxy.raw import Response, ask, assert_problem, exchange, request, responses
from tests.proxy.upstreams import nginx_alone
from tests.running import stack, wait_for

RATE = 5


@pytest.fixture(scope="module")
def limited(project):
    with stack(project, APP_MODULE="shown:app", RATE_LIMIT=str(RATE), TRUSTED_PROXIES="127.0.9.9") as running:
        yield running


def burst(
    port: int, count: int, method: str = "GET", target: str = "/seen", source: str = "", headers: tuple[str, ...] = ()
) -> list[Response]:
    """The responses to so many requests on one connection, as fast as they go."""
    last = request(method, target, *headers)
    one = last.replace(b"Connection: close\r\n", b"")
    return responses(exchange(port, one * (count - 1) + last, source=source), head=method == "HEAD")


def statuses(port: int, count: int, target: str = "/seen", source: str = "", *headers: str) -> list[int]:
    return [response.status for response in burst(port, count, target=target, source=source, headers=headers)]


def test_a_rate_above_the_limit_is_429_with_retry_after(limited):
    begin = time.monotonic()
    answered = burst(limited.port, 40, source="127.0.5.1")
    found = [response.status for response in answered]
    assert set(found) == {200, 429}
    # one at once, as many in advance as the rate is, and what becomes free meanwhile
    assert 1 + RATE <= found.count(200) <= 2 + RATE + RATE * (time.monotonic() - begin)
    response = next(response for response in answered if response.status == 429)
    assert_problem(response, 429)
    assert response.get("retry-after") == "1"


def test_head_above_the_limit_has_no_body(limited):
    # a body would be read as a response that does not parse
    answered = burst(limited.port, 40, "HEAD", source="127.0.5.2")
    assert {response.status for response in answered} == {200, 429}


def test_it_is_for_one_address_and_for_a_time(limited):
    assert 429 in statuses(limited.port, 40, source="127.0.5.3")
    assert statuses(limited.port, 1, source="127.0.5.4") == [200]
    wait_for(lambda: statuses(limited.port, 1, "/seen", "127.0.5.3") == [200])


def test_it_counts_the_client_and_not_the_proxy(limited):
    counted = ["X-Forwarded-For: 1.1.1.1"], ["X-Forwarded-For: 2.2.2.2"]
    assert 429 in statuses(limited.port, 40, "/seen", "127.0.9.9", *counted[0])
    assert statuses(limited.port, 2, "/seen", "127.0.9.9", *counted[1]) == [200, 200]


def test_health_checks_are_not_counted(limited):
    assert statuses(limited.port, 60, "/ping", source="127.0.5.5") == [200] * 60
    assert statuses(limited.port, RATE, source="127.0.5.5") == [200] * RATE


@pytest.mark.parametrize("target", ["/ping/../seen", "//seen", "/seen/", "/ping/"])
def test_no_other_path_gets_around_it(limited, target):
    source = f"127.0.6.{len(target)}"
    assert 429 in statuses(limited.port, 40, target, source)


@pytest.mark.parametrize("target", ["/seen/../ping", "//ping", "/x/%2e%2e/ping", "/%70ing"])
def test_what_counts_as_a_health_check_is_one_to_the_application(limited, target):
    """Otherwise every path would have a spelling that is neither limited nor logged."""
    answered = responses(exchange(limited.port, request("GET", target)))
    assert [(response.status, response.body) for response in answered] == [(200, b"pong")]


def test_connections_per_address(project, new_gate):
    gate = new_gate()
    with (
        stack(project, APP_MODULE="shown:app", CONNECTIONS_PER_IP="2") as running,
        ThreadPoolExecutor(2) as threads,
    ):
        held = [threads.submit(ask, running.port, request("GET", gate.target), source="127.0.5.1") for _ in "12"]
        wait_for(lambda: gate.begun() == 2)
        refused = ask(running.port, request("GET", "/seen"), source="127.0.5.1")
        assert_problem(refused, 429)
        assert refused.get("retry-after") == "1"
        assert ask(running.port, request("GET", "/ping"), source="127.0.5.1").status == 200
        assert ask(running.port, request("GET", "/seen"), source="127.0.5.2").status == 200
        gate.open()
        assert [future.result().status for future in held] == [200, 200]
        assert ask(running.port, request("GET", "/seen"), source="127.0.5.1").status == 200


def test_a_slow_body_is_a_connection(project):
    """Whoever sends bodies slowly is held to the limit as well."""
    with stack(project, APP_MODULE="shown:app", CONNECTIONS_PER_IP="2") as running:
        slow = [socket.create_connection(("127.0.0.1", running.port), 10, ("127.0.5.1", 0)) for _ in "12"]
        for connection in slow:
            connection.sendall(request("PUT", "/seen", "Content-Length: 9", "Expect: 100-continue"))
            # Nginx waits for the body now
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            connection.sendall(b"x")
        assert_problem(ask(running.port, request("GET", "/seen"), source="127.0.5.1"), 429)
        for connection in slow:
            connection.close()


def test_there_is_no_limit_by_default(shown):
    assert statuses(shown.port, 200) == [200] * 200


def test_refusals_are_in_the_access_log_and_not_twice(limited):
    statuses(limited.port, 40, source="127.0.5.8")
    wait_for(lambda: [line for line in limited.log() if line.get("client") == "127.0.5.8" and line["status"] == 429])
    assert not [message for message in limited.messages() if "limiting" in message]


def test_refusals_are_no_errors_where_nginx_tells_of_them():
    with nginx_alone(LOG_LEVEL="debug", RATE_LIMIT="1") as nginx:
        assert 429 in statuses(nginx.port, 10)
        lines = wait_for(
            lambda: [line for line in nginx.stderr.read_text().splitlines() if "limiting requests" in line]
        )
    assert [line for line in lines if "[info]" not in line] == []


def test_static_files_are_connections_and_no_requests_to_the_application(project, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 2**24)
    (tmp_path / "small").write_text("x")
    environment = {"STATIC_PATH": str(tmp_path), "CONNECTIONS_PER_IP": "2", "RATE_LIMIT": "1"}
    with stack(project, APP_MODULE="shown:app", **environment) as running, contextlib.ExitStack() as readers:
        assert statuses(running.port, 20, "/static/nothing").count(429) > 10
        for _ in range(2):
            reader = readers.enter_context(
                socket.create_connection(("127.0.0.1", running.port), source_address=("127.0.5.6", 0))
            )
            reader.sendall(request("GET", "/static/large"))
            assert reader.recv(12) == b"HTTP/1.1 200"
        assert_problem(ask(running.port, request("GET", "/static/large"), source="127.0.5.6"), 429)
        readers.close()
        wait_for(lambda: statuses(running.port, 20, "/static/small", "127.0.5.6") == [200] * 20)
        assert not [message for message in running.messages() if "limiting" in message]
