"""A client that behaves: a steady number of requests a second, half of them on connections of their own, each with its
latency; `python -m bench.attack_good 8080 10` prints them as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

ITEM = json.dumps({"title": "good", "content": "x" * 500}).encode()
PUT = b"PUT /item HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(ITEM),
    ITEM,
)
GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
Request = tuple[bytes, bool]


class GoodClient:
    """Sends the requests in turn, `rate` a second, whether or not the earlier ones have been answered."""

    def __init__(self, port: int, requests: list[Request], rate: float, timeout: float) -> None:
        self.port, self.requests, self.rate, self.timeout = port, requests, rate, timeout
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.latencies: list[float] = []
        self.failures: list[str] = []

    async def run(self, until: Callable[[], bool]) -> None:
        """Go on until `until()` is true, then wait for the answers."""
        tasks = []
        due = time.monotonic()
        while not until():
            request, alone = self.requests[len(tasks) % len(self.requests)]
            tasks.append(asyncio.create_task(self.measure(request, alone)))
            due += 1 / self.rate
            await asyncio.sleep(max(0, due - time.monotonic()))
        await asyncio.gather(*tasks)
        for _, writer in self.idle:
            writer.close()

    async def measure(self, request: bytes, alone: bool) -> None:
        begin = time.monotonic()
        try:
            status = await asyncio.wait_for(self.send(request, alone), self.timeout)
        except (OSError, EOFError, TimeoutError) as error:
            self.failures.append(type(error).__name__)
            return
        if status in (b"200", b"201"):
            self.latencies.append(time.monotonic() - begin)
        else:
            self.failures.append(status.decode())

    async def send(self, request: bytes, alone: bool) -> bytes:
        """The status; the connection is a new one if `alone`, otherwise kept."""
        if alone or not self.idle:
            connection = await asyncio.open_connection("127.0.0.1", self.port)
        else:
            connection = self.idle.pop()
        reader, writer = connection
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
        except BaseException:
            writer.close()
            raise
        if alone:
            writer.close()
        else:
            self.idle.append(connection)
        return head[9:12]


def mix(path: str) -> list[Request]:
    """Health checks, reads and writes, alone and on kept connections."""
    return [
        (GET % b"/ping", True),
        (GET % path.encode(), False),
        (PUT, True),
        (GET % path.encode(), True),
        (PUT, False),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--path", default="/item")
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--timeout", type=float, default=5, help="seconds after which a request has failed")
    parser.add_argument("--reads-only", action="store_true", help="for an application that has no items")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    requests = [(GET % options.path.encode(), True)] if options.reads_only else mix(options.path)
    client = GoodClient(options.port, requests, options.rate, options.timeout)
    asyncio.run(client.run(lambda: time.monotonic() > end))
    result: dict[str, Any] = {"latencies": client.latencies, "failures": client.failures}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
