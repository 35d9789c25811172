"""supervisord in this process, with the four things it lacks: it starts at once, hears a dead child at once, logs
JSON, and ends with a status that says whether the container failed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import ClassVar

from supervisor import events, loggers
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions, decode_wait_status
from supervisor.process import Subprocess
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from . import logs
from .application import explain
from .drain import Drain
from .watch import Watch

# LOG_LEVEL has Python's name for it
loggers.LevelsByDescription.warning = loggers.LevelsByName.WARN

# lines that follow one another within this time are read together: waking up for each would cost more than the line
TOGETHER_SECONDS = 0.01
# a program that has to be restarted more often than this is not coming back
RESTARTS, WITHIN_SECONDS = 10, 60


def run(configuration: str, drain: Drain, watch: Watch) -> int:
    """Run the programs of a supervisord configuration file until a signal or a failure ends them.

    Returns the exit status: 0 after SIGTERM, SIGINT or SIGQUIT, 1 when a program could not be kept running.
    """
    options = _Options()
    options.realize(["-c", configuration, "-n", "-s"])
    options.first = True
    options.test = False
    supervisor = _Supervisor(options, drain, watch)
    with contextlib.suppress(asyncore.ExitNow):
        supervisor.main()
    if supervisor.failure:
        logs.write("critical", "entrypoint", supervisor.failure)
    return 1 if supervisor.failure else 0


class _Supervisor(Supervisor):
    failure = ""

    def __init__(self, options: ServerOptions, drain: Drain, watch: Watch) -> None:
        super().__init__(options)
        self.drain, self.watch = drain, watch

    def runforever(self) -> None:
        self.outputs: dict[tuple[str, str], logs.ProgramOutput] = {}
        self.restarts: dict[str, deque[float]] = {}
        self.stopped: set[int] = set()
        self.heard = False
        events.subscribe(events.ProcessLogEvent, self.on_output)
        events.subscribe(events.ProcessStateExitedEvent, self.on_exit)
        events.subscribe(events.ProcessStateFatalEvent, self.on_fatal)
        events.subscribe(events.Tick5Event, self.on_tick)
        # the loop would poll for a second before it starts anything
        for group in sorted(self.process_groups.values()):
            group.transition()
        super().runforever()

    def tick(self, now: float | None = None) -> None:
        """Called at the end of every turn of the loop."""
        super().tick(now)
        if self.heard:
            self.heard = False
            time.sleep(TOGETHER_SECONDS)

    def on_output(self, event: events.ProcessLogEvent) -> None:
        self.heard = True
        self.output(event.process, event.channel).feed(event.data)

    def output(self, process: Subprocess, channel: str) -> logs.ProgramOutput:
        name = process.config.name
        level = "info" if channel == "stdout" else "warning"
        return self.outputs.setdefault((name, channel), logs.ProgramOutput(name, level))

    def on_exit(self, event: events.ProcessStateExitedEvent) -> None:
        process = event.process
        error = self.output(process, "stderr")
        error.close()
        # what the dead program leaves behind still holds its sockets: an orphaned Nginx worker the port
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, process.config.stopsignal)
            os.killpg(process.pid, signal.SIGCONT)
        name, status, cause = process.config.name, process.exitstatus, error.cause()
        if status > 0:
            if name == "gunicorn":
                cause = explain(cause, os.environ["APP_MODULE"], Path.cwd())
            self.fail(f"{name} ended with status {status} and cannot go on: {cause}")
        elif self.restarted_too_often(name):
            how = decode_wait_status(self.options.ended)[1]
            often = f"{name} ended {RESTARTS} times within {WITHIN_SECONDS} seconds, the last time {how}"
            self.fail(f"{often}; the last it said: {cause}")

    def restarted_too_often(self, name: str) -> bool:
        recent = self.restarts.setdefault(name, deque(maxlen=RESTARTS))
        recent.append(time.monotonic())
        return len(recent) == RESTARTS and recent[-1] - recent[0] < WITHIN_SECONDS

    def on_fatal(self, event: events.ProcessStateFatalEvent) -> None:
        self.fail(f"{event.process.config.name} could not be started: {event.process.spawnerr}")

    def ordered_stop_groups_phase_1(self) -> None:
        """Called again and again once a stop has begun, before the programs that come first are told to."""
        if self.failure or self.drain.done():
            super().ordered_stop_groups_phase_1()

    def on_tick(self, event: events.Tick5Event) -> None:
        self.kill_stopped()
        if self.watch.look():
            self.kill_hung_nginx()

    def kill_hung_nginx(self) -> None:
        """Once: if the next one hangs as well, that is not the way."""
        if self.watch.unanswered > 1:
            self.fail("nginx takes connections and answers nothing; is standard output read by anybody?")
            return
        logs.write("error", "entrypoint", "nginx takes connections and answers nothing: killed")
        for process in self.all_processes():
            if process.config.name == "nginx" and process.pid:
                os.killpg(process.pid, signal.SIGKILL)

    def kill_stopped(self) -> None:
        """Kill what has been stopped (SIGSTOP) for two ticks: its parent starts it anew, but would wait for ever."""
        now_stopped = stopped_processes({process.pid for process in self.all_processes()})
        for pid in now_stopped & self.stopped:
            logs.write("warning", "entrypoint", f"process {pid} has been stopped by a signal for 5 s: killed")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.stopped = now_stopped

    def all_processes(self) -> list[Subprocess]:
        return [process for group in self.process_groups.values() for process in group.processes.values()]

    def fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        self.options.mood = SupervisorStates.SHUTDOWN


def stopped_processes(groups: set[int]) -> set[int]:
    """The pids in these process groups that a signal has stopped (state T; a debugger's stop is another)."""
    stopped = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # a program's name may be anything, and is cut after 15 bytes
            state, _, group = path.read_text(errors="replace").rsplit(")", 1)[1].split()[:3]
            if state == "T" and int(group) in groups:
                stopped.add(int(path.parent.name))
    return stopped


class _Options(ServerOptions):
    ended: int | None = None

    def waitpid(self) -> tuple[int | None, int | None]:
        """Keeps the status of the child that has ended, of which a process is told no signal."""
        pid, self.ended = super().waitpid()
        return pid, self.ended

    def usage(self, message: str) -> None:
        """What is wrong with supervisord.conf or with the container's limits."""
        logs.write("critical", "entrypoint", f"supervisord cannot start: {message}")
        sys.exit(1)

    def make_logger(self) -> None:
        self.logger = loggers.Logger(self.loglevel, [_JsonHandler()])
        for message in self.parse_criticals + self.parse_warnings:
            self.logger.warn(message)

    def setsignals(self) -> None:
        super().setsignals()
        # poll() goes on after a signal: without a descriptor to wake it, a dead child is noticed a second late
        self.wakeup = _Wakeup()
        signal.set_wakeup_fd(self.wakeup.write_fd, warn_on_full_buffer=False)

    def get_socket_map(self) -> dict[int, object]:
        return {self.wakeup.read_fd: self.wakeup}


class _Wakeup:
    """A pipe that is readable once a signal has arrived, in the shape of a supervisord dispatcher."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        os.read(self.read_fd, 4096)

    def handle_error(self) -> None:
        raise


class _JsonHandler:
    level = loggers.LevelsByName.BLAT
    levels: ClassVar = {
        loggers.LevelsByName.CRIT: "critical",
        loggers.LevelsByName.ERRO: "error",
        loggers.LevelsByName.WARN: "warning",
        loggers.LevelsByName.INFO: "info",
    }

    def emit(self, record: loggers.LogRecord) -> None:
        logs.write(self.levels.get(record.level, "debug"), "supervisord", str(record.msg).strip())

    def close(self) -> None:
        pass
