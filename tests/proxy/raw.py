"""Bytes over a socket, and HTTP/1.1 responses read strictly: what is left over or does not parse is an error."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Response:
    """One response; header names are in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        """The value of a header that is there at most once."""
        values = [value for header, value in self.headers if header == name.lower()]
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def exchange(
    port: int, data: bytes, *, end: bool = False, first: bool = False, seconds: float = 15, source: str = ""
) -> bytes:
    """Send the bytes, say that no more will come if `end`, and return everything until the server closes.

    A reset counts as a close: a server may close before it has read all. TimeoutError when it does not close. With
    `first`, the first response is enough.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), seconds, (source, 0) if source else None) as connection:
        try:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while not (first and is_whole(received)) and (chunk := connection.recv(65536)):
                received += chunk
        except ConnectionResetError:
            pass
    return received


def is_whole(data: bytes) -> bool:
    try:
        return bool(responses(data))
    except AssertionError:
        return False


def responses(data: bytes, head: bool = False) -> list[Response]:
    """The responses that these bytes are, one after the other; `head` if they answer HEAD."""
    found = []
    while data:
        lines, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"no header: {lines[:200]!r}"
        status, *fields = lines.decode("latin-1").split("\r\n")
        assert status.startswith("HTTP/1.1 "), status
        headers = [(name.lower(), value.strip()) for name, value in (field.split(":", 1) for field in fields)]
        response = Response(int(status[9:12]), headers, b"")
        length = response.get("content-length")
        if head or response.status < 200 or response.status in (204, 304):
            size = 0
        elif length is not None:
            assert response.get("transfer-encoding") is None
            size = int(length)
        else:
            raise AssertionError(f"no length: {lines[:300]!r}")
        assert len(data) >= size, f"cut short: {data!r}"
        found.append(Response(response.status, headers, data[:size]))
        data = data[size:]
    return found


def ask(port: int, data: bytes, **options: Any) -> Response:
    """The only response to these bytes."""
    answered = responses(exchange(port, data, **options), head=data.startswith(b"HEAD "))
    assert len(answered) == 1, answered
    return answered[0]


def request(method: str, target: str, *headers: str, body: bytes = b"", host: str | None = "localhost") -> bytes:
    """A request that ends its connection."""
    fields = [f"{method} {target} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *headers]
    if body:
        fields.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*fields, "Connection: close", "", ""]).encode("latin-1") + body


def connections(port: int) -> int:
    """How many connections to this port the kernel knows to be open, from the server's side."""
    suffix = f":{port:04X}"
    with open("/proc/net/tcp") as table:
        return sum(line.split()[1].endswith(suffix) and line.split()[3] == "01" for line in table)


def assert_problem(response: Response, status: int) -> dict[str, Any]:
    """It is a problem document (RFC 9457) with the id that the header has; returns it."""
    assert response.status == status, response
    assert response.get("content-type") == "application/problem+json"
    assert response.body.endswith(b"}\n")
    document = response.json
    assert set(document) == {"type", "title", "status", "detail", "request_id"}
    assert document["status"] == status
    assert document["title"] not in ("", "Error")
    assert document["detail"]
    assert len(document["request_id"]) == 32
    assert document["request_id"] == response.get("x-request-id")
    assert response.get("cache-control") == "no-store"
    return dict(document)
