"""When a thread that serves requests lets others have the interpreter and the CPU."""

from __future__ import annotations

import ctypes
import os
import struct
import time

# how long a turn is, and how long while requests are quick, in seconds
TURN, LONG_TURN = 0.002, 0.004
# CPU time of a request that outlasts a turn because it waits, for DynamoDB or the like: from WAITED to TURN.
# One that needs less has more often waited for its turn
WAITED = 0.0005
# CPU time that a quick request takes at most, on average of a turn; how many of them in a row make turns long
QUICK, STREAK = 0.001, 50
# the time slice that goes with long turns, in nanoseconds
SLICE = 40_000_000

_POSSIBLE = hasattr(_libc := ctypes.CDLL(None), "sched_setattr")
# struct sched_attr of sched_setattr(2): size, policy, flags, nice, priority, runtime (of these policies: the slice), …
_ATTRIBUTES = struct.Struct("IIQiIQQQ")


class Turns:
    """The turns of one thread, after each of which it calls sched_yield, unless it was one request that waited.

    Python's interpreter lock has no queue. A thread that a connection has woken needs it; another lets go of it at each
    system call, and has it back before that one is awake: newer connections would be served first, for 0.2 s and more.
    While a request waits for something else, others have their turns anyway.

    With Linux's own time slices, 1 to 3 ms, a thread that has yielded is soon the first again, and processes follow one
    another so fast that each finds the CPU's caches full of the others' memory. While requests are quick, longer
    slices let everybody else come first, and yielding bounds how long others wait. A request that computes must not
    have them: all others, and Nginx, would wait that long for it each time.
    """

    def __init__(self) -> None:
        self._began, self._length, self._requests = time.monotonic(), TURN, 0
        self._cpu, self._quick, self._may_be_long = time.thread_time(), 0, _POSSIBLE

    def request_ended(self) -> None:
        self._requests += 1
        if time.monotonic() - self._began > self._length:
            # not after each request: Linux ends a slice that is over whenever it is asked for this time
            cpu, before = time.thread_time(), self._cpu
            self._cpu = cpu
            self._choose_length(cpu - before)
            if not (self._requests == 1 and WAITED < cpu - before < TURN):
                os.sched_yield()
            self._began, self._requests = time.monotonic(), 0

    def _choose_length(self, cpu: float) -> None:
        self._quick = self._quick + self._requests if cpu < self._requests * QUICK else 0
        long = self._quick >= STREAK
        if self._may_be_long and long != (self._length == LONG_TURN):
            self._may_be_long = set_slice(SLICE if long else 0)
            self._length = LONG_TURN if self._may_be_long and long else TURN


def set_slice(nanoseconds: int) -> bool:
    """Ask for time slices of this length for the calling thread, 0 for the usual ones; False if that has no effect.

    Linux has this since 6.12, for SCHED_OTHER and SCHED_BATCH; before, it takes no notice. A sandbox may refuse it.
    """
    try:
        policy, nice = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    except OSError:
        return False
    asked = _ATTRIBUTES.pack(_ATTRIBUTES.size, policy, 0, nice, 0, nanoseconds, 0, 0)
    found = ctypes.create_string_buffer(_ATTRIBUTES.size)
    if _libc.sched_setattr(0, asked, 0) or _libc.sched_getattr(0, found, _ATTRIBUTES.size, 0):
        return False
    return nanoseconds in (0, _ATTRIBUTES.unpack(found.raw)[5])
