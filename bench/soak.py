"""Sends a mix of every verb, good and bad, for a long time, and compares the container's memory with that at the start.

    python -m bench.soak                        # 1,000,000 requests; into docs/figures.md
    python -m bench.soak --requests 200000      # fewer; prints its table only

Needs a Docker engine and wrk (Debian: apt-get install wrk). Ends with status 1 when the memory after the last request
is not within a tenth of that after the first tenth of them, or when a request was answered with 5xx or not at all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench import figures
from bench.peers import containers
from bench.peers.containers import Container
from tests.running import IMAGE, json_lines

SCRIPT = Path(__file__).with_name("soak.lua")
CONNECTIONS, SLICE_SECONDS, LARGE = 16, 5, 40_000
TROUBLE = ("warning", "error", "critical")
COGNITO = {
    "AWS_REGION": "eu-west-1",
    "COGNITO_USER_POOL_ID": "eu-west-1_soak",
    "COGNITO_CLIENT_ID": "soak",
    # nobody listens there: a token is refused before a key is looked for
    "COGNITO_JWKS_URL": "http://127.0.0.1:9/keys",
}


def send(address: str, sent: int, seconds: int) -> tuple[int, Counter[str]]:
    """Go on with the mix for so long: the requests sent by now, and how often each status was answered ("broken": none)."""
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "--timeout=10s",
        "-s",
        str(SCRIPT),
        f"http://{address}",
    ]
    done = subprocess.run([*command, "--", str(sent), str(LARGE)], capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode or not done.stdout.strip().endswith("}"):
        sys.exit(f"wrk: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    found = Counter(json.loads(done.stdout.splitlines()[-1]))
    return found.pop("sent"), +found


def run(container: Container, requests: int, first: int) -> tuple[dict[str, object], list[str]]:
    """What was seen, and what was wrong; the memory in the end is compared with that after the `first` requests."""
    answers: Counter[str] = Counter()
    sent = 0
    memory: list[tuple[int, int]] = []
    # and once more than that, however fast the machine is: there has to be something to compare
    while (count := answers.total()) < requests or len(memory) < 2:
        sent, found = send(container.address, sent, SLICE_SECONDS)
        answers += found
        memory.append((answers.total(), container.memory_bytes()))
        print(f"{answers.total():,} requests, {memory[-1][1] / 2**20:.1f} MiB", file=sys.stderr, flush=True)
        if answers.total() == count:
            return {}, ["nothing is answered any more"]
    begin = next(used for total, used in memory if total >= first)
    last = memory[-1][1]
    wrong = [f"{count} requests: {status}" for status, count in answers.items() if status >= "500"]
    if wrong:
        lines = json_lines(container.log())
        wrong += [str(line) for line in lines if line["level"] in TROUBLE or line.get("status", 0) >= 500][:20]
    if abs(last - begin) > 0.1 * begin:
        wrong.append(f"memory went from {begin} to {last} bytes")
    return {
        "requests": answers.total(),
        "answers": dict(sorted(answers.items())),
        f"memory after the first {first:,}": f"{begin / 2**20:.1f} MiB",
        "memory at the end": f"{last / 2**20:.1f} MiB ({last / begin:.2f}×)",
        "most memory": f"{max(used for _, used in memory) / 2**20:.1f} MiB",
    }, wrong


def start() -> Container:
    container = containers.start(IMAGE, environment={"WEB_CONCURRENCY": "2", **COGNITO})
    containers.wait_for_200(f"http://{container.address}/ping", container)
    return container


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    options = parser.parse_args()
    container = start()
    with containers.running({"soak": container}):
        seen, wrong = run(container, options.requests, options.requests // 10)
    text = figures.table("Soak", "make soak", seen)
    print(text)
    if options.requests >= 1_000_000 and not wrong:
        figures.write("soak", text)
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
