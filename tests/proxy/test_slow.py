"""Slow clients, a short version of bench/attack.py: the others notice nothing, and memory is bounded."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.attack import CONTROL, listens, measure, memory
from tests.proxy.raw import connections, request, responses
from tests.proxy.upstreams import nginx_alone
from tests.running import ROOT, free_port, stack, wait_for

CONNECTIONS = 400
BIG = 1_500_000
# 262 kB: more than this machine's kernel takes off Nginx's hands
LARGE = {"title": "large", "content": "\U0001f600" * 65_536}


@pytest.fixture(scope="module")
def target():
    """The service, and the paths of a small item and of the largest that there can be."""
    with stack() as running:
        small = running.api("PUT", "/item", {"title": "small", "content": "x" * 500}).headers["Location"]
        large = running.api("PUT", "/item", LARGE).headers["Location"]
        yield running, small, large


@contextlib.contextmanager
def attacked(mode: str, port: int, count: int, path: str) -> Iterator[None]:
    """While that many connections of the kind are open."""
    command = [sys.executable, "-m", "bench.attack_connections", mode, str(port), str(count), "60"]
    options = ["--interval", "1", "--path", path]
    attackers = subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: connections(port) >= count, 30, f"{count} connections are open")
        yield
    finally:
        attackers.kill()
        attackers.wait()


def good(port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "bench.attack_good", *options, str(port)]


@pytest.mark.parametrize("mode", ["header", "body", "read"])
def test_nobody_else_notices(target, mode):
    running, small, large = target
    pid = running.process.pid
    before = memory(pid)
    with attacked(mode, running.port, CONNECTIONS, large):
        phase = measure(pid, good(running.port, "--path", small, "--timeout", "30"), 2)
        # those that Nginx has closed are opened again
        assert connections(running.port) >= CONNECTIONS * 0.9
    # bench/attack.py looks at how long they took, with and without the attack
    assert phase.failures == {}
    assert phase.requests >= 20
    # KiB of Nginx a connection; Gunicorn has no more of them at once than threads
    assert (phase.memory["Nginx"] - before["Nginx"]) * 1024 / CONNECTIONS < 64
    assert phase.memory["Gunicorn"] - before["Gunicorn"] < 60


@pytest.mark.parametrize("mode", ["header", "body", "read"])
def test_bare_gunicorn_falls(mode, tmp_path):
    """The control: a fortieth of the attack, without Nginx."""
    port = free_port()
    (tmp_path / "plain.py").write_text(CONTROL)
    gunicorn = [str(Path(sys.executable).parent / "gunicorn"), "--bind", f"127.0.0.1:{port}", "plain:app"]
    server = subprocess.Popen(gunicorn, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listens(port), 20)
        with attacked(mode, port, CONNECTIONS // 40, "/item"):
            only_ping = good(port, "--reads-only", "--path", "/ping", "--rate", "10", "--timeout", "1")
            phase = measure(server.pid, only_ping, 1)
        assert phase.latencies == {}
        assert phase.failures["TimeoutError"] >= 5
    finally:
        server.kill()
        server.wait()


def test_a_reader_that_stops_is_let_go(changed_project):
    """With what the kernel still has for it."""
    project = changed_project("nginx/time-limits.conf", "send_timeout", "1s")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (4 * BIG, b"x" * 4 * BIG)
    with (
        nginx_alone(lambda connection, _: connection.sendall(answer), project=project) as nginx,
        socket.socket() as reader,
    ):
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        reader.settimeout(15)
        reader.connect(("127.0.0.1", nginx.port))
        reader.sendall(request("GET", "/t"))
        wait_for(lambda: "/t" in [line["path"] for line in nginx.access_lines()])
        with pytest.raises(ConnectionResetError):
            while reader.recv(65536):
                pass


def test_an_answer_is_not_bound_to_its_reader(shown):
    """Gunicorn has handed over large answers long before their clients have read them: as many as it has threads."""
    with contextlib.ExitStack() as closing:
        readers = [closing.enter_context(socket.socket()) for _ in range(16)]
        for reader in readers:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            reader.settimeout(15)
            reader.connect(("127.0.0.1", shown.port))
            # more than the kernel keeps between Gunicorn and the client
            reader.sendall(request("GET", f"/big?bytes={BIG}"))
        heads = [reader.recv(500) for reader in readers]
        assert all(shown.answers() for _ in range(16))
        with ThreadPoolExecutor(len(readers)) as threads:
            assert all(threads.map(is_complete, readers, heads))


def is_complete(reader: socket.socket, received: bytes) -> bool:
    """Read the rest of an answer."""
    while chunk := reader.recv(65536):
        received += chunk
    return len(responses(received)[0].body) == BIG
