"""Slow clients, a short version of bench/attack.py: the others notice nothing, and memory is bounded."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.attack import CONTROL, listens, measure, memory
from tests.proxy.raw import connections, request
from tests.running import ROOT, free_port, stack, wait_for

CONNECTIONS = 400
# the whole answer of a reader is more than this machine's kernel takes off Nginx's hands
PATHS = {"header": "/item", "body": "/item", "read": "/item?limit=4"}


@pytest.fixture(scope="module")
def target():
    with stack() as running:
        for number in range(4):
            running.api("PUT", "/item", {"title": f"large {number}", "content": "x" * 60_000})
        small = running.api("PUT", "/item", {"title": "small", "content": "x" * 500}).headers["Location"]
        yield running, small


@contextlib.contextmanager
def attacked(mode: str, port: int, count: int) -> Iterator[None]:
    """While that many connections of the kind are open."""
    command = [sys.executable, "-m", "bench.attack_connections", mode, str(port), str(count), "60"]
    rate = 300 if mode == "read" else 2000
    options = ["--rate", str(rate), "--interval", "1", "--path", PATHS[mode]]
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
    running, small = target
    pid = running.process.pid
    before = memory(pid)
    with attacked(mode, running.port, CONNECTIONS):
        phase = measure("stack", mode, pid, good(running.port, "--path", small, "--timeout", "30"), 2)
        # those that Nginx has closed are opened again
        assert connections(running.port) >= CONNECTIONS * 0.9
    # bench/attack.py looks at how long they took, with and without the attack
    assert phase.failures == {}
    assert len(phase.latencies) >= 20
    # KiB of Nginx a connection; Gunicorn knows nothing of them
    assert (phase.memory["Nginx"] - before["Nginx"]) * 1024 / CONNECTIONS < 64
    assert phase.memory["Gunicorn"] - before["Gunicorn"] < 30


@pytest.mark.parametrize("mode", ["header", "body", "read"])
def test_bare_gunicorn_falls(mode, tmp_path):
    """The control: a fortieth of the attack, without Nginx."""
    port = free_port()
    (tmp_path / "plain.py").write_text(CONTROL)
    gunicorn = [str(Path(sys.executable).parent / "gunicorn"), "--bind", f"127.0.0.1:{port}", "plain:app"]
    server = subprocess.Popen(gunicorn, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listens(port), 20)
        with attacked(mode, port, CONNECTIONS // 40):
            only_ping = good(port, "--reads-only", "--path", "/ping", "--rate", "10", "--timeout", "1")
            phase = measure("bare Gunicorn", mode, server.pid, only_ping, 1)
        assert phase.latencies == []
        assert phase.failures["TimeoutError"] >= 5
    finally:
        server.kill()
        server.wait()


def test_an_answer_is_not_bound_to_its_reader(target):
    """Gunicorn has handed over large answers long before their clients have read them: as many as it has threads."""
    running, _ = target
    for number in range(20):
        running.api("PUT", "/item", {"title": f"page {number}", "content": "y" * 60_000})
    with contextlib.ExitStack() as closing:
        readers = [closing.enter_context(socket.socket()) for _ in range(8)]
        for reader in readers:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            reader.settimeout(15)
            reader.connect(("127.0.0.1", running.port))
            reader.sendall(request("GET", "/item?limit=100"))
        heads = [reader.recv(500) for reader in readers]
        assert all(running.answers() for _ in range(8))
        with ThreadPoolExecutor(len(readers)) as threads:
            assert all(threads.map(is_complete, readers, heads))


def is_complete(reader: socket.socket, head: bytes) -> bool:
    """Read the rest of an answer; it is more than the kernel keeps between Gunicorn and the client."""
    size = int(re.search(rb"Content-Length: (\d+)", head)[1])
    received = len(head.split(b"\r\n\r\n", 1)[1])
    while chunk := reader.recv(65536):
        received += len(chunk)
    return received == size > 1_000_000
