"""Measures how the cost of this image grows: items stored, page size, item size, connections, workers.

python -m bench.growth             in about ten minutes; writes its tables into docs/figures.md
python -m bench.growth --quick     in two

Needs a Docker engine.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import compare, figures
from bench.peers import containers
from bench.peers.containers import Container, Limits, docker
from bench.peers.load import Closed, Request, closed_loop, start_wrk

SMALL = "my content"
LIMITS = Limits("2", "3g")
# requests a second, however many connections share them
RATE = 500
FILL = """
import sys
from app.settings import Settings
from app.stores import Item, new_version
from app.stores.memory import MemoryStore
settings = Settings.from_environment()
store = MemoryStore(settings.item_store_directory, settings.item_store_size)
for _ in range(int(sys.argv[1])):
    store.create("SYSTEM", Item(store.new_id(), "my title", sys.argv[2], new_version()))
"""


# what the tables show, and why a line is not flat
WHY = {
    "Items stored": "Flat: a B-tree of five levels instead of two. Memory is the items'.",
    "Page size": "Straight within the noise: 2 to 10 µs an item, by the machine, on top of a request, SQLite's row and JSON.",
    "Item size": "Up to 10 kB the request; beyond that JSON, checks of every character, and copies. Above 16 kB Nginx puts a body "
    "into a file.",
    "Connections": "Flat: an idle connection costs nothing. With 10,000 opening them is in it: a connection carries three requests.",
    "Workers": "One cannot use two CPUs; more than there are CPUs take turns. `/db-item` needs threads more than workers.",
}


class Plan(NamedTuple):
    rounds: int
    seconds: int
    items: tuple[int, ...]
    connections: tuple[int, ...]
    connection_seconds: int


FULL = Plan(3, 1, (100, 1_000, 10_000, 100_000, 1_000_000), (10, 100, 1_000, 10_000), 10)
QUICK = Plan(1, 1, (100, 10_000), (10, 1_000), 3)


class Growth:
    """The measurements: a method a table."""

    def __init__(self, image: str, plan: Plan, wrk: Container) -> None:
        self.image, self.plan, self.wrk = image, plan, wrk

    @contextmanager
    def container(self, **environment: str) -> Iterator[Container]:
        """A container of this image with room for many items, and DynamoDB beside it."""
        stub = containers.start("bench-stub")
        with containers.running({"stub": stub}):
            variables = {
                "ITEM_STORE_SIZE": "1g",
                "TABLE_NAME": "items",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "none",
                "AWS_SECRET_ACCESS_KEY": "none",
                "AWS_ENDPOINT_URL_DYNAMODB": f"http://{stub.address}",
            }
            ours = containers.start(self.image, (), variables | environment, LIMITS.options())
            with containers.running({"ours": ours}):
                containers.wait_for_200(f"http://{ours.address}/ping", ours)
                yield ours

    def measure(self, container: Container, *requests: Request, connections: int = 32) -> list[tuple[float, Closed]]:
        """Of each request the round with the median CPU µs: these and the closed loop."""
        rounds: list[list[tuple[float, Closed]]] = [[] for _ in requests]
        for _ in range(self.plan.rounds):
            for each, request in zip(rounds, requests, strict=True):
                each.append(self.once(container, request, connections, self.plan.seconds))
        return [sorted(each, key=lambda pair: pair[0])[len(each) // 2] for each in rounds]

    def once(
        self, container: Container, request: Request, connections: int, seconds: int, pause_ms: int = 0
    ) -> tuple[float, Closed]:
        containers.settle([container])
        before = container.cpu_us()
        closed = closed_loop(self.wrk, container.address, request, connections, seconds, pause_ms)
        return (container.cpu_us() - before) / max(1, closed.requests), closed

    def items(self) -> str:
        """Items stored."""
        rows = []
        for count in self.plan.items:
            with self.container() as container:
                fill(container, count, SMALL)
                id, stored = put(container, SMALL), container.memory_bytes()
                requests = Request("GET", f"/item/{id}"), Request("GET", "/item?limit=50"), create(SMALL)
                found = self.measure(container, *requests)
                rows.append((f"{count:,}", [*(f"{cpu:,.0f}" for cpu, _ in found), f"{stored / 2**20:,.0f}"]))
        return table("items stored", ["GET, µs", "GET of a page of 50, µs", "PUT, µs", "memory, MiB"], rows)

    def pages(self) -> str:
        """Page size."""
        sizes = (1, 10, 50, 100)
        with self.container() as container:
            fill(container, 1_000, SMALL)
            found = self.measure(container, *(Request("GET", f"/item?limit={size}") for size in sizes))
        rows = [(str(size), [f"{cpu:,.0f}", f"{cpu / size:,.1f}"]) for size, (cpu, _) in zip(sizes, found, strict=True)]
        return table("items a page", ["µs", "µs an item"], rows)

    def sizes(self) -> str:
        """Item size."""
        rows = []
        with self.container() as container:
            for length in (0, 1_000, 10_000, 65_536):
                content = "x" * length
                id = put(container, content)
                found = self.measure(container, Request("GET", f"/item/{id}"), create(content))
                rows.append((f"{length:,}", [f"{cpu:,.0f}" for cpu, _ in found]))
        return table("bytes of content", ["GET, µs", "PUT, µs"], rows)

    def connections(self) -> str:
        """Connections, for the same number of requests."""
        rows = []
        with self.container() as container:
            request = Request("GET", f"/item/{put(container, SMALL)}")
            for count in self.plan.connections:
                pause = 1000 * count // RATE
                # so that a connection sends several requests
                seconds = max(self.plan.connection_seconds, 2 * pause // 1000)
                rounds = [self.once(container, request, count, seconds, pause) for _ in range(self.plan.rounds)]
                closed = [each for _, each in rounds]
                cells = [
                    f"{median(cpu for cpu, _ in rounds):,.0f}",
                    f"{median(each.rps for each in closed):,.0f}",
                    f"{median(each.p50 for each in closed):,.1f} / {median(each.p99 for each in closed):,.1f}",
                    f"{sum(each.failures for each in closed)}",
                    f"{container.memory_bytes() / 2**20:,.0f}",
                ]
                rows.append((f"{count:,}", cells))
        return table("connections", ["GET, µs", "requests a second", "p50 / p99, ms", "failures", "memory, MiB"], rows)

    def workers(self) -> str:
        """Gunicorn's workers."""
        rows = []
        for count in (1, 2, 4, 8):
            with self.container(WEB_CONCURRENCY=str(count)) as container:
                id, idle = put(container, SMALL), container.memory_bytes()
                requests = Request("GET", f"/item/{id}"), Request("GET", f"/db-item/{id}")
                self.once(container, requests[1], 32, 1)
                found = self.measure(container, *requests, connections=128)
                cells = [text for cpu, closed in found for text in (f"{cpu:,.0f}", f"{closed.rps:,.0f}")]
                rows.append((str(count), [*cells, f"{idle / 2**20:,.0f}"]))
        columns = ["GET /item, µs", "a second", "GET /db-item, µs", "a second", "memory, MiB"]
        return table("workers", columns, rows)


