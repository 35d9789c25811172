"""Replaces two containers behind haproxy one after the other under load, and counts the requests that failed.

    python -m bench.rolling                                     # 20 replacements, at least 20,000 requests; into docs/figures.md
    python -m bench.rolling --replacements 2 --requests 500     # what CI runs
    python -m bench.rolling --told                              # the balancer is told first, as ECS does it

Needs a Docker engine and haproxy (Debian: apt-get install haproxy); everything stays on this machine's loopback.

A replacement: a new container starts, and joins when its health check passes; then the oldest gets `docker stop`, and
nobody tells the balancer, which has to find out by itself. Its configuration below is what has to be there for that:
a health check, a retry for connections that were refused (`retries`, `redispatch`) and for nothing else, so that no
request is sent twice. A failure is any answer but the expected one, and any error.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench import figures
from tests.running import Container, free_port, wait_for

CLIENTS = 16
SLOW = 0.1
# two that serve and the one that comes or goes
SLOTS = ("a", "b", "c")

HAPROXY = """
global
  stats socket {directory}/admin level admin
  log {directory}/log local0
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout check 2s
  # a connection that was not made may be tried again, elsewhere; a request that was sent may not: the default
  retries 3
  retry-on conn-failure
  option redispatch 1
frontend service
  bind 127.0.0.1:{port}
  default_backend containers
backend containers
  balance leastconn
  option httpchk GET /ping
  default-server check inter 500ms fall 1 rise 1 disabled
{servers}
"""

# the sample, and requests that take their time
APP = """
import threading
from flask import request
from app import create_app

app = create_app()

@app.route("/slow", methods=["GET", "PUT", "POST", "DELETE"])
def slow():
    threading.Event().wait(float(request.args["seconds"]))
    return {"method": request.method, "body": request.get_data(as_text=True)}
