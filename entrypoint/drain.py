"""The time between the signal to stop and the stop, in which load balancers let go of this container."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from . import logs

_ESTABLISHED = "01"


class Drain:
    """From the first call of `done` on, /ping answers 503 and everything else is served as before.

    A balancer learns of a stop from its health check, or from ECS at the same time as the container does. Until then it
    sends requests, also on connections that are open already; Nginx would close those at once, and some request with
    them. So the stop waits until no client has a connection open any more, at most `seconds`.
    """

    def __init__(self, port: int, run_dir: str, seconds: float) -> None:
        self._port = port
        self._sign = Path(run_dir) / "stopping"
        self._seconds = seconds
        self._deadline: float | None = None

    def done(self) -> bool:
        connections = client_connections(self._port)
        if self._deadline is None:
            self._deadline = time.monotonic() + self._seconds
            # nginx.conf looks for it; a full /dev/shm still takes an empty file
            with contextlib.suppress(OSError):
                self._sign.touch()
            if connections and self._seconds:
                logs.write(
                    "info",
                    "entrypoint",
                    f"before Nginx stops, up to {self._seconds:g} s for clients to close {connections} connections",
                )
        return not connections or time.monotonic() >= self._deadline


def client_connections(port: int, proc: Path = Path("/proc/net")) -> int:
    """How many TCP connections to this port are open."""
    suffix = f":{port:04X}"
    count = 0
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            lines = [line.split() for line in (proc / name).read_text().splitlines()[1:]]
            count += sum(fields[1].endswith(suffix) and fields[3] == _ESTABLISHED for fields in lines)
    return count