def fill(container: Container, count: int, content: str) -> None:
    """Store items as fast as the store takes them, without HTTP."""
    run_dir = ["-e", "RUN_DIR=/dev/shm/app"]
    docker("exec", *run_dir, container.id, "python", "-c", FILL, str(count), content, seconds=400)


def put(container: Container, content: str) -> str:
    """Create an item; its id."""
    body = json.dumps({"title": "my title", "content": content}).encode()
    request = urllib.request.Request(f"http://{container.address}/item", body, method="PUT")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["id"])


def create(content: str) -> Request:
    return Request("PUT", "/item", json.dumps({"title": "my title", "content": content}))


def table(first: str, columns: list[str], rows: list[tuple[str, list[str]]]) -> str:
    lines = [f"| {first} | " + " | ".join(columns) + " |", "|---:|" + "---:|" * len(columns)]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows)])


def main() -> None:
    options = parse()
    plan = QUICK if options.quick else FULL
    containers.build("bench-stub", figures.ROOT / "bench/peers", "--target", "stub")
    if not options.image:
        containers.build("bench-ours", figures.ROOT)
    wrk = start_wrk()
    growth = Growth(options.image or "bench-ours", plan, wrk)
    tables: Mapping[str, Callable[[], str]] = {
        "Items stored": growth.items,
        "Page size": growth.pages,
        "Item size": growth.sizes,
        f"Connections, {RATE} requests a second in all": growth.connections,
        "Workers, 2 CPUs, 128 connections": growth.workers,
    }
    parts = [
        "## How cost grows",
        f"`python -m bench.growth`, {figures.machine()}. CPU of the whole container, µs a request: medians of {plan.rounds} "
        f"rounds of {plan.seconds} s, 32 connections where nothing else is said; {LIMITS.cpus} CPUs.",
    ]
    with containers.running({"wrk": wrk}):
        for title, measure in tables.items():
            compare.say(title)
            parts += [f"### {title}", measure(), WHY[title.split(",")[0]]]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if not options.quick or options.output:
        figures.write("growth", text, Path(options.output or figures.ROOT / "docs") / "figures.md")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once, briefly; writes no file unless --output is given")
    parser.add_argument("--output", metavar="DIRECTORY", help="where figures.md is (docs)")
    parser.add_argument("--image", default="", help="measure this image instead of building the checkout's")
    return parser.parse_args()


if __name__ == "__main__":
    main()
