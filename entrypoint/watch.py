"""Notices an Nginx that runs and answers nothing, which no exit status and no signal would tell."""

from __future__ import annotations

import contextlib
import socket
import time

# longer than Nginx waits for Gunicorn: whatever the application does, Nginx answers within that time
ANSWER_SECONDS = 45
_REQUEST = b"GET /ping HTTP/1.0\r\nHost: localhost\r\nUser-Agent: entrypoint\r\n\r\n"


class Watch:
    """One request at a time, sent and looked after without ever waiting: this runs in supervisord's loop.

    Any answer is a good one. So is no connection: a program that does not run yet is supervisord's business.
    """

    def __init__(self, port: int, seconds: float = ANSWER_SECONDS) -> None:
        self.unanswered = 0
        self._address = ("127.0.0.1", port)
        self._seconds = seconds
        self._connection: socket.socket | None = None
        self._since = 0.0

    def look(self) -> bool:
        """Whether a request has just been found to have no answer; `unanswered` counts those since the last answer."""
        if self._connection is None:
            self._ask()
            return False
        try:
            answer = self._connection.recv(1)
        except BlockingIOError:
            if time.monotonic() - self._since < self._seconds:
                return False
            self._close()
            self.unanswered += 1
            return True
        except OSError:
            self._close()
            return False
        self._close()
        if answer:
            self.unanswered = 0
        return False

    def _ask(self) -> None:
        self._connection = socket.socket()
        self._connection.setblocking(False)
        self._since = time.monotonic()
        # on this machine's own address a connection is there at once, or is refused, or waits for room in the queue of
        # a server that accepts none
        try:
            with contextlib.suppress(BlockingIOError):
                with contextlib.suppress(BlockingIOError):
                    self._connection.connect(self._address)
                self._connection.send(_REQUEST)
        except OSError:
            self._close()

    def _close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None
