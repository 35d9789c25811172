"""Measures this image beside what people would use instead; prints a table, writes docs/figures.md and docs/figures.svg.

python -m bench.compare            all of it, in half an hour
python -m bench.compare --quick    a look at whether everything works, in less than three minutes once the images are built

Needs a Docker engine. Containers share the CPUs and the memory that one of them may use; the load and the stub of AWS have
the other CPUs where there are any.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import figures, plot
from bench.attack_connections import RATES
from bench.figures import ROOT
from bench.peers import containers, report
from bench.peers.containers import Container, Limits, docker
from bench.peers.load import Closed, Request, closed_loop, open_loop, start_wrk
from bench.peers.tokens import make_token

SEED, LARGE = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))
POOL = "us-east-1_bench"
ISSUER = f"https://cognito-idp.us-east-1.amazonaws.com/{POOL}"
# seconds after which nobody waits for an answer any more
PATIENCE = 2
BODY = json.dumps({"title": "my title", "content": "my content"})


@dataclass(frozen=True)
class Target:
    """One way to serve the application; `serves` tells which work it can do."""

    image: str
    command: tuple[str, ...] = ()
    serves: Callable[[str], bool] = lambda work: True


@dataclass(frozen=True)
class Plan:
    """How much is measured; `seconds` a round takes, by connections.

    Short rounds, and many: the machine gets faster and slower within seconds.
    """

    seconds: Mapping[int, int]
    rounds: int
    attacks: tuple[str, ...]
    slow_clients: int
    overload_rounds: int
    overloads: tuple[str, ...]
    overload_seconds: float
    starts: int


FULL = Plan(
    {1: 1, 32: 1, 256: 2}, 5, ("header", "body", "read"), 2000, 6, ("GET /item/<id>", "GET /db-item/<id>"), 2.5, 5
)
QUICK = Plan({32: 1}, 1, ("header",), 200, 1, ("GET /item/<id>",), 2, 1)


@dataclass
class Figures:
    """What was measured of one target. Loads by work and connections: a list of (CPU µs a request, Closed).

    `all_cpus`: the same with every CPU of the machine, which the load then shares.
    """

    loads: dict[tuple[str, int], list[tuple[float, Closed]]] = field(default_factory=dict)
    all_cpus: dict[tuple[str, int], list[Closed]] = field(default_factory=dict)
    start_ms: list[float] = field(default_factory=list)
    disk: int = 0
    compressed: int = 0
    idle: int = 0
    loaded: int = 0
    attacks: dict[str, tuple[float, float]] = field(default_factory=dict)
    overloads: dict[str, dict[str, float]] = field(default_factory=dict)

    def cpu(self, work: str, connections: int) -> list[float]:
        return [cpu for cpu, _ in self.loads.get((work, connections), [])]

    def of(self, work: str, connections: int, name: str) -> float:
        """The median of one measurement of the closed loop."""
        return median(getattr(closed, name) for _, closed in self.loads[work, connections])


def main() -> None:
    options = parse()
    plan = QUICK if options.quick else FULL
    begun = time.monotonic()
    theirs, others = keep_apart(options.cpus)
    limits = Limits(options.cpus, options.memory, theirs)
    images = build(options.image)
    bench = Bench(plan, limits, others, images, options.only)
    with containers.running(bench.containers):
        bench.start()
        for step in (bench.measure_loads, bench.measure_attacks, bench.measure_overload, bench.measure_all_cpus):
            say(f"{step.__name__} after {time.monotonic() - begun:.0f} s")
            step()
    say(f"starts and sizes after {time.monotonic() - begun:.0f} s")
    bench.measure_starts()
    command = "make bench" if not options.quick else "python -m bench.compare --quick"
    text = report.render(
        bench.figures, plan, report.setting(command, limits, time.monotonic() - begun, bench.versions())
    )
    print(text)
    if not options.quick or options.output:
        directory = Path(options.output or ROOT / "docs")
        figures.write("compare", text, directory / "figures.md")
        (directory / "figures.svg").write_text(plot.figure(bench.figures, connections=32))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once, briefly; writes no files unless --output is given")
    parser.add_argument("--output", metavar="DIRECTORY", help="where figures.md and figures.svg go (docs)")
    parser.add_argument("--cpus", default="1", help="CPUs of each container (1)")
    parser.add_argument("--memory", default="1g", help="memory of each container (1g)")
    parser.add_argument("--image", default="", help="measure this image instead of building the checkout's")
    parser.add_argument("--only", default="", help="a regular expression of targets")
    return parser.parse_args()


@contextmanager
def slow_clients(address: str, kind: str, count: int, path: str) -> Iterator[None]:
    """While so many clients do something byte by byte, one a second."""
    command = [sys.executable, "-m", "bench.attack_connections", kind, "80", str(count), "60", "--host", address]
    attackers = subprocess.Popen([*command, "--interval", "1", "--path", path], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        time.sleep(count / RATES[kind] + 2)
        yield
    finally:
        attackers.kill()
        attackers.wait()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def keep_apart(cpus: str) -> tuple[str, str]:
    """The CPU lists of the containers and of all else, where this process is moved; both empty if there are too few."""
    have = sorted(os.sched_getaffinity(0))
    count = max(1, math.ceil(float(cpus)))
    if count >= len(have):
        return "", ""
    os.sched_setaffinity(0, have[count:])
    return ",".join(map(str, have[:count])), ",".join(map(str, have[count:]))


def build(image: str) -> dict[str, str]:
    """The images by short name, all built."""
    names = {name: f"bench-{name}" for name in ("gunicorn", "uwsgi", "granian", "constant", "stub")}
    for name, tag in names.items():
        containers.build(tag, ROOT / "bench/peers", "--target", name)
    if not image:
        image = "bench-ours"
        containers.build(image, ROOT)
    return names | {"ours": image}


def targets(images: Mapping[str, str], workers: int) -> dict[str, Target]:
    """Everything that is compared, in the order of the table's columns; `workers` is how many ours has."""
    many = f"{workers}"
    gunicorn, granian = ("gunicorn", "--bind", "0.0.0.0:80"), ("granian", "--interface", "wsgi", "--host", "0.0.0.0")
    return {
        "this image": Target(images["ours"]),
        "Gunicorn": Target(images["gunicorn"]),
        f"Gunicorn, {many} workers": Target(images["gunicorn"], (*gunicorn, "--workers", many, "wsgi:app")),
        "Nginx + uWSGI": Target(images["uwsgi"]),
        f"Granian, {many} workers": Target(
            images["granian"], (*granian, "--port", "80", "--workers", many, "wsgi:app")
        ),
        "Nginx, a constant": Target(images["constant"], (), lambda work: work in ("GET /ping", "GET /item/<id>")),
    }


