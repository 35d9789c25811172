"""Slow-client attacks on this service and, as a control, on bare Gunicorn, while a good client measures.

`python -m bench.attack` takes ten minutes and writes docs/attacks.md and docs/attacks.svg. Everything is on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
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
from bench.peers import containers
from tests.running import IMAGE, ROOT, container, descendants, docker, free_port, wait_for

CONNECTIONS = 10_000
OWN = ("header", "body", "read")
# the way of each, and what slowhttptest says for it
SLOWHTTPTEST = {
    "slowhttptest -H": ("header", "-H -i 5"),
    "slowhttptest -B": ("body", "-B -i 5 -s 8192 -t PUT"),
    "slowhttptest -X": ("read", "-X -n 5 -w 512 -y 1024 -z 32"),
}
# each asks the kernel about all of its connections for every event: one with 10,000 would use a CPU, and keep the others
# from it for milliseconds at a time
PROCESSES = 40
# attackers have machines of their own; here a quarter of a CPU, in pieces of 10 ms, behind everybody else
ATTACKERS_CPU = ["--cpu-shares", "2", "--cpu-period", "10000", "--cpu-quota", "2500"]
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
    """What the good client saw for a while: latencies in seconds by collection, and the most memory, in MiB, and the most
    connections that there were meanwhile.
    """

    latencies: dict[str, list[float]]
    failures: Counter[str]
    memory: dict[str, float]
    connections: int

    @property
    def requests(self) -> int:
        return sum(map(len, self.latencies.values())) + sum(self.failures.values())

    def percentile(self, part: float, database: bool = True) -> float | None:
        """Seconds, of all or of those that need no database; None where there was no answer."""
        ordered = sorted(
            latency
            for collection, latencies in self.latencies.items()
            for latency in latencies
            if database or collection != "/db-item"
        )
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else None


@dataclass
class Attacked:
    """One attack, and what came just before it."""

    target: str
    name: str
    before: Phase
    during: Phase


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
    pages = tcp("mem") * os.sysconf("SC_PAGE_SIZE")
    return {name: kilobytes / 1024 for name, kilobytes in found.items()} | {"TCP": pages / 2**20}


def tcp(what: str) -> int:
    """A number of /proc/net/sockstat: reading it costs nothing, where a list of the connections stops the machine."""
    found = re.search(rf"^TCP:.* {what} (\d+)", Path("/proc/net/sockstat").read_text(), re.M)
    return int(found[1]) if found else 0


def connections() -> int:
    """TCP connections on this machine with both of their ends here."""
    return tcp("inuse") // 2


def measure(process: int, good: list[str], seconds: float) -> Phase:
    """Run the good client for so long; memory and connections are the most that was seen."""
    client = subprocess.Popen([*good, str(seconds)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    most: Counter[str] = Counter()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1):
            for what, size in {**memory(process), "connections": connections()}.items():
                most[what] = max(most[what], size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = json.loads(client.communicate(timeout=seconds + 30)[0])
    finally:
        client.kill()
        done.set()
        watcher.join()
    at_most = int(most.pop("connections", 0))
    return Phase(result["latencies"], Counter(result["failures"]), dict(most), at_most)


@contextmanager
def attackers(name: str, port: int, path: str, count: int) -> Iterator[None]:
    """While so many attack; they begin again when they are thrown out. Begins with the first hundred."""
    before = connections()
    options = ["--network", "host", "--ulimit", f"nofile={2 * count}", *ATTACKERS_CPU]
    mount = ["-v", f"{ROOT}/bench:/bench:ro", "-e", "PYTHONDONTWRITEBYTECODE=1"]
    running = docker("run", "-d", *options, *mount, "bench-attackers", "sh", "-c", attack(name, port, path, count))
    try:
        wait_for(lambda: connections() >= before + min(100, count // 2), 20, "the attack begins")
        yield
    finally:
        docker("rm", "-f", running)
        wait_for(lambda: connections() < before + 100, 60, "the attackers are gone")


def attack(name: str, port: int, path: str, count: int) -> str:
    """The shell command of an attack."""
    if name in OWN:
        return f"python3 -m bench.attack_connections {name} {port} {count} 600 --path {shlex.quote(path)}"
    kind, options = SLOWHTTPTEST[name]
    url = shlex.quote(f"http://127.0.0.1:{port}{path if kind == 'read' else '/item'}")
    each = f"-c {count // PROCESSES} -r {RATES[kind] // PROCESSES} -l 600 -p 5 -v 0 -u {url}"
    loop = f"while :; do slowhttptest {options} {each}; done"
    return f"for i in $(seq {PROCESSES}); do ({loop}) >/dev/null & done; wait"


def opening_seconds(name: str, count: int) -> float:
    kind = name if name in OWN else SLOWHTTPTEST[name][0]
    return count / RATES[kind]


def attacked(
    target: str, name: str, process: int, good: list[str], port: int, path: str, count: int, seconds: float
) -> Attacked:
    """Measure for so long before the attack, and while it opens its connections and for so long after that."""
    before = measure(process, good, seconds)
    with attackers(name, port, path, count):
        during = measure(process, good, opening_seconds(name, count) + seconds)
    failed = sum(before.failures.values()), sum(during.failures.values())
    print(f"{target}, {name}: {during.requests} requests, {failed[1]} failed, {failed[0]} before", flush=True)
    return Attacked(target, name, before, during)


def attack_image(count: int, seconds: float) -> list[Attacked]:
    """This image with its default settings and, for `/db-item`, something that answers as DynamoDB after 5 ms."""
    database = containers.start("bench-stub")
    environment = {
        "TABLE_NAME": "items",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://{database.address}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }
    try:
        with container(host=True, **environment) as running:
            wait_for(lambda: running.api("PUT", "/db-item", {"title": "a", "content": "b"}).status == 201, 20)
            large = running.api("PUT", "/item", {"title": "large", "content": "x" * 65_536}).headers["Location"]
            small = running.api("PUT", "/item", {"title": "small", "content": "x" * 500}).headers["Location"]
            good = [sys.executable, "-m", "bench.attack_good", "--database", "--path", small, str(running.port)]
            pid = int(running.inspect("State.Pid"))
            return [
                attacked("this image", name, pid, good, running.port, large, count, seconds)
                for name in (*OWN, *SLOWHTTPTEST)
            ]
    finally:
        database.stop()


def attack_gunicorn(count: int, seconds: float) -> list[Attacked]:
    """The control: Gunicorn with its defaults and no Nginx."""
    return [attack_one_gunicorn(name, count, seconds) for name in (*OWN, *SLOWHTTPTEST)]


def attack_one_gunicorn(name: str, count: int, seconds: float) -> Attacked:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "plain.py").write_text(CONTROL)
        gunicorn = [str(Path(sys.executable).parent / "gunicorn"), "--bind", f"127.0.0.1:{port}", "plain:app"]
        server = subprocess.Popen(gunicorn, cwd=directory, stderr=subprocess.DEVNULL)
        good = [sys.executable, "-m", "bench.attack_good", "--reads-only", "--path", "/ping", "--rate", "20", str(port)]
        try:
            wait_for(lambda: listens(port), 20, "Gunicorn listens")
            return attacked("bare Gunicorn", name, server.pid, good, port, "/item", count, seconds)
        finally:
            server.kill()
            server.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def machine() -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
        "nginx": docker("run", "--rm", "--entrypoint", "dpkg-query", IMAGE, "-Wf", "${Version}", "nginx").split("-")[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=20, help="for each measurement")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=True, help="the files in docs/")
    options = parser.parse_args()
    containers.build("bench-attackers", ROOT / "bench/peers", "--target", "attackers")
    containers.build("bench-stub", ROOT / "bench/peers", "--target", "stub")
    description = machine()
    attacks = attack_image(options.connections, options.seconds)
    attacks += attack_gunicorn(options.connections, min(options.seconds, 8))
    report = write_report(attacks, description, ROOT / "docs" if options.write else None)
    print(report)


if __name__ == "__main__":
    main()
