"""Clients that send a header or a body, or read an answer, one byte at a time; all from one thread."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterator

# between two bytes of a connection
PAUSE_SECONDS = 1.0
ROUNDS_A_SECOND = 20


class SlowClients(threading.Thread):
    """Keeps `count` slow connections to port 80 of `address`; a connection that the server ends is replaced.

    `kind` is "header", "body" or "read"; the last reads the answer of `path`, which has to be long.
    """

    def __init__(self, address: str, kind: str, count: int, path: str) -> None:
        super().__init__(daemon=True)
        self.address, self.kind, self.count = address, kind, count
        head = f"GET {path} HTTP/1.1\r\nHost: slow\r\n"
        if kind == "body":
            head = "PUT /item HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
        self.begin = (head + ("\r\n" if kind == "read" else "")).encode()
        self.open: list[socket.socket | None] = [None] * count
        self.ended = threading.Event()
        self.replaced = 0

    def run(self) -> None:
        step = max(1, int(self.count / (PAUSE_SECONDS * ROUNDS_A_SECOND)))
        position = 0
        while not self.ended.wait(1 / ROUNDS_A_SECOND):
            for index in range(position, position + step):
                self.move(index % self.count)
            position = (position + step) % self.count
        for client in self.open:
            if client:
                client.close()

    def move(self, index: int) -> None:
        """The next byte of one connection, which is opened if it is not there."""
        client = self.open[index]
        if client is None:
            self.open[index] = self.connect()
            return
        try:
            alive = bool(client.recv(1)) if self.kind == "read" else client.send(b"x") == 1
        except BlockingIOError:
            return
        except OSError as error:
            alive = error.errno == errno.ENOTCONN
        if not alive:
            client.close()
            self.replaced += 1
            self.open[index] = self.connect()

    def connect(self) -> socket.socket | None:
        client = socket.socket()
        client.settimeout(0.02)
        if self.kind == "read":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        try:
            client.connect((self.address, 80))
            client.send(self.begin)
            client.setblocking(False)
            return client
        except OSError:
            client.close()
            return None


@contextlib.contextmanager
def attack(address: str, kind: str, count: int, path: str, warm_up: float) -> Iterator[SlowClients]:
    """The slow clients while the block runs, from the moment that all of them have begun, or `warm_up` seconds."""
    clients = SlowClients(address, kind, count, path)
    clients.start()
    deadline = time.monotonic() + warm_up
    while None in clients.open and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        yield clients
    finally:
        clients.ended.set()
        clients.join(10)
