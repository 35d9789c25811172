"""Kills processes of the running service at random under load, and checks that nothing is lost and everything is back.

    python -m bench.chaos                           # 200 kills in 10 minutes; into docs/figures.md
    python -m bench.chaos --kills 10 --seconds 15   # what CI runs
    python -m bench.chaos --image                   # the image instead of processes; needs a Docker engine, and root

Ends with status 1 when a request got neither an answer nor a connection error that a client may retry, when an item
that was answered with 201 is not there or not as it was left, or when a process, a descriptor or memory stays behind.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import statistics
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

from bench import figures
from tests.running import Container, Running, Stack, wait_for

CLIENTS, PAUSE_SECONDS = 8, 0.02
# a client that waits longer than Nginx does for the application has been forgotten
TIMEOUT_SECONDS = 40
# entrypoint ends the container after 10 exits of a program within a minute: that is what it is for
MASTER_KILLS, WITHIN_SECONDS = 8, 60
SIZES = (20, 200, 2_000, 60_000)
# of a client; all of them together stay below ITEM_STORE_SIZE
MOST_ITEMS = 150


class Client(threading.Thread):
    """Creates, reads, updates and deletes items of its own, and knows what each has to be."""

    def __init__(self, port: int, seed: int, until: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.until, self.random = port, until, random.Random(seed)
        self.connection: http.client.HTTPConnection | None = None
        # what may be in the store: more than one possibility after a write without an answer, None for "not there"
        self.items: dict[str, set[str | None]] = {}
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.until.wait(PAUSE_SECONDS):
            action = self.random.choice((self.create, self.read, self.read, self.update, self.delete))
            try:
                action()
            except Exception as error:
                self.wrong.append(f"{action.__name__}: {type(error).__name__}: {error}")
                self.close()
        self.close()

    def create(self) -> None:
        if len(self.items) > MOST_ITEMS:
            return
        id, content = str(uuid.UUID(int=self.random.getrandbits(128), version=4)), self.text()
        self.items[id] = {None}
        self.write("PUT", id, content, {201, 200})

    def update(self) -> None:
        self.write("POST", self.any(), self.text(), {200})

    def delete(self) -> None:
        self.write("DELETE", self.any(), None, {204})

    def write(self, method: str, id: str | None, content: str | None, good: set[int]) -> None:
        if id is None:
            return
        body = None if content is None else {"title": "chaos", "content": content}
        status, _ = self.send(method, f"/item/{id}", body)
        if status in good:
            self.items[id] = {content}
            if content is None and self.random.random() < 0.9:
                # some are remembered, to see that they do not come back
                del self.items[id]
        elif status == 404 and None in self.items[id]:
            self.items[id] = {None}
        elif status is None or status in (502, 503, 504):
            self.items[id] |= {content}
        else:
            self.wrong.append(f"{method} {id}: {status}, expected {good}")

    def read(self) -> None:
        id = self.any()
        if id:
            self.check(id)

    def check(self, id: str) -> bool:
        """Whether there was an answer; what it says is compared with what may be."""
        status, answer = self.send("GET", f"/item/{id}")
        if status not in (200, 404):
            return False
        found = answer["content"] if status == 200 else None
        if found not in self.items[id]:
            self.wrong.append(f"GET {id}: {status} {found and len(found)}, which is none of {len(self.items[id])}")
        self.items[id] = {found}
        return True

    def any(self) -> str | None:
        return self.random.choice(list(self.items)) if self.items else None

    def text(self) -> str:
        return f"{self.random.getrandbits(64):016x}" * (self.random.choice(SIZES) // 16 + 1)

    def send(self, method: str, path: str, body: object = None) -> tuple[int | None, dict]:
        """The status and the JSON of an answer, None after a connection error that a client may retry."""
        self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            self.connection.request(method, path, json.dumps(body) if body else None, headers)
            response = self.connection.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected, http.client.CannotSendRequest) as error:
            # refused, reset or closed before the first byte of an answer
            self.outcomes[type(error).__name__] += 1
            self.close()
            return None, {}
        # from here on an answer has to be whole: IncompleteRead, a time-out or no JSON is wrong
        data = response.read()
        self.outcomes[str(response.status)] += 1
        if response.getheader("Connection") == "close":
            self.close()
        try:
            return response.status, json.loads(data) if data else {}
        except ValueError:
            raise ValueError(f"status {response.status} with no JSON: {data[:200]!r}") from None

    def close(self) -> None:
        if self.connection:
            self.connection.close()
            self.connection = None


def role(process: dict, first: int) -> str:
    """What a process of the service is: "gunicorn master", "nginx worker" …"""
    program = "nginx" if "nginx" in process["argv"] else "gunicorn"
    return f"{program} {'master' if process['ppid'] == first else 'worker'}"


def first_pid(running: Running) -> int:
    return running.process.pid if isinstance(running, Stack) else int(running.inspect("State.Pid"))


def kill(processes: list[dict], first: int, history: list[tuple[float, str]], chance: random.Random) -> str | None:
    """Kill one process and say which; None when there is none that may be killed now."""
    recent = Counter(what for when, what in history if when > time.monotonic() - WITHIN_SECONDS)
    candidates = [
        process
        for process in processes
        if "worker" in role(process, first) or recent[role(process, first)] < MASTER_KILLS
    ]
    if not candidates:
        return None
    killed = {what for _, what in history}
    # one of each comes first, so that few kills miss none
    victim = chance.choice([process for process in candidates if role(process, first) not in killed] or candidates)
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim["pid"], signal.SIGKILL)
    return role(victim, first)


def state(running: Running) -> dict[str, object]:
    """What has to be the same before and after: processes, descriptors of those that live long, memory."""
    first = first_pid(running)
    processes = running.processes()
    descriptors = {
        what: len(list(Path(f"/proc/{pid}/fd").iterdir()))
        for what, pid in [("entrypoint", first)]
        + [(role(process, first), process["pid"]) for process in processes if "master" in role(process, first)]
    }
    return {
        "processes": dict(sorted(Counter(role(process, first) for process in processes).items())),
        "zombies": [process for process in processes if process["state"] == "Z"],
        "descriptors": descriptors,
        "memory": sum(pss(process["pid"]) for process in processes) + pss(first),
    }


def pss(pid: int) -> int:
    """A process's share of the memory in use, in bytes, without what it maps from files."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon"))


