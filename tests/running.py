"""The container's programs, running: as processes of this machine (Stack) or as a container (Container)."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.api import Answer, Api, http_api

ROOT = Path(__file__).parent.parent
IMAGE = "tinystacks/flask-crud-app:latest"
START_SECONDS = 30


def free_port() -> int:
    """A port below those that the kernel gives to clients: one that polls such a port may be given it as its own."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port


def wait_for(condition: Callable[[], Any], seconds: float = 10, what: str = "") -> Any:
    """Poll until the condition is true and return its value; AssertionError when it does not come true in time."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        threading.Event().wait(pause)
        pause = min(pause * 1.5, 0.1)
    return value


def json_lines(text: str) -> list[dict[str, Any]]:
    """Every line as the JSON object that it has to be."""
    return [json.loads(line) for line in text.splitlines() if line]


class Running:
    """What a Stack and a Container have in common: an address, and a first process."""

    base: str
    # when the start began, and how long it took until the first answer
    begun: float
    start_seconds: float

    @property
    def back_seconds(self) -> float:
        """How long what was killed may take to be back: two seconds, on a machine that starts within one."""
        return max(2, 2 * self.start_seconds)

    @property
    def api(self) -> Api:
        return http_api(self.base)

    def log(self) -> list[dict[str, Any]]:
        """All lines that the programs wrote."""
        raise NotImplementedError

    def messages(self) -> list[str]:
        """What the lines say that are no access lines."""
        return [line["message"] for line in self.log() if "message" in line]

    def answers(self) -> bool:
        try:
            return self.api("GET", "/ping").status == 200
        except OSError:
            return False

    def get(self, path: str, **headers: str) -> Answer:
        return self.api("GET", path, headers=headers)


class Stack(Running):
    """supervisord, Nginx and Gunicorn as processes, with the project's own files, on a free port.

    Starts in `project` (a directory with the container's files); standard output and error are kept in files, unless
    one of them is given as a descriptor.
    """

    def __init__(
        self, project: Path = ROOT, stdout: int | None = None, stderr: int | None = None, **environment: str
    ) -> None:
        self.port = int(port) if (port := environment.get("PORT", "")).isdigit() else free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.run_dir = Path(tempfile.mkdtemp(prefix="t-", dir="/dev/shm"))
        self.stdout, self.stderr = self.run_dir / "stdout", self.run_dir / "stderr"
        variables = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            # whatever this machine has
            "WEB_CONCURRENCY": "2",
            "NGINX_WORKER_PROCESSES": "2",
            "PORT": str(self.port),
            "RUN_DIR": str(self.run_dir / "run"),
        }
        self.begun = time.monotonic()
        with self.stdout.open("wb") as output, self.stderr.open("wb") as error:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "entrypoint"],
                cwd=project,
                env=variables | environment,
                stdin=subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=error if stderr is None else stderr,
                start_new_session=True,
            )

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def wait_ready(self) -> Stack:
        wait_for(lambda: self.answers() or self.process.poll() is not None, START_SECONDS, "the stack answers")
        assert self.process.poll() is None, self.stderr.read_text()
        self.start_seconds = time.monotonic() - self.begun
        return self

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send a signal to the first process and return its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def processes(self) -> list[dict[str, Any]]:
        """Every process below the first: pid, ppid, state, argv."""
        return descendants(self.process.pid)

    def log(self) -> list[dict[str, Any]]:
        texts = (self.stdout.read_text(), self.stderr.read_text())
        # a line that is being written is none yet
        return [line for text in texts for line in json_lines(text[: text.rfind("\n") + 1])]

    def remove(self) -> None:
        if self.process.poll() is None:
            children = self.processes()
            self.process.kill()
            self.process.wait()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child["pid"], signal.SIGKILL)
        shutil.rmtree(self.run_dir, ignore_errors=True)


@contextlib.contextmanager
def stack(project: Path = ROOT, **environment: str) -> Iterator[Stack]:
    """A Stack that answers, removed afterwards."""
    running = Stack(project, **environment)
    try:
        yield running.wait_ready()
    finally:
        running.remove()


def descendants(pid: int) -> list[dict[str, Any]]:
    """All processes below `pid`, from /proc."""
    table = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            # the name in it is cut after 15 bytes, which may be in the middle of a character
            fields = (path / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()
            argv = (path / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
            table[int(path.name)] = {"pid": int(path.name), "state": fields[0], "ppid": int(fields[1]), "argv": argv}
    found, parents = [], {pid}
    while parents:
        children = [process for process in table.values() if process["ppid"] in parents]
        found += children
        parents = {process["pid"] for process in children}
    return found


def docker(*arguments: str, check: bool = True, **options: Any) -> str:
    """Run docker and return what it printed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=600, **options)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


class Container(Running):
    """A container of an image, on a free port of this machine; with network="host" it sees this machine's loopback."""

    def __init__(
        self, *options: str, image: str = IMAGE, host: bool = False, inside: int = 80, **environment: str
    ) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        if host:
            environment["PORT"] = str(self.port)
        network = ["--network", "host"] if host else ["-p", f"127.0.0.1:{self.port}:{inside}"]
        variables = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
        self.begun = time.monotonic()
        self.id = docker("run", "-d", *network, *variables, *options, image)

    def wait_ready(self) -> Container:
        wait_for(lambda: self.answers() or not self.inspect("State.Running"), START_SECONDS, "the container answers")
        self.start_seconds = time.monotonic() - self.begun
        assert self.inspect("State.Running"), self.output()
        return self

    def inspect(self, path: str) -> Any:
        return json.loads(docker("inspect", "-f", "{{json ." + path + "}}", self.id))

    def exec(self, *command: str, check: bool = True) -> str:
        return docker("exec", self.id, *command, check=check)

    def output(self) -> str:
        """What the container wrote to standard output and standard error."""
        done = subprocess.run(["docker", "logs", self.id], capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    def log(self) -> list[dict[str, Any]]:
        return json_lines(self.output())

    def wait_exit(self, seconds: float = START_SECONDS) -> int:
        """The exit status, once it has ended by itself."""
        wait_for(lambda: not self.inspect("State.Running"), seconds, "the container ends")
        return int(self.inspect("State.ExitCode"))

    def stop(self) -> int:
        docker("stop", "-t", "30", self.id)
        return int(self.inspect("State.ExitCode"))

    def processes(self) -> list[dict[str, Any]]:
        """Every process below the container's first one, as this machine sees it."""
        return descendants(int(self.inspect("State.Pid")))

    def remove(self) -> None:
        docker("rm", "-f", self.id, check=False)


@contextlib.contextmanager
def container(*options: str, **arguments: Any) -> Iterator[Container]:
    """A Container that answers, removed afterwards."""
    running = Container(*options, **arguments)
    try:
        yield running.wait_ready()
    finally:
        running.remove()