class Bench:
    """All containers of one run and their figures."""

    def __init__(self, plan: Plan, limits: Limits, others: str, images: Mapping[str, str], only: str) -> None:
        self.plan, self.limits, self.images, self.only = plan, limits, images, only
        self.beside = ["--cpuset-cpus", others] if others else []
        self.token, self.keys = make_token(
            {"iss": ISSUER, "client_id": "bench", "token_use": "access", "sub": "11111111-1111-4111-8111-111111111111"}
        )
        self.requests = {
            "GET /ping": Request("GET", "/ping"),
            "GET /item/<id>": Request("GET", f"/item/{SEED}"),
            "GET /db-item/<id>": Request("GET", f"/db-item/{SEED}"),
            "PUT /db-item": Request("PUT", "/db-item", BODY),
            "GET /authenticated-item/<id>": Request("GET", f"/authenticated-item/{SEED}", token=self.token),
            # last, because it fills memory
            "PUT /item": Request("PUT", "/item", BODY),
        }
        self.containers: dict[str, Container] = {}

    def environment(self) -> dict[str, str]:
        stub = self.containers["stub"].address
        return {
            "TABLE_NAME": "items",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://{stub}",
            "COGNITO_USER_POOL_ID": POOL,
            "COGNITO_CLIENT_ID": "bench",
            "COGNITO_JWKS_URL": f"http://{stub}/keys",
            # the peers' dictionaries are not bounded at all
            "ITEM_STORE_SIZE": "256m",
            "ISSUER": ISSUER,
            "SEED_ID": SEED,
            "LARGE_ID": LARGE,
        }

    def start(self) -> None:
        self.start_stub()
        self.containers["wrk"] = start_wrk(self.beside)
        ours = containers.start(self.images["ours"], (), self.environment(), self.limits.options())
        self.containers["this image"] = ours
        containers.wait_for_200(f"http://{ours.address}/ping", ours)
        workers = int(re.search(r"(\d+) workers: ", ours.log())[1])  # type: ignore[index]
        self.targets = {n: t for n, t in targets(self.images, workers).items() if re.search(self.only, n)}
        self.figures = {name: Figures() for name in self.targets}

    def start_targets(self, limits: Limits) -> None:
        """New containers: where its memory happens to lie makes a process a tenth faster or slower while it lives."""
        for name, target in self.targets.items():
            if name in self.containers:
                self.containers[name].stop()
            self.containers[name] = containers.start(target.image, target.command, self.environment(), limits.options())
        for name in self.targets:
            self.prepare(self.containers[name], self.figures[name])

    def start_stub(self) -> None:
        self.containers["stub"] = containers.start(self.images["stub"], (), {"JWKS": self.keys}, self.beside)

    def prepare(self, container: Container, figures: Figures) -> None:
        """The items that are read later, and the memory before anything else is."""
        containers.wait_for_200(f"http://{container.address}/ping", container)
        self.settle()
        # of the first, which has the limits that the figures are for
        figures.idle = figures.idle or container.memory_bytes()
        if container is self.containers["this image"]:
            for id, body in ((SEED, BODY), (LARGE, json.dumps({"title": "large", "content": "\u20ac" * 65_536}))):
                put = urllib.request.Request(f"http://{container.address}/item/{id}", body.encode(), method="PUT")
                put.add_header("Content-Type", "application/json")
                urllib.request.urlopen(put, timeout=10).close()
        if container is self.containers.get("Nginx, a constant"):
            return
        for request in self.requests.values():
            if request.method == "GET":
                self.answers(container, request)

    def answers(self, container: Container, request: Request) -> None:
        """Ends the program unless the work is done as it should be."""
        get = urllib.request.Request(f"http://{container.address}{request.path}")
        if request.token:
            get.add_header("Authorization", f"Bearer {request.token}")
        try:
            with urllib.request.urlopen(get, timeout=10) as answer:
                body = answer.read()
        except OSError as error:
            sys.exit(f"{request.path}: {error}\n{container.log()[-3000:]}")
        if request.path != "/ping" and json.loads(body)["content"] != "my content":
            sys.exit(f"{request.path} answered {body[:200]!r}")

    def measure_loads(self) -> None:
        """Rounds of all targets one after another, so that what else the machine does meets all of them."""
        for _ in range(self.plan.rounds):
            self.start_targets(self.limits)
            for work, request in self.requests.items():
                names = [name for name, target in self.targets.items() if target.serves(work)]
                if self.plan.rounds > 1:
                    for name in names:
                        closed_loop(self.containers["wrk"], self.containers[name].address, request, 32, 1)
                for connections in self.plan.seconds:
                    for name in names:
                        measured = self.measure_load(name, request, connections)
                        self.figures[name].loads.setdefault((work, connections), []).append(measured)
                for name in names:
                    if work != "PUT /item":
                        used = self.containers[name].memory_bytes()
                        self.figures[name].loaded = max(self.figures[name].loaded, used)

    def measure_load(self, name: str, request: Request, connections: int) -> tuple[float, Closed]:
        container = self.containers[name]
        self.settle()
        before = container.cpu_us()
        seconds = self.plan.seconds[connections]
        closed = closed_loop(self.containers["wrk"], container.address, request, connections, seconds)
        return (container.cpu_us() - before) / max(1, closed.requests), closed

    def measure_attacks(self) -> None:
        """100 requests a second over new connections while slow clients are there."""
        good, path = self.requests["GET /ping"], f"/item/{LARGE}"
        for kind in self.plan.attacks:
            for name, target in self.targets.items():
                if not target.serves("PUT /item"):
                    continue
                container = self.containers[name]
                self.settle()
                with slow_clients(container.address, kind, self.plan.slow_clients, path):
                    found = open_loop(container.address, good, 100, 3, keep_alive=False, patience=PATIENCE)
                self.figures[name].attacks[kind] = (found.served() / found.sent, found.percentile(99, 200))
                self.recover(name)

    def measure_overload(self) -> None:
        """Twice as many requests a second as were answered a moment ago, whether they are answered or not."""
        names = [name for name, target in self.targets.items() if target.serves("PUT /item")]
        for work in self.plan.overloads:
            rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for _ in range(self.plan.overload_rounds):
                for name in names:
                    rounds[name].append(self.overload(name, self.requests[work]))
            for name, found in rounds.items():
                self.figures[name].overloads[work] = {
                    key: (sum if key == "502" else median)(each[key] for each in found) for key in found[0]
                }

    def overload(self, name: str, request: Request) -> dict[str, float]:
        container = self.containers[name]

        def capacity() -> float:
            self.settle()
            return closed_loop(self.containers["wrk"], container.address, request, 32, 1).rps

        before = capacity()
        self.settle()
        found = open_loop(container.address, request, 2 * before, self.plan.overload_seconds, patience=PATIENCE)
        self.recover(name)
        # the machine may be a fifth faster or slower a few seconds later
        best = (before + capacity()) / 2
        return {
            "sent": found.sent / found.seconds,
            "served": found.served_rps(),
            "share": found.served_rps() / best,
            "served_p99": found.percentile(99, 200),
            "refused": found.count(503) / found.sent,
            "refused_p50": found.percentile(50, 503),
            "502": found.count(502),
            "lost": found.count(0) / found.sent,
        }

    def measure_all_cpus(self) -> None:
        """Requests a second of what waits for DynamoDB, if the containers did not have all CPUs before."""
        if not self.limits.cpuset:
            return
        names = [name for name, target in self.targets.items() if target.serves("PUT /item")]
        connections = max(self.plan.seconds)
        for _ in range(self.plan.rounds):
            self.start_targets(Limits(f"{os.cpu_count()}", self.limits.memory))
            for work in ("GET /db-item/<id>", "PUT /db-item"):
                for name in names:
                    closed_loop(self.containers["wrk"], self.containers[name].address, self.requests[work], 32, 1)
                for name in names:
                    _, measured = self.measure_load(name, self.requests[work], connections)
                    self.figures[name].all_cpus.setdefault((work, connections), []).append(measured)

    def settle(self) -> None:
        """What is not measured now rests."""
        containers.settle(self.containers.values())

    def recover(self, name: str) -> None:
        self.settle()
        containers.wait_for_200(f"http://{self.containers[name].address}/ping", self.containers[name])

    def measure_starts(self) -> None:
        self.start_stub()
        with containers.running({"stub": self.containers["stub"]}):
            for _ in range(self.plan.starts):
                for name, target in self.targets.items():
                    self.figures[name].start_ms.append(
                        containers.start_milliseconds(target.image, target.command, self.environment(), self.limits)
                    )
        for name, target in self.targets.items():
            self.figures[name].disk, self.figures[name].compressed = containers.image_bytes(
                target.image, self.plan.rounds > 1
            )

    def versions(self) -> dict[str, str]:
        """What was compared, as the images have it."""
        packages = "import importlib.metadata as m,sys;print(sys.version.split()[0],*map(m.version,sys.argv[1:]))"
        run = ["run", "--rm", "--entrypoint", "python"]
        ours = docker(*run, self.images["ours"], "-c", packages, "flask", "gunicorn", "boto3").split()
        nginx = docker(
            "run", "--rm", "--entrypoint", "dpkg-query", self.images["constant"], "-W", "-f", "${Version}", "nginx"
        )
        return {
            **dict(zip(("Python", "Flask", "Gunicorn", "boto3"), ours, strict=True)),
            "Nginx": nginx.split("-")[0],
            "uWSGI": "2.0.31",
            "Granian": "2.8.7",
            "Docker": docker("version", "-f", "{{.Server.Version}}"),
        }


if __name__ == "__main__":
    main()
