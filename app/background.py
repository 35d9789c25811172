"""Work that must not hold up a request or a start: done in a thread, anew in every process."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

log = logging.getLogger(__name__)

# how long a new process is left alone, in seconds: what is done in the background delays its first answer
HEAD_START = 0.5


class BackgroundJob:
    """Does `work` in a thread of this process: one at a time, and at most one in `interval` seconds.

    A process that is forked later does it by itself, after HEAD_START or when something waits for it; others at the
    first `start`. Nothing is started where the job is made, since Gunicorn loads the application in the process that it
    forks from: threads do not survive a fork, and one that imports a module at that moment leaves the child a lock that
    nobody releases.
    """

    def __init__(self, work: Callable[[], None], interval: float) -> None:
        self._work = work
        self._interval = interval
        self._reset()
        _jobs.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._started = self._not_before = 0.0
        self._done, self._wanted = threading.Event(), threading.Event()
        self.running = self.began = self.ended = False

    def begin(self) -> None:
        """Start, unless this process has before."""
        if not self.began:
            self.start()

    def start(self, pause: float = 0.0) -> bool:
        """Whether this call has started the work; not while it is done, nor too soon after the last time.

        It begins after the pause, or when something waits for it.
        """
        with self._lock:
            if self.running or time.monotonic() < self._not_before:
                return False
            self.running = self.began = True
            self._started = time.monotonic()
            self._not_before = self._started + self._interval
            self._done = threading.Event()
        try:
            threading.Thread(target=self._run, args=[pause], daemon=True).start()
        except RuntimeError:
            log.exception("no thread could be started")
            self._finish()
        return True

    def wait(self, seconds: float) -> None:
        """Wait until the work that was started last is done, for so long at most."""
        self._wanted.set()
        self._done.wait(seconds)

    def seconds_since_start(self) -> float:
        """How long ago the work was started last."""
        return time.monotonic() - self._started

    def seconds_until_next(self) -> float:
        """How long `start` will do nothing."""
        return max(0.0, self._not_before - time.monotonic())

    def _run(self, pause: float) -> None:
        try:
            self._wanted.wait(pause)
            self._work()
        except Exception:
            log.exception("unexpected error in the background")
        finally:
            self._finish()

    def _finish(self) -> None:
        self.running = False
        self.ended = True
        self._done.set()

    def _after_fork(self) -> None:
        self._reset()
        self.start(HEAD_START)


_jobs: weakref.WeakSet[BackgroundJob] = weakref.WeakSet()


def _after_fork() -> None:
    for job in list(_jobs):
        job._after_fork()


# Windows has no fork
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
