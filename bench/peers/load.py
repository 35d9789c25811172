"""Load on a container: as fast as it answers (wrk), or at a fixed rate whatever it answers."""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import select
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

from . import containers
from .containers import Container

# Servers that close every connection leave its port in TIME_WAIT. By default wrk would have no more after 14,000, half of
# what there is, and would then look 6 ms for each: a server that waits seems to cost three times as much a request.
SYSCTLS = ("net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_tw_reuse=1")
# how long an answer may take before it counts as none
PATIENCE_SECONDS = 10.0
CONNECTIONS = 4000


@dataclass(frozen=True)
class Request:
    """One HTTP request; a body is JSON, a token goes into Authorization."""

    method: str
    path: str
    body: str = ""
    token: str = ""

    def raw(self, host: str) -> bytes:
        headers = {"Host": host}
        if self.body:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(self.body.encode()))}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n" + self.body).encode()


@dataclass(frozen=True)
class Closed:
    """What a closed loop measured; times are in milliseconds, `failures` are refused or broken requests."""

    requests: int
    rps: float
    p50: float
    p99: float
    failures: int


def start_wrk(options: Sequence[str] = ()) -> Container:
    """A container for closed_loop."""
    containers.build("bench-wrk", Path(__file__).parent, "--target", "wrk")
    sysctls = [word for each in SYSCTLS for word in ("--sysctl", each)]
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return containers.start("bench-wrk", options=[*options, *sysctls, "--ulimit", f"nofile={files}"])


def closed_loop(
    wrk: Container, address: str, request: Request, connections: int, seconds: float, pause_ms: int = 0
) -> Closed:
    """Each connection sends its next request when its last one is answered, or about `pause_ms` later."""
    pause = ["-e", f"PAUSE_MS={pause_ms}", "-e", f"CONNECTIONS={connections}"] if pause_ms else []
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={PATIENCE_SECONDS:.0f}s"]
    arguments = [request.method, request.body, request.token]
    done = subprocess.run(
        [
            "docker",
            "exec",
            *pause,
            wrk.id,
            *command,
            "-s",
            "/load.lua",
            f"http://{address}:80{request.path}",
            "--",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=seconds + 30,
    )
    if done.returncode or not done.stdout.strip().endswith("}"):
        sys.exit(f"wrk: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    answered = found["requests"] - found["refused"]
    return Closed(
        found["requests"],
        answered / found["seconds"],
        found["p50"],
        found["p99"],
        found["refused"] + found["broken"],
    )


@dataclass
class Open:
    """What a fixed rate measured: milliseconds until each answer by status, 0 for no answer.

    A request's time begins when it was due, not when it could be sent.
    """

    seconds: float
    sent: int = 0
    in_time: Counter[int] = field(default_factory=Counter)
    milliseconds: dict[int, list[float]] = field(default_factory=dict)

    def count(self, status: int) -> int:
        return len(self.milliseconds.get(status, []))

    def served(self) -> int:
        return sum(len(times) for status, times in self.milliseconds.items() if 200 <= status < 300)

    def served_rps(self) -> float:
        """Answers with a 2xx a second while the load lasted, but for its first second."""
        return sum(count for status, count in self.in_time.items() if 200 <= status < 300) / (self.seconds - 1)

    def percentile(self, n: int, *statuses: int) -> float:
        times = [time for status in statuses for time in self.milliseconds.get(status, [])]
        return quantiles(times, n=100, method="inclusive")[n - 1] if len(times) > 1 else sum(times)


def open_loop(
    address: str,
    request: Request,
    rate: float,
    seconds: float,
    keep_alive: bool = True,
    patience: float = PATIENCE_SECONDS,
) -> Open:
    """Send `rate` requests a second for `seconds`, over idle connections or new ones, and wait for what is due."""
    gc.disable()
    loop = _OpenLoop(address, request.raw(address), rate, Open(seconds))
    loop.keep_alive, loop.patience = keep_alive, patience
    try:
        return loop.run()
    finally:
        gc.enable()


class _Connection:
    __slots__ = ("data", "due", "socket")

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.due = 0.0


class _OpenLoop:
    keep_alive = True
    patience = PATIENCE_SECONDS

    def __init__(self, address: str, message: bytes, rate: float, result: Open) -> None:
        self.address = (address, 80)
        self.message, self.rate, self.result = message, rate, result
        self.poll = select.epoll()
        self.idle: list[_Connection] = []
        self.busy: dict[int, _Connection] = {}
        self.waiting: deque[tuple[float, int]] = deque()

    def run(self) -> Open:
        self.begun = time.monotonic()
        end = self.begun + self.result.seconds
        while True:
            now = time.monotonic()
            while now < end and self.result.sent < (now - self.begun) * self.rate:
                self.send(self.begun + self.result.sent / self.rate)
            while self.waiting and self.waiting[0][0] < now - self.patience:
                due, number = self.waiting.popleft()
                if number in self.busy and self.busy[number].due == due:
                    self.finish(self.busy[number], 0)
            if now >= end and not self.busy:
                break
            for number, event in self.poll.poll(0.001):
                if connection := self.busy.get(number):
                    self.advance(connection, event)
                else:
                    # the server has closed an idle connection
                    self.forget(number)
        for connection in self.idle:
            connection.socket.close()
        return self.result

    def send(self, due: float) -> None:
        self.result.sent += 1
        if len(self.busy) >= CONNECTIONS:
            self.result.milliseconds.setdefault(0, []).append(0)
            return
        fresh = not self.idle
        connection = self.idle.pop() if self.idle else _Connection()
        connection.due, number = due, connection.socket.fileno()
        self.busy[number] = connection
        self.waiting.append((due, number))
        if fresh:
            connection.socket.connect_ex(self.address)
            self.poll.register(number, select.EPOLLOUT)
        else:
            self.transmit(connection)

    def transmit(self, connection: _Connection) -> None:
        try:
            connection.socket.send(self.message)
        except OSError:
            self.finish(connection, 0)

    def advance(self, connection: _Connection, event: int) -> None:
        if event == select.EPOLLOUT:
            self.poll.modify(connection.socket.fileno(), select.EPOLLIN)
            self.transmit(connection)
            return
        try:
            data = connection.socket.recv(65536)
        except OSError:
            data = b""
        connection.data += data
        head, found, body = connection.data.partition(b"\r\n\r\n")
        if found and len(body) >= _content_length(head):
            self.finish(connection, int(head[9:12]), self.keep_alive and b"onnection: close" not in head)
        elif not data:
            self.finish(connection, 0)

    def finish(self, connection: _Connection, status: int, reuse: bool = False) -> None:
        now, number = time.monotonic(), connection.socket.fileno()
        self.result.milliseconds.setdefault(status, []).append((now - connection.due) * 1000)
        if 1 <= now - self.begun < self.result.seconds:
            self.result.in_time[status] += 1
        del self.busy[number]
        connection.data = b""
        if reuse:
            self.idle.append(connection)
        else:
            connection.socket.close()

    def forget(self, number: int) -> None:
        for connection in self.idle:
            if connection.socket.fileno() == number:
                self.idle.remove(connection)
                connection.socket.close()
                return
        with contextlib.suppress(OSError):
            self.poll.unregister(number)


def _content_length(head: bytes) -> int:
    begin = head.lower().find(b"\r\ncontent-length:")
    return int(head[begin + 17 :].split(b"\r\n", 1)[0]) if begin >= 0 else 0
