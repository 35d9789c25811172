"""What Gunicorn hands to Nginx: an answer in one piece, and the address of Nginx's error page instead of its own."""

from __future__ import annotations

import socket
from typing import Any

from gunicorn import util
from gunicorn.http import wsgi

from .request_logs import current


def install() -> None:
    """Have Gunicorn answer in these ways."""
    util.write_error = by_nginx
    # not with a Gunicorn that writes in another way, which an application may have pinned
    if hasattr(wsgi.Response, "_emit_body"):
        wsgi.Response = Response


class Response(wsgi.Response):
    """Writes the headers and the body's first piece at once.

    A worker that is killed between the two leaves Nginx with an answer that has begun: its client gets half of it
    instead of a 502. It is also one thing less to do for both.
    """

    headers_sent: bool
    held = b""

    def default_headers(self) -> list[str]:
        """Without Date and Server, which Nginx would replace by its own."""
        coding = "Transfer-Encoding: chunked\r\n" if self.chunked else ""
        return [f"HTTP/1.1 {self.status}\r\nConnection: close\r\n{coding}"]

    def send_headers(self) -> None:
        if not self.headers_sent:
            lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
            self.held = util.to_bytestring("".join(lines), "latin-1")
            self.headers_sent = True

    def release(self) -> None:
        held, self.held = self.held, b""
        if held:
            util.write(self.sock, held)

    def _emit_body(self, data: bytes) -> None:
        if self.chunked:
            self.release()
        held, self.held = self.held, b""
        util.write(self.sock, held + data, self.chunked)

    def sendfile(self, respiter: Any) -> bool:
        if util.has_fileno(respiter.filelike):
            self.send_headers()
            self.release()
        return bool(super().sendfile(respiter))

    def close(self) -> None:
        self.send_headers()
        self.release()
        super().close()


def by_nginx(connection: socket.socket, status: int, reason: str, message: str) -> None:
    """Answer a request that Gunicorn cannot read, or whose application failed, with a document that Nginx makes."""
    current.id = None
    status = status if status in (400, 431, 500) else 400
    head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nX-Accel-Redirect: /__gunicorn/{status}\r\n"
    util.write_nonblock(connection, f"{head}Content-Length: 0\r\n\r\n".encode())
