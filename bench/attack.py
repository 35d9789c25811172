"""Slow-client attacks on this service and, as a control, on bare Gunicorn, while a good client measures.

`python -m bench.attack` takes ten minutes and writes docs/attacks.md and docs/attacks.svg. Everything is on loopback.
Needs a Docker engine and slowhttptest (Debian: apt-get install slowhttptest).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.attack_connections import RATES
from bench.attack_report import write_report
from tests.running import IMAGE, ROOT, Container, descendants, docker, free_port, wait_for

CONNECTIONS = 10_000
OWN = ("header", "body", "read")
# what slowhttptest says for it
SLOWHTTPTEST = {
    "slowhttptest -H": ["-H", "-i", "5"],
    "slowhttptest -B": ["-B", "-i", "5", "-s", "8192", "-t", "PUT"],
    "slowhttptest -X": ["-X", "-n", "5", "-w", "512", "-y", "1024", "-z", "32"],
}
QUIET = "none"
CONTROL = """
from flask import Flask, request
app = Flask(__name__)
@app.get("/ping")
def ping():
    return "pong"
@app.route("/item", methods=["GET", "PUT"])
def item():
    return str(len(request.get_data())) + "x" * 240_000
"""


@dataclass
class Phase:
    """What the good client saw, in seconds, and the memory in MiB, while one thing went on, perhaps `elsewhere`."""

    target: str
    name: str
    connections: int
    latencies: list[float]
    failures: Counter[str]
    memory: dict[str, float]
    elsewhere: bool = False

    @property
    def requests(self) -> int:
        return len(self.latencies) + sum(self.failures.values())

    def percentile(self, part: float) -> float | None:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else None


def memory(process: int) -> dict[str, float]:
    """MiB of the programs below (proportional set size) and of the kernel's TCP buffers, which others may share."""
    found: Counter[str] = Counter()
    for child in descendants(process):
        try:
            rollup = Path(f"/proc/{child['pid']}/smaps_rollup").read_text()
        except OSError:
            continue
        size = re.search(r"^Pss:\s+(\d+)", rollup, re.M)
        found["Nginx" if "nginx" in child["argv"] else "Gunicorn"] += int(size[1]) if size else 0
    pages = re.search(r"^TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.M)
    megabytes = {name: kilobytes / 1024 for name, kilobytes in found.items()}
    return megabytes | {"TCP": int(pages[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if pages else 0.0}


def measure(
    target: str, name: str, process: int, good: list[str], seconds: float, connections: int = 0, elsewhere: bool = False
) -> Phase:
    """Run the good client for so long; memory is the most that was seen."""
    client = subprocess.Popen([*good, str(seconds)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    most: dict[str, float] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            for what, size in memory(process).items():
                most[what] = max(most.get(what, 0), size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = json.loads(client.communicate(timeout=seconds + 30)[0])
    finally:
        client.kill()
        done.set()
        watcher.join()
    phase = Phase(target, name, connections, result["latencies"], Counter(result["failures"]), most, elsewhere)
    print(
        f"{target}, {name}{' elsewhere' * elsewhere}: {phase.requests} requests, {sum(phase.failures.values())} failed",
        flush=True,
    )
    return phase


@contextmanager
def background(command: list[str], seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A program that runs meanwhile and ends by itself."""
    with tempfile.TemporaryFile("w+") as output:
        program = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
        try:
            yield program
            program.wait(seconds)
        finally:
            program.kill()
            program.wait()
            output.seek(0)
            print("   ", (output.read().strip().splitlines() or [""])[-1][:200], flush=True)


def own_attack(mode: str, port: int, connections: int, seconds: float, path: str) -> list[str]:
    command = [sys.executable, "-m", "bench.attack_connections", mode, str(port), str(connections), str(seconds)]
    return [*command, "--path", path]


def slowhttptest(options: list[str], port: int, connections: int, seconds: float, path: str) -> list[str]:
    url = f"http://127.0.0.1:{port}{path}"
    return [
        "nice", "-n", "10", "slowhttptest", *options, "-v", "1", "-u", url,
        "-c", str(connections), "-r", str(RATES["read" if "-X" in options else "body"]), "-l", str(int(seconds)), "-p", "5",
    ]  # fmt: skip


def attack_image(connections: int, seconds: float) -> list[Phase]:
    """While each attack meets another container like this one, and then this one, both with default settings.

    Whoever attacks has only this machine's CPUs to do so with: what that alone costs a good client, the first tells.
    """
    running, another = Container(host=True), Container(host=True)
    phases = []
    try:
        for each in (running, another):
            each.wait_ready()
        paths = [
            each.api("PUT", "/item", {"title": "large", "content": "x" * 65_536}).headers["Location"]
            for each in (running, another)
        ]
        small = running.api("PUT", "/item", {"title": "small", "content": "x" * 500}).headers["Location"]
        good = [sys.executable, "-m", "bench.attack_good", "--path", small, str(running.port)]
        pid = int(running.inspect("State.Pid"))
        phases.append(measure("this image", QUIET, pid, good, seconds))
        for name in (*OWN, *SLOWHTTPTEST):
            ramp = connections / RATES["read" if name in ("read", "slowhttptest -X") else "body"]
            for target, path in ((another, paths[1]), (running, paths[0])):
                elsewhere = target is another
                command = attack_command(name, target.port, connections, ramp + seconds + 2, path)
                with background(command, ramp + seconds + 20):
                    threading.Event().wait(ramp)
                    phases.append(measure("this image", name, pid, good, seconds, connections, elsewhere))
        phases.append(measure("this image", QUIET, pid, good, seconds))
    finally:
        running.remove()
        another.remove()
    return phases


def attack_command(name: str, port: int, connections: int, seconds: float, path: str) -> list[str]:
    if name in OWN:
        return own_attack(name, port, connections, seconds, path)
    return slowhttptest(SLOWHTTPTEST[name], port, connections, seconds, path if name.endswith("X") else "/item")


def attack_gunicorn(connections: int, seconds: float) -> list[Phase]:
    """The control: Gunicorn with its defaults and no Nginx."""
    port = free_port()
    phases = []
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "plain.py").write_text(CONTROL)
        gunicorn = [str(Path(sys.executable).parent / "gunicorn"), "--bind", f"127.0.0.1:{port}", "plain:app"]
        server = subprocess.Popen(gunicorn, cwd=directory, stderr=subprocess.DEVNULL)
        good = [sys.executable, "-m", "bench.attack_good", "--reads-only", "--path", "/ping", "--rate", "20", str(port)]
        try:
            wait_for(lambda: listens(port), 20, "Gunicorn listens")
            phases.append(measure("bare Gunicorn", QUIET, server.pid, good, seconds))
            for mode in OWN:
                with background(own_attack(mode, port, connections, seconds + 5, "/item"), seconds + 20):
                    threading.Event().wait(3)
                    phases.append(measure("bare Gunicorn", mode, server.pid, good, seconds, connections))
        finally:
            server.kill()
            server.wait()
    return phases


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def machine() -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
        "nginx": docker("run", "--rm", "--entrypoint", "dpkg-query", IMAGE, "-W", "-f", "${Version}", "nginx").split(
            "-"
        )[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=20, help="for each measurement")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=True, help="the files in docs/")
    options = parser.parse_args()
    description = machine()
    phases = attack_image(options.connections, options.seconds)
    phases += attack_gunicorn(options.connections, min(options.seconds, 8))
    report = write_report(phases, description, ROOT / "docs" if options.write else None)
    print(report)


if __name__ == "__main__":
    main()