def run(running: Running, kills: int, seconds: float, seed: int) -> tuple[dict, list[str]]:
    """What was seen, and what was wrong."""
    first, chance = first_pid(running), random.Random(seed)
    until, wrong = threading.Event(), []
    clients = [Client(running.port, seed * 100 + number, until) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    # as much as there will be afterwards: every thread of every worker has run
    wait_for(lambda: all(sum(client.outcomes.values()) > 100 for client in clients), 60, "the load runs")
    before = state(running)
    history: list[tuple[float, str]] = []
    back: list[float] = []
    begin = time.monotonic()
    while len(history) < kills:
        due = begin + seconds * (len(history) + chance.random()) / kills
        threading.Event().wait(max(0, due - time.monotonic()))
        what = kill(running.processes(), first, history, chance)
        if what:
            history.append((time.monotonic(), what))
            with contextlib.suppress(AssertionError):
                wait_for(lambda: running.answers() and shape(running) == before["processes"], 10)
            back.append(time.monotonic() - history[-1][0])
            print(f"{len(history):4} {what:16} back after {back[-1] * 1000:5.0f} ms", file=sys.stderr, flush=True)
    until.set()
    for client in clients:
        client.join(2 * TIMEOUT_SECONDS)
    wrong += [f"{sum(client.is_alive() for client in clients)} clients still wait"] * any(c.is_alive() for c in clients)
    for client in clients:
        for id in list(client.items):
            if not client.check(id):
                wrong.append(f"GET {id} had no answer when all was over")
        wrong += client.wrong
    with contextlib.suppress(AssertionError):
        wait_for(lambda: state(running) | {"memory": 0} == before | {"memory": 0}, 10)
    after = state(running)
    wrong += [
        f"{key}: {before[key]} became {after[key]}" for key in before if key != "memory" and before[key] != after[key]
    ]
    if after["memory"] > before["memory"] * 1.15 + 2 * 2**20:
        wrong.append(f"memory: {before['memory']} became {after['memory']}")
    outcomes = sum((client.outcomes for client in clients), Counter())
    return {
        "kills": dict(Counter(what for _, what in history).most_common()),
        "seconds": round(time.monotonic() - begin),
        "requests": sum(outcomes.values()),
        "outcomes": dict(outcomes.most_common()),
        "items at the end": sum(values != {None} for client in clients for values in client.items.values()),
        "back after, median and worst (ms)": (round(statistics.median(back) * 1000), round(max(back) * 1000)),
        "memory before and after (MB)": (round(before["memory"] / 1e6, 1), round(after["memory"] / 1e6, 1)),
        "descriptors before and after": (before["descriptors"], after["descriptors"]),
    }, wrong


def shape(running: Running) -> dict[str, int]:
    first = first_pid(running)
    return dict(sorted(Counter(role(process, first) for process in running.processes()).items()))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--image", action="store_true")
    options = parser.parse_args(arguments)
    running: Running = Container(host=True, WEB_CONCURRENCY="2") if options.image else Stack()
    try:
        running.wait_ready()
        seen, wrong = run(running, options.kills, options.seconds, options.seed)
        status = running.stop()
        if status != 0:
            wrong.append(f"the stop ended with status {status}")
    finally:
        running.remove()
    text = figures.table("Random kills", "make chaos", {"seed": str(options.seed)} | seen | {"wrong": len(wrong)})
    print(text)
    for line in wrong[:50]:
        print(line, file=sys.stderr)
    if options.kills >= 200 and not wrong:
        figures.write("chaos", text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
