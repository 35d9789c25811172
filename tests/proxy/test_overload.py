"""More than the workers can do: some are served as ever, the others hear so quickly, and health checks go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from tests.proxy.raw import ask, assert_problem, request
from tests.running import stack, wait_for

THREADS = 8  # 2 workers of 4


@pytest.fixture(scope="module")
def running(project):
    with stack(project, APP_MODULE="shown:app", NGINX_WORKER_PROCESSES="2") as running:
        yield running


def at_once(port: int, count: int, data: bytes) -> list[tuple[object, float]]:
    """Send the same request on so many connections: the responses, and how long each took."""
    ready = threading.Barrier(count)

    def one(_: int) -> tuple[object, float]:
        ready.wait()
        begin = time.monotonic()
        response = ask(port, data, seconds=40)
        return response, time.monotonic() - begin

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def test_one_worker_has_no_queue_while_the_other_is_idle(running):
    """As many requests as there are threads take no longer than one, after a burst of quick ones as well."""
    for _ in range(3):
        at_once(running.port, 64, request("GET", "/seen"))
        found = at_once(running.port, THREADS, request("GET", "/wait?seconds=0.5"))
        assert [response.status for response, _ in found] == [200] * THREADS
        assert max(seconds for _, seconds in found) < 0.9


def test_the_excess_is_refused_soon_and_the_others_are_served_in_time(running):
    begin = time.monotonic()
    with pinging(running) as pings:
        found = at_once(running.port, 300, request("PUT", "/wait?seconds=0.25", body=b"x"))
    served = [seconds for response, seconds in found if response.status == 200]
    refused = [(response, seconds) for response, seconds in found if response.status != 200]
    # no 502, no 504
    assert {response.status for response, _ in refused} == {503}
    for response, _ in refused:
        document = assert_problem(response, 503)
        assert "not carried out" in document["detail"]
        assert response.get("retry-after") == "1"
    # a request waits a second at most, and the threads are never idle meanwhile
    assert THREADS * 3 <= len(served) <= THREADS * 8
    assert max(served) < 2
    assert max(seconds for _, seconds in refused) < 2
    assert time.monotonic() - begin < 5
    # a container that is busy is not ill
    assert set(pings) == {200}


@contextmanager
def pinging(running) -> Iterator[list[int]]:
    """Health checks meanwhile, each within two seconds."""
    statuses: list[int] = []
    stop = threading.Event()

    def ping() -> None:
        while not stop.wait(0.05):
            statuses.append(ask(running.port, request("GET", "/ping"), seconds=2).status)

    thread = threading.Thread(target=ping)
    thread.start()
    yield statuses
    stop.set()
    thread.join()
    assert statuses


def test_what_cannot_even_wait_is_refused_at_once(project):
    with stack(project, APP_MODULE="shown:app", WEB_CONCURRENCY="1", NGINX_WORKER_PROCESSES="1") as running:
        found = at_once(running.port, 250, request("GET", "/wait?seconds=0.5"))
    # 32 for each of 4 threads may wait
    at_once_refused = [response for response, seconds in found if response.status == 503 and seconds < 0.4]
    assert len(at_once_refused) >= 250 - 4 * 32 - 4
    for response in at_once_refused:
        assert_problem(response, 503)
        assert response.get("retry-after") == "1"
    assert {response.status for response, _ in found} == {200, 503}


def test_slow_requests_may_wait_longer(running):
    """Where requests take seconds, twelve for eight threads are no overload."""
    at_once(running.port, THREADS, request("GET", "/wait?seconds=1.2"))
    found = at_once(running.port, 12, request("GET", "/wait?seconds=1.2"))
    assert {response.status for response, _ in found} == {200}


def test_a_killed_nginx_worker_takes_its_count_along(project):
    """In a shared zone the requests that it had would count for ever, and the service would shrink with every kill."""
    with stack(project, APP_MODULE="shown:app", NGINX_WORKER_PROCESSES="1", WEB_CONCURRENCY="1") as running:
        for _ in range(3):
            before = workers(running)
            with ThreadPoolExecutor(100) as threads:
                asked = [threads.submit(attempt, running.port) for _ in range(100)]
                wait_for(lambda: connections(running.port) >= 100)
                os.kill(before[0], signal.SIGKILL)
                wait_for(lambda old=before: workers(running) not in ([], old) and running.answers())
                assert [future.result() for future in asked]
        found = at_once(running.port, 100, request("GET", "/seen"))
        assert {response.status for response, _ in found} == {200}


def attempt(port: int) -> bool:
    with suppress(OSError, AssertionError):
        ask(port, request("GET", "/wait?seconds=0.3"))
    return True


def workers(running) -> list[int]:
    return [process["pid"] for process in running.processes() if "nginx: worker" in process["argv"]]


def connections(port: int) -> int:
    suffix = f":{port:04X}"
    with open("/proc/net/tcp") as table:
        return sum(line.split()[1].endswith(suffix) and line.split()[3] == "01" for line in table)
