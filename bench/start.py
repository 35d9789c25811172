"""Measures a start, the image's size and its idle memory, and prints a Markdown table.

    docker build -t tinystacks/flask-crud-app:latest . && python -m bench.start

Needs a Docker engine whose files are on this machine, with cgroups v1 or v2. A start is the time from `docker run` to the
first 200 from /ping, with `docker run`'s own work for a container that does nothing beside it.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import figures
from tests.running import IMAGE, Container, docker, free_port, wait_for

SETTLE_SECONDS = 10


def first_answer(image: str, *options: str) -> float:
    """Milliseconds from `docker run` to the first 200."""
    port = free_port()
    begin = time.monotonic()
    run = subprocess.Popen(
        ["docker", "run", "-d", "-p", f"127.0.0.1:{port}:80", *options, image], stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: answers(port), 30, "the container answers")
    milliseconds = (time.monotonic() - begin) * 1000
    docker("rm", "-f", run.communicate()[0].strip())
    return milliseconds


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def docker_alone(image: str) -> float:
    """Milliseconds that `docker run` takes for a container that ends at once."""
    begin = time.monotonic()
    docker("run", "--rm", "--entrypoint", "true", image)
    return (time.monotonic() - begin) * 1000


def compressed(image: str) -> int:
    """Bytes that a registry stores and a pull transfers, about."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        gzip = subprocess.Popen(["gzip", "-6"], stdin=save.stdout, stdout=subprocess.PIPE)
        assert gzip.stdout
        size = 0
        while piece := gzip.stdout.read(2**20):
            size += len(piece)
        return size


def idle_memory(image: str, *options: str) -> int:
    """Bytes that the container's cgroup has in use, without the file cache, some seconds after the start."""
    running = Container("-e", "WEB_CONCURRENCY=2", *options, image=image)
    try:
        running.wait_ready()
        time.sleep(SETTLE_SECONDS)
        pid = running.inspect("State.Pid")
        return in_use(Path(f"/proc/{pid}/cgroup").read_text())
    finally:
        running.remove()


def in_use(cgroups: str) -> int:
    """Anonymous and shared memory, and the kernel's, of the cgroup that a /proc/…/cgroup file names."""
    paths = {fields[1]: fields[2] for line in cgroups.splitlines() if (fields := line.split(":", 2))}
    root = Path("/sys/fs/cgroup")
    if "memory" in paths:
        directory = root / "memory" / paths["memory"].lstrip("/")
        stat = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        kernel = int((directory / "memory.kmem.usage_in_bytes").read_text())
        return int(stat["total_rss"]) + int(stat.get("total_shmem", 0)) + kernel
    stat = dict(line.split() for line in (root / paths[""].lstrip("/") / "memory.stat").read_text().splitlines())
    return int(stat["anon"]) + int(stat["shmem"]) + int(stat.get("kernel", 0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=IMAGE)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="into docs/figures.md")
    options = parser.parse_args()
    image = options.image
    docker_alone(image)
    starts = [first_answer(image) for _ in range(options.starts)]
    alone = [docker_alone(image) for _ in range(options.starts)]
    aws = ("-e", "TABLE_NAME=items", "-e", "AWS_REGION=eu-west-1")
    rows = [
        ("First 200 after `docker run`, median", f"{statistics.median(starts):.0f} ms", "1,000 ms"),
        ("… fastest and slowest", f"{min(starts):.0f}–{max(starts):.0f} ms", ""),
        ("… of which `docker run` itself, median", f"{statistics.median(alone):.0f} ms", ""),
        ("Image on disk", f"{int(docker('inspect', '-f', '{{.Size}}', image)) / 1e6:.0f} MB", "140 MB"),
        ("Image compressed", f"{compressed(image) / 1e6:.0f} MB", ""),
        ("Idle memory, two workers", f"{idle_memory(image) / 1e6:.0f} MB", "90 MB"),
        ("Idle memory, two workers, `TABLE_NAME` set", f"{idle_memory(image, *aws) / 1e6:.0f} MB", ""),
    ]
    lines = [f"| {options.starts} starts | seen | aim |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    text = f"## Start, size, idle memory\n\n`python -m bench.start`, {figures.machine()}.\n\n" + "\n".join(lines) + "\n"
    print(text)
    if options.write:
        figures.write("start", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
