"""Standard error for process 1: it never waits for long, since nobody would look after the programs meanwhile."""

from __future__ import annotations

import io
import os
import select
import time

from . import logs

PATIENCE_SECONDS = 1.0


class PatientStream(io.TextIOBase):
    """Writes whole lines to a descriptor's file, and drops those that nobody reads within PATIENCE_SECONDS.

    How many were dropped is logged as soon as somebody reads again. The file is opened anew, without blocking, so that
    nothing changes for others who have it open; where that is not possible (a socket), writing may wait.
    """

    def __init__(self, descriptor: int) -> None:
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
            self._descriptor = os.open(f"/proc/self/fd/{descriptor}", flags)
        except OSError:
            self._descriptor = descriptor
        self._line = ""
        self._rest = b""
        self._lost = 0
        self._patience = PATIENCE_SECONDS

    def write(self, text: str) -> int:
        self._line += text
        if self._line.endswith("\n"):
            line, self._line = self._line.encode(errors="backslashreplace"), ""
            self._write_line(line)
        return len(text)

    def _write_line(self, line: bytes) -> None:
        # what was begun has to be ended first
        self._rest = self._send(self._rest)
        if self._lost and not self._rest:
            lost, self._lost = self._lost, 0
            logs.write("warning", "entrypoint", f"{lost} lines before this one were dropped: nobody read them")
            # it was dropped as well
            self._lost = lost if self._lost else 0
        rest = line if self._lost or self._rest else self._send(line)
        if rest == line:
            self._lost += 1
        else:
            self._rest = rest

    def _send(self, data: bytes) -> bytes:
        """Returns what could not be written."""
        deadline = time.monotonic() + self._patience
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                wait = deadline - time.monotonic()
                ready = select.poll()
                ready.register(self._descriptor, select.POLLOUT)
                if wait <= 0 or not ready.poll(wait * 1000):
                    self._patience = 0
                    return data
            except OSError:
                # whoever read has gone for good
                return b""
            self._patience = PATIENCE_SECONDS
        return b""
