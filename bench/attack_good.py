"""A client that behaves: a steady number of requests a second, half of them on connections of their own;
`python -m bench.attack_good 8080 10` prints the latencies in seconds as JSON, by collection.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ITEM = json.dumps({"title": "good", "content": "x" * 500}).encode()
HOST = "Host: localhost\r\n"
PUT_HEADERS = f"{HOST}Content-Type: application/json\r\nContent-Length: {len(ITEM)}\r\n"


@dataclass(frozen=True)
class Request:
    """One request; on a new connection if `alone`, otherwise on one that is kept."""

    method: str
    path: str
    alone: bool

    @property
    def collection(self) -> str:
        return "/" + self.path.split("/")[1]

    @property
    def text(self) -> bytes:
        headers, body = (PUT_HEADERS, ITEM) if self.method == "PUT" else (HOST, b"")
        return f"{self.method} {self.path} HTTP/1.1\r\n{headers}\r\n".encode() + body


class GoodClient:
    """Sends the requests in turn, `rate` a second, whether or not the earlier ones have been answered."""

    def __init__(self, port: int, requests: list[Request], rate: float, timeout: float) -> None:
        self.port, self.requests, self.rate, self.timeout = port, requests, rate, timeout
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.latencies: defaultdict[str, list[float]] = defaultdict(list)
        self.failures: list[str] = []

    async def run(self, until: Callable[[], bool]) -> None:
        """Go on until `until()` is true, then wait for the answers."""
        tasks = []
        due = time.monotonic()
        while not until():
            request = self.requests[len(tasks) % len(self.requests)]
            tasks.append(asyncio.create_task(self.measure(request)))
            due += 1 / self.rate
            await asyncio.sleep(max(0, due - time.monotonic()))
        await asyncio.gather(*tasks)
        for _, writer in self.idle:
            writer.close()

    async def measure(self, request: Request) -> None:
        begin = time.monotonic()
        try:
            status = await asyncio.wait_for(self.send(request), self.timeout)
        except (OSError, EOFError, TimeoutError) as error:
            self.failures.append(type(error).__name__)
            return
        if status in (b"200", b"201"):
            self.latencies[request.collection].append(time.monotonic() - begin)
        else:
            self.failures.append(status.decode())

    async def send(self, request: Request) -> bytes:
        """The answer's status."""
        if request.alone or not self.idle:
            connection = await asyncio.open_connection("127.0.0.1", self.port)
        else:
            connection = self.idle.pop()
        reader, writer = connection
        try:
            writer.write(request.text)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
        except BaseException:
            writer.close()
            raise
        if request.alone:
            writer.close()
        else:
            self.idle.append(connection)
        return head[9:12]


def mix(path: str, database: bool) -> list[Request]:
    """Health checks, reads and writes, alone and on kept connections."""
    requests = [
        Request("GET", "/ping", True),
        Request("GET", path, False),
        Request("PUT", "/item", True),
        Request("GET", path, True),
        Request("PUT", "/item", False),
    ]
    if database:
        item = f"/db-item/{uuid.uuid4()}"
        requests += [Request("GET", item, False), Request("PUT", "/db-item", False), Request("GET", item, True)]
    return requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--path", default="/item")
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--timeout", type=float, default=5, help="seconds after which a request has failed")
    parser.add_argument(
        "--database", action="store_true", help="/db-item too; for one that has every item (bench/peers)"
    )
    parser.add_argument("--reads-only", action="store_true", help="for an application that has no items")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    requests = mix(options.path, options.database)
    if options.reads_only:
        requests = [Request("GET", options.path, True)]
    client = GoodClient(options.port, requests, options.rate, options.timeout)
    asyncio.run(client.run(lambda: time.monotonic() > end))
    result: dict[str, Any] = {"latencies": client.latencies, "failures": client.failures}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
