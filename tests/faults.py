"""Servers that misbehave on request: one that publishes keys, and one between the application and DynamoDB."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FAULT_SECONDS = 30

Fault = Callable[["_Handler"], None]


class FaultyServer:
    """An HTTP server on a free port that does what `fault` says, or first what `faults` say, one a request.

    `requests` lists what has arrived: the operation of an AWS call, otherwise the path. `goes_down()` refuses
    connections until `comes_up()`. Use it as a context manager.
    """

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.faults: deque[Fault | None] = deque()
        self.requests: list[str] = []
        self.released = threading.Event()
        self.port = 0
        self.comes_up()

    def answer(self, handler: _Handler) -> None:
        """What it does without a fault."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def comes_up(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.owner = self
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def goes_down(self, connections: bool = True) -> None:
        """Take no connections any more, and end those that are there unless told otherwise."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections) if connections else []:
            _end(connection)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.goes_down()


class FaultyDynamo(FaultyServer):
    """Passes requests on to the DynamoDB at `target`."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        super().__init__()

    def answer(self, handler: _Handler) -> None:
        handler.send(*self.forward(handler))

    def forward(self, handler: _Handler) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection(str(self.target.hostname), self.target.port, timeout=FAULT_SECONDS)
        try:
            connection.request("POST", "/", handler.body, dict(handler.headers))
            answer = connection.getresponse()
            return answer.status, answer.read(), {"Content-Type": answer.headers["Content-Type"]}
        finally:
            connection.close()


class KeyServer(FaultyServer):
    """Answers with `document`, a JSON Web Key Set."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.document: Any = {"keys": list(keys)}
        super().__init__()

    def answer(self, handler: _Handler) -> None:
        handler.send(200, json.dumps(self.document).encode(), {"Content-Type": "application/json"})


def error(code: str, status: int = 400, message: str = "SECRET cause") -> Fault:
    """DynamoDB's answer with this error code."""

    def fault(handler: _Handler) -> None:
        document = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}
        handler.send(status, json.dumps(document).encode(), {"Content-Type": "application/x-amz-json-1.0"})

    return fault


def body(content: bytes, status: int = 200, **headers: str) -> Fault:
    """Any answer."""
    return lambda handler: handler.send(status, content, headers)


def slow(handler: _Handler) -> None:
    """No answer for half a minute."""
    handler.owner.released.wait(FAULT_SECONDS)
    handler.close_connection = True


def broken(handler: _Handler) -> None:
    """The request arrives and nothing comes of it but the end of the connection."""
    _end(handler.connection)
    handler.close_connection = True


def answer_lost(handler: _Handler) -> None:
    """The request is carried out, and the connection ends before the answer."""
    handler.owner.forward(handler)
    broken(handler)


def answer_cut(handler: _Handler) -> None:
    """The request is carried out, and the connection ends in the middle of the answer."""
    _, content, headers = handler.owner.forward(handler)
    handler.close_connection = True
    handler.send(200, content[:1], headers, len(content))


def answer_late(handler: _Handler) -> None:
    """The request is carried out, and no answer comes."""
    handler.owner.forward(handler)
    slow(handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def handle_error(self, *_: Any) -> None:
        """A client that has gone away is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    body = b""

    @property
    def owner(self) -> Any:
        return self.server.owner

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.owner.requests.append((self.headers.get("X-Amz-Target") or self.path).split(".")[-1])
        fault = self.owner.faults.popleft() if self.owner.faults else self.owner.fault
        (fault or self.owner.answer)(self)

    do_GET = do_PUT = do_POST

    def send(self, status: int, content: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
