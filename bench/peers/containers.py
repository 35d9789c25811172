"""Containers under test: built, started, and measured from their cgroup (v1 or v2)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 30


def docker(*arguments: str, seconds: float = 60) -> str:
    """What `docker` prints; ends the program with its last words when it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        sys.exit(f"docker {' '.join(arguments[:3])}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def build(tag: str, directory: Path, *options: str) -> None:
    print(f"building {tag}", file=sys.stderr, flush=True)
    docker("build", "-q", "-t", tag, *options, str(directory), seconds=600)


@dataclass(frozen=True)
class Limits:
    """What a container may use: CPUs and memory, and optionally the one CPU list that it runs on."""

    cpus: str
    memory: str
    cpuset: str = ""

    def options(self) -> list[str]:
        pinned = ["--cpuset-cpus", self.cpuset] if self.cpuset else []
        return ["--cpus", self.cpus, "--memory", self.memory, "--shm-size", self.memory, *pinned]


@dataclass
class Container:
    """A running container; `address` is its own, reached without a proxy."""

    id: str
    address: str
    pid: int

    def cpu_us(self) -> float:
        """CPU time of all of its processes so far, in microseconds."""
        version, directory = self._cgroup("cpuacct")
        if version == 1:
            return int((directory / "cpuacct.usage").read_text()) / 1000
        return float(dict(_pairs(directory / "cpu.stat"))["usage_usec"])

    def memory_bytes(self) -> int:
        """Memory without the cache of files, which the kernel would give back."""
        version, directory = self._cgroup("memory")
        used = "memory.usage_in_bytes" if version == 1 else "memory.current"
        stat, prefix = dict(_pairs(directory / "memory.stat")), "total_" if version == 1 else ""
        files = stat[f"{prefix}inactive_file"] + stat[f"{prefix}active_file"]
        return int((directory / used).read_text()) - files

    def _cgroup(self, controller: str) -> tuple[int, Path]:
        try:
            return _cgroup(self.pid, controller)
        except OSError:
            sys.exit(f"a container has ended:\n{self.log()[-3000:]}")

    def log(self) -> str:
        done = subprocess.run(["docker", "logs", self.id], capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    def stop(self) -> None:
        subprocess.run(["docker", "rm", "-f", "-v", self.id], capture_output=True, timeout=60)


def start(
    image: str, command: Sequence[str] = (), environment: Mapping[str, str] | None = None, options: Sequence[str] = ()
) -> Container:
    variables = [word for name, value in (environment or {}).items() for word in ("-e", f"{name}={value}")]
    # what it prints is kept as by default, but does not fill the disk; a health check now and then is nobody's request
    always = ["--log-opt", "max-size=10m", "--no-healthcheck"]
    id = docker("run", "-d", *always, *variables, *options, image, *command)
    state = json.loads(docker("inspect", id))[0]
    return Container(id, state["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], state["State"]["Pid"])


@contextmanager
def running(containers: Mapping[str, Container]) -> Iterator[None]:
    """Stops all of them in the end."""
    try:
        yield
    finally:
        for container in containers.values():
            container.stop()


def settle(containers: Iterable[Container], seconds: float = 60) -> None:
    """Wait until they are done with what they were sent: until all of them together use less than 3 % of a CPU.

    Servers go on with requests whose clients are gone, and those that share a CPU would slow each other down.
    """
    containers, pause = list(containers), 0.05
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = sum(container.cpu_us() for container in containers)
        time.sleep(pause)
        if sum(container.cpu_us() for container in containers) - before < 0.03 * pause * 1e6:
            return
    print(f"not idle after {seconds:.0f} s", file=sys.stderr, flush=True)


def wait_for_200(url: str, container: Container | None = None, pause: float = 0.02) -> None:
    """Ask until the answer is 200; ends the program with the container's log when that takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(pause)
    sys.exit(f"{url} does not answer with 200:\n{container.log()[-3000:] if container else ''}")


def start_milliseconds(image: str, command: Sequence[str], environment: Mapping[str, str], limits: Limits) -> float:
    """From `docker run` to the first 200 of /ping."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun = time.monotonic()
    container = start(image, command, environment, [*limits.options(), "-p", f"127.0.0.1:{port}:80"])
    try:
        wait_for_200(f"http://127.0.0.1:{port}/ping", container, 0.002)
        return (time.monotonic() - begun) * 1000
    finally:
        container.stop()


def image_bytes(image: str, compress: bool = True) -> tuple[int, int]:
    """The size of an image on disk and as a registry keeps it (gzip), 0 without `compress`."""
    disk = int(docker("image", "inspect", "-f", "{{.Size}}", image))
    if not compress:
        return disk, 0
    save = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
    squeezed = subprocess.run(["gzip", "-c"], stdin=save.stdout, stdout=subprocess.PIPE, timeout=300)
    save.wait(10)
    return disk, len(squeezed.stdout)


def _cgroup(pid: int, controller: str) -> tuple[int, Path]:
    """The version and the directory of a process's cgroup for one controller."""
    entries = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    for _, controllers, path in entries:
        if controller in controllers.split(","):
            point = next(m[1] for m in mounts if m[2] == "cgroup" and controller in m[3].split(","))
            return 1, Path(point + path)
    path = next(path for number, _, path in entries if number == "0")
    point = next(m[1] for m in mounts if m[2] == "cgroup2")
    return 2, Path(point + path)


def _pairs(path: Path) -> Iterator[tuple[str, int]]:
    for line in path.read_text().splitlines():
        name, value = line.split()
        yield name, int(value)
