"""More than the workers can do: some are served as ever, the others hear so soon, and health checks go on.

No test looks at a clock: the application holds requests behind a gate, and counts those that it has begun with.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.proxy.raw import Response, ask, assert_problem, connections, request
from tests.proxy.upstreams import nginx_alone
from tests.running import stack, wait_for

THREADS = 16  # 2 workers of 8
SMALL = {"WEB_CONCURRENCY": "1", "NGINX_WORKER_PROCESSES": "1"}
# of the small one: 16 for each of 8 threads
MAY_WAIT = 128


@pytest.fixture(scope="module")
def running(project):
    with stack(project, APP_MODULE="shown:app", NGINX_WORKER_PROCESSES="2") as running:
        yield running


@pytest.fixture(scope="module")
def small(project):
    with stack(project, APP_MODULE="shown:app", **SMALL) as running:
        yield running


@contextmanager
def asking(port: int, count: int, data: bytes) -> Iterator[list[Future[Response]]]:
    """The same request on so many connections, while the block goes on."""
    with ThreadPoolExecutor(count) as threads:
        yield [threads.submit(ask, port, data, seconds=40) for _ in range(count)]


def at_once(port: int, count: int, data: bytes) -> list[Response]:
    """The responses to so many."""
    with asking(port, count, data) as asked:
        return [future.result() for future in asked]


def answered(asked: list[Future[Response]]) -> list[Response]:
    return [future.result() for future in asked if future.done()]


def statuses(responses: list[Response]) -> set[int]:
    return {response.status for response in responses}


def assert_refused(response: Response) -> None:
    document = assert_problem(response, 503)
    assert "not carried out" in document["detail"]
    assert response.get("retry-after") == "1"


def test_nginx_comes_before_gunicorn(running):
    """Or else it gets too little of a busy CPU to refuse what is too much, and that waits where nobody sees it."""
    priorities = {
        program: {
            os.getpriority(os.PRIO_PROCESS, process["pid"])
            for process in running.processes()
            if program in process["argv"]
        }
        for program in ("gunicorn", "nginx")
    }
    (first,), (second,) = priorities["nginx"], priorities["gunicorn"]
    assert second == first + 10


def test_no_request_waits_while_a_thread_is_idle(running, new_gate):
    """As many as there are threads are all begun with, after a burst of quick ones as well."""
    for _ in range(3):
        at_once(running.port, 64, request("GET", "/seen"))
        gate = new_gate()
        with asking(running.port, THREADS, request("GET", gate.target)) as asked:
            wait_for(lambda gate=gate: gate.begun() == THREADS)
            gate.open()
            assert statuses([future.result() for future in asked]) == {200}


def test_what_has_waited_too_long_is_refused_and_never_begun(running, new_gate):
    gate = new_gate()
    with pinging(running) as pings:
        found = at_once(running.port, 300, request("PUT", gate.wait(0.25), body=b"x"))
    served = [response for response in found if response.status == 200]
    refused = [response for response in found if response.status != 200]
    for response in refused:
        assert_refused(response)
    # all of them would take the threads five seconds; more than a few seconds' worth does not wait
    assert THREADS <= len(served) <= 220
    assert gate.begun() == len(served)
    # a container that is busy is not ill
    assert set(pings) == {200}


@contextmanager
def pinging(running) -> Iterator[list[int]]:
    """Health checks meanwhile, one after the other."""
    found: list[int] = []
    stop = threading.Event()

    def ping() -> None:
        while not stop.wait(0.05):
            found.append(ask(running.port, request("GET", "/ping")).status)

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
    assert found


def test_a_refusal_makes_its_access_line_and_no_other(project, new_gate):
    """Another one would cost a third of a refusal, when there is more to do than can be done."""
    with stack(project, APP_MODULE="shown:app", **SMALL) as small:
        before = small.stderr.read_text()
        fill(small, new_gate())
        wait_for(lambda: [line.get("status") for line in small.log()].count(503) == 72)
        assert small.stderr.read_text() == before


def fill(running, gate) -> None:
    """Of more than may wait, the excess is refused before anything else is answered; health checks have room."""
    with (
        asking(running.port, MAY_WAIT + 72, request("PUT", gate.target, body=b"x")) as asked,
        ThreadPoolExecutor() as one,
    ):
        try:
            wait_for(lambda: len(answered(asked)) >= 72, what="the excess is answered")
            assert len(answered(asked)) == 72
            for response in answered(asked):
                assert_refused(response)
            wait_for(lambda: gate.begun() == THREADS // 2)
            ping = one.submit(ask, running.port, request("GET", "/ping"))
            wait_for(lambda: with_gunicorn(running) == MAY_WAIT + 1 or ping.done())
        finally:
            gate.open()
        assert ping.result().status == 200
    assert statuses(answered(asked)) == {200, 503}
    assert gate.begun() == [response.status for response in answered(asked)].count(200)


def test_what_cannot_even_wait_is_refused_at_once(small, new_gate):
    fill(small, new_gate())


def test_there_are_only_so_many_health_checks():
    gate = threading.Event()
    one_thread = SMALL | {"GUNICORN_CMD_ARGS": "--threads 1"}
    with nginx_alone(lambda *_: gate.wait(), **one_thread) as nginx:
        with asking(nginx.port, MAY_WAIT // 8, request("GET", "/ping")) as asked:
            try:
                wait_for(lambda: len(nginx.recorder.requests) == MAY_WAIT // 8)
                assert_refused(ask(nginx.port, request("GET", "/ping")))
            finally:
                gate.set()
        assert statuses(answered(asked)) == {200}


def test_a_request_counts_until_it_is_answered_although_its_client_has_gone(small, new_gate):
    """The application goes on with it: whoever sends and leaves could put any number into the queue."""
    gate, before = new_gate(), connections(small.port)
    data = request("PUT", gate.target, body=b"x")
    gone = [socket.create_connection(("127.0.0.1", small.port), 15) for _ in range(MAY_WAIT)]
    for connection in gone:
        connection.sendall(data)
    wait_for(lambda: with_gunicorn(small) == MAY_WAIT)
    for connection in gone:
        connection.close()
    wait_for(lambda: connections(small.port) <= before)
    assert_refused(ask(small.port, data))
    gate.open()
    wait_for(lambda: with_gunicorn(small) == 0)


def with_gunicorn(running) -> int:
    """How many connections to its socket there are, with those that wait in the kernel."""
    table = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {running.run_dir}/run/gunicorn.sock") for line in table) - 1


def test_a_killed_nginx_worker_takes_its_count_along(small, new_gate):
    """In a shared zone the requests that it had would count for ever, and the service would shrink with every kill."""
    for _ in range(2):
        gate = new_gate()
        before = workers(small)
        with ThreadPoolExecutor(100) as threads:
            for _ in range(100):
                threads.submit(attempt, small.port, gate.target)
            wait_for(lambda: connections(small.port) >= 100)
            wait_for(lambda gate=gate: gate.begun() == THREADS // 2)
            os.kill(before[0], signal.SIGKILL)
            gate.open()
        wait_for(lambda old=before: workers(small) not in ([], old) and small.answers())
    fill(small, new_gate())


def attempt(port: int, target: str) -> None:
    with suppress(OSError, AssertionError):
        ask(port, request("GET", target))


def workers(running) -> list[int]:
    return [process["pid"] for process in running.processes() if "nginx: worker" in process["argv"]]


def test_slow_requests_may_wait_longer(running, new_gate):
    """Where requests take seconds, half as many again as there are threads are no overload."""
    gate = new_gate()
    at_once(running.port, THREADS, request("GET", gate.wait(2.2)))
    assert statuses(at_once(running.port, THREADS * 3 // 2, request("GET", gate.wait(2.2)))) == {200}