"""


class Balancer:
    """haproxy with three places for containers, changed over its admin socket."""

    def __init__(self, directory: Path) -> None:
        self.port, self._socket = free_port(), directory / "admin"
        servers = "\n".join(f"  server {slot} 127.0.0.1:1" for slot in SLOTS)
        configuration = directory / "haproxy.cfg"
        configuration.write_text(HAPROXY.format(directory=directory, port=self.port, servers=servers))
        self._process = subprocess.Popen(["haproxy", "-db", "-f", str(configuration)])

    def command(self, text: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(text.encode() + b"\n")
            return connection.makefile().read()

    def server(self, slot: str) -> dict[str, str]:
        """haproxy's figures for one place."""
        head, *lines = self.command("show stat").lstrip("# ").splitlines()
        rows = [dict(zip(head.split(","), line.split(","), strict=False)) for line in lines]
        return next(row for row in rows if row.get("pxname") == "containers" and row["svname"] == slot)

    def join(self, slot: str, port: int) -> None:
        self.command(f"set server containers/{slot} addr 127.0.0.1 port {port}")
        self.command(f"set server containers/{slot} state ready")
        wait_for(lambda: self.server(slot)["status"] == "UP", 30, f"{slot} is up")

    def leave(self, slot: str) -> None:
        """No new requests; returns when those that are there have been answered."""
        self.command(f"set server containers/{slot} state drain")
        wait_for(lambda: self.server(slot)["scur"] == "0", 60, f"{slot} is drained")

    def remove(self, slot: str) -> None:
        self.command(f"set server containers/{slot} state maint")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class Client(threading.Thread):
    """Sends requests of every verb on one connection, never one twice."""

    def __init__(self, port: int, seed: int, until: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.until, self.random = port, until, random.Random(seed)
        self.connection: http.client.HTTPConnection | None = None
        self.count = 0
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []

    def run(self) -> None:
        while not self.until.wait(self.random.random() * 0.04):
            method, path, body, expected = self.request()
            sent = time.time()
            try:
                status = self.send(method, path, body)
            except Exception as error:
                status = f"{type(error).__name__}: {error}"
                self.connection = None
            self.count += 1
            self.answers[f"{method} /{path.replace('?', '/').split('/')[1]} {status}"] += 1
            if status != expected:
                self.failures.append(f"{sent:.3f}–{time.time():.3f} {method} {path}: {status}, expected {expected}")

    def request(self) -> tuple[str, str, str | None, int]:
        """One of: method, path, body, expected status. Items are each container's own, so they are not there."""
        id = uuid.UUID(int=self.random.getrandbits(128), version=4)
        item = json.dumps({"title": "rolling", "content": "x" * self.random.choice((10, 1_000, 30_000))})
        if self.random.random() < SLOW:
            method = self.random.choice(("GET", "PUT", "POST", "DELETE"))
            return (
                method,
                f"/slow?seconds={self.random.random() * 2:.2f}",
                item if method in ("PUT", "POST") else None,
                200,
            )
        return self.random.choice(
            (
                ("PUT", f"/item/{id}", item, 201),
                ("GET", "/item?limit=5", None, 200),
                ("GET", f"/item/{id}", None, 404),
                ("POST", f"/item/{id}", '{"title": "other"}', 404),
                ("DELETE", f"/item/{id}", None, 404),
            )
        )

    def send(self, method: str, path: str, body: str | None) -> int:
        self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = self.connection.getresponse()
        response.read()
        return response.status


def replace(balancer: Balancer, running: dict[str, Container], start, told: bool) -> tuple[float, int]:
    """Start one in the free place, stop the oldest: how long the stop took, and the exit status."""
    free = next(slot for slot in SLOTS if slot not in running)
    oldest = next(iter(running))
    running[free] = start()
    running[free].wait_ready()
    balancer.join(free, running[free].port)
    if told:
        balancer.leave(oldest)
    begin = time.monotonic()
    status = running[oldest].stop()
    seconds = time.monotonic() - begin
    balancer.remove(oldest)
    running.pop(oldest).remove()
    return seconds, status


@contextlib.contextmanager
def service(directory: Path, running: dict[str, Container], **environment: str) -> Iterator[tuple[Balancer, object]]:
    """A balancer with two containers, and what starts another."""
    app = directory / "hello.py"
    app.write_text(APP)
    app.chmod(0o644)
    balancer = Balancer(directory)

    def start() -> Container:
        return Container("-v", f"{app}:/app/hello.py:ro", host=True, APP_MODULE="hello:app", **environment)

    try:
        wait_for(lambda: (directory / "admin").exists())
        for slot in SLOTS[:2]:
            running[slot] = start()
            running[slot].wait_ready()
            balancer.join(slot, running[slot].port)
        yield balancer, start
    finally:
        balancer.stop()
        for container in running.values():
            container.remove()


def run(replacements: int, requests: int, told: bool, seed: int, **environment: str) -> tuple[dict, list[str]]:
    """What was seen, and every failure."""
    directory, running = Path(tempfile.mkdtemp(prefix="rolling-")), {}
    until = threading.Event()
    stops: list[float] = []
    failures: list[str] = []
    try:
        with service(directory, running, **environment) as (balancer, start):
            clients = [Client(balancer.port, seed * 100 + number, until) for number in range(CLIENTS)]
            for client in clients:
                client.start()
            begin = time.monotonic()
            for number in range(replacements):
                at = time.time()
                seconds, status = replace(balancer, running, start, told)
                stops.append(seconds)
                if status != 0:
                    failures.append(f"replacement {number + 1} ended with status {status}")
                failed = sum(len(client.failures) for client in clients)
                print(
                    f"{number + 1:3} from {at:.3f}: stop {seconds:4.1f} s, {failed} failed", file=sys.stderr, flush=True
                )
            wait_for(lambda: sum(client.count for client in clients) >= requests, 600, "enough requests")
            seconds = time.monotonic() - begin
            until.set()
            for client in clients:
                client.join(60)
                failures += client.failures
    finally:
        shutil.rmtree(directory)
    return {
        "replacements": replacements,
        "requests": sum(client.count for client in clients),
        "requests a second": round(sum(client.count for client in clients) / seconds),
        "answers": dict(sum((client.answers for client in clients), Counter()).most_common()),
        "longest stop (s)": round(max(stops, default=0), 1),
        "failed": len(failures),
    }, failures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replacements", type=int, default=20)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--told", action="store_true", help="take the container out of the balancer before it is stopped"
    )
    parser.add_argument("--drain", help="DRAIN_SECONDS of the containers")
    options = parser.parse_args(arguments)
    environment = {"DRAIN_SECONDS": options.drain} if options.drain else {}
    seen, failures = run(options.replacements, options.requests, options.told, options.seed, **environment)
    text = figures.table("Rolling replacement", "make rolling", seen)
    print(text)
    for line in failures[:50]:
        print(line, file=sys.stderr)
    if options.requests >= 20_000 and options.replacements >= 20 and not failures:
        figures.write("rolling", text)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
