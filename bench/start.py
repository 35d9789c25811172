"""Measures a start, the image's size and its idle memory, and prints a Markdown table.

    docker build -t tinystacks/flask-crud-app:latest . && python -m bench.start

Needs a Docker engine whose files are on this machine, with cgroups v1 or v2. A start is the time from `docker run` to the
first 200 from /ping, with `docker run`'s own work for a container that does nothing beside it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from bench import figures
from bench.peers import containers
from bench.peers.containers import Limits
from tests.running import IMAGE, docker

SETTLE_SECONDS = 10
LIMITS = Limits("2", "2g")


def docker_alone(image: str) -> float:
    """Milliseconds that `docker run` takes for a container that ends at once."""
    begin = time.monotonic()
    docker("run", "--rm", "--entrypoint", "true", image)
    return (time.monotonic() - begin) * 1000


def idle_memory(image: str, **environment: str) -> int:
    """Bytes that the container has in use some seconds after the start."""
    container = containers.start(image, environment={"WEB_CONCURRENCY": "2"} | environment)
    with containers.running({"idle": container}):
        containers.wait_for_200(f"http://{container.address}/ping", container)
        time.sleep(SETTLE_SECONDS)
        return container.memory_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=IMAGE)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="into docs/figures.md")
    options = parser.parse_args()
    image = options.image
    docker_alone(image)
    starts = [containers.start_milliseconds(image, (), {}, LIMITS) for _ in range(options.starts)]
    alone = [docker_alone(image) for _ in range(options.starts)]
    disk, compressed = containers.image_bytes(image)
    aws = {"TABLE_NAME": "items", "AWS_REGION": "eu-west-1"}
    rows = [
        ("First 200 after `docker run`, median", f"{statistics.median(starts):.0f} ms", "1,000 ms"),
        ("… fastest and slowest", f"{min(starts):.0f}–{max(starts):.0f} ms", ""),
        ("… of which `docker run` itself, median", f"{statistics.median(alone):.0f} ms", ""),
        ("Image on disk", f"{disk / 1e6:.0f} MB", "140 MB"),
        ("Image compressed", f"{compressed / 1e6:.0f} MB", ""),
        ("Idle memory, two workers", f"{idle_memory(image) / 1e6:.0f} MB", "90 MB"),
        ("Idle memory, two workers, `TABLE_NAME` set", f"{idle_memory(image, **aws) / 1e6:.0f} MB", ""),
    ]
    lines = [
        f"| {options.starts} starts, 2 CPUs | seen | aim |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    text = f"## Start, size, idle memory\n\n`python -m bench.start`, {figures.machine()}.\n\n" + "\n".join(lines) + "\n"
    print(text)
    if options.write:
        figures.write("start", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
