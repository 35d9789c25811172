"""The requests that a Gunicorn worker is busy with: which were begun too late, and which never end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from .request_logs import current

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Queue:
    """Tells which requests have waited too long for a thread to be begun.

    Without a limit, a queue of slow requests is worked through for clients of whom most have given up, and nobody gets
    an answer in time. Where more arrives than can be done, a longer queue serves no more requests, only later ones.
    """

    LEAST, MOST = 2, 5  # seconds

    def __init__(self) -> None:
        self.usual = 1.0
        self._began, self._thread = time.time(), threading.local()

    def ended(self, seconds: float | None) -> None:
        """The thread's request has ended, which took so long if it was carried out."""
        self._thread.free_since = time.time()
        if seconds is not None:
            self.usual += (seconds - self.usual) / 4

    def too_late(self, environ: Environ) -> bool:
        # a container that is busy is not ill
        if environ["PATH_INFO"] == "/ping":
            return False
        try:
            sent = float(environ["HTTP_X_REQUEST_START"].removeprefix("t="))
        except (KeyError, ValueError):
            return False
        # until this thread was free: whatever came between that and now, such as a pause of the machine, is no queue
        # the clock may have been put back since then
        waited = min(getattr(self._thread, "free_since", self._began), time.time()) - sent
        return waited > self.LEAST and waited > min(2 * self.usual, self.MOST)


class InProgress:
    """The requests of one worker, by thread."""

    def __init__(self, worker: Any) -> None:
        self._worker, self._queue = worker, Queue()
        self._begun: dict[int, float] = {}
        worker.wsgi = self._wrap(worker.wsgi)
        threading.Thread(target=self._end_if_stuck, daemon=True, name="stuck requests").start()

    def _wrap(self, application: Application) -> Application:
        """A WSGI application that knows the client's address, and whose requests are in the log and in here."""

        def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            # a unix socket has no address; Nginx has set this header to one, whatever the client sent
            environ["REMOTE_ADDR"] = environ["HTTP_X_REAL_IP"] = environ.get("HTTP_X_FORWARDED_FOR", "")
            current.id = environ.get("HTTP_X_REQUEST_ID")
            if self._queue.too_late(environ):
                start_response("503 Service Unavailable", [("X-Accel-Redirect", "/__gunicorn/503")])
                return []
            self._begun[threading.get_ident()] = time.monotonic()
            return application(environ, start_response)

        return wrapped

    def end(self) -> None:
        """The thread is busy with no request now, unless it still has to log that the application failed."""
        if sys.exc_info()[0] is None:
            current.id = None
        begun = self._begun.pop(threading.get_ident(), None)
        self._queue.ended(begun and time.monotonic() - begun)

    def _end_if_stuck(self) -> None:
        """End the worker if nobody waits for one of its requests any more: Gunicorn watches only its main thread."""
        cfg = self._worker.cfg
        while cfg.timeout:
            time.sleep(1)
            for thread, begun in list(self._begun.items()):
                if time.monotonic() - begun > cfg.timeout:
                    frame = sys._current_frames().get(thread)
                    stack = "".join(traceback.format_stack(frame)) if frame else "unknown"
                    message = "a request has run for more than %s s; this worker ends. %s"
                    self._worker.log.error(message, cfg.timeout, stack)
                    os.kill(os.getpid(), signal.SIGTERM)
                    self._wait_for_others(cfg.timeout, time.monotonic() + cfg.graceful_timeout)
                    os._exit(1)

    def _wait_for_others(self, timeout: float, deadline: float) -> None:
        """Until no request is left that may still end in time: until then nobody takes this worker's place."""
        # every thread notices within half a second that it is to take no other
        time.sleep(1)
        while time.monotonic() < deadline:
            if all(time.monotonic() - begun > timeout for begun in list(self._begun.values())):
                return
            time.sleep(0.1)
