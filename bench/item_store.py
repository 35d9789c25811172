"""Compares SQLite and LMDB as the store that all workers share on /dev/shm; prints a Markdown table in two minutes.

python -m venv /tmp/venv && /tmp/venv/bin/pip install lmdb==3.0.0 && /tmp/venv/bin/python bench/item_store.py
"""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import lmdb
from lmdb.verify import verify

LIMIT = 32 * 2**20
SECONDS, ROUNDS, KILLS = 0.8, 3, 200
IDS = [str(uuid.UUID(int=random.Random(n).getrandbits(128))) for n in range(10_000)]
SMALL, LARGE = "x" * 100, "x" * 60_000


class Full(Exception):
    """The bound is reached."""


class Lmdb:
    name = "LMDB"

    def __init__(self, path: str) -> None:
        self.env = lmdb.open(
            path, map_size=LIMIT, sync=False, metasync=False, readahead=False, meminit=False,
            max_readers=1024, max_spare_txns=4,
        )  # fmt: skip

    def get(self, key: str) -> str | None:
        with self.env.begin() as transaction:
            value = transaction.get(key.encode())
        return None if value is None else value.decode()

    def put(self, key: str, value: str) -> None:
        self.write(lambda transaction: transaction.put(key.encode(), value.encode()))

    def delete(self, key: str) -> None:
        self.write(lambda transaction: transaction.delete(key.encode()))

    def write(self, action: Callable[[Any], object]) -> None:
        # pages that a killed reader held are freed only by a check for such readers
        with suppress(lmdb.MapFullError):
            return self.attempt(action)
        self.env.reader_check()
        try:
            self.attempt(action)
        except lmdb.MapFullError:
            raise Full from None

    def attempt(self, action: Callable[[Any], object]) -> None:
        with self.env.begin(write=True) as transaction:
            action(transaction)

    def damage(self) -> list[Any]:
        return list(verify(self.env.path()))  # type: ignore[no-untyped-call]


class Sqlite:
    """Whoever finds the log long empties it; whoever finds the store locked naps for 0.2 ms."""

    name = "SQLite"
    settings: tuple[str, ...] = "wal_autocheckpoint=0", "busy_timeout=0", f"journal_size_limit={2**20}"

    def __init__(self, path: str) -> None:
        self.path = f"{path}/items.db"
        self.log = Path(f"{path}/items.db-wal")
        self.local = threading.local()
        self.execute("CREATE TABLE IF NOT EXISTS item(id TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")

    def connection(self) -> sqlite3.Connection:
        if not hasattr(self.local, "connection"):
            self.local.connection = connection = sqlite3.connect(self.path, timeout=10, isolation_level=None)
            bound = f"max_page_count={LIMIT // 4096}"
            for setting in "journal_mode=WAL", "synchronous=OFF", "secure_delete=OFF", bound, *self.settings:
                connection.execute(f"PRAGMA {setting}")
        return self.local.connection  # type: ignore[no-any-return]

    def execute(self, statement: str, *parameters: str) -> list[tuple[str]]:
        while True:
            try:
                return self.connection().execute(statement, parameters).fetchall()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise Full from None
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            time.sleep(0.0002)

    def get(self, key: str) -> str | None:
        rows = self.execute("SELECT value FROM item WHERE id = ?", key)
        return rows[0][0] if rows else None

    def put(self, key: str, value: str) -> None:
        self.checkpoint()
        self.execute("INSERT OR REPLACE INTO item VALUES (?, ?)", key, value)

    def delete(self, key: str) -> None:
        self.checkpoint()
        self.execute("DELETE FROM item WHERE id = ?", key)

    def checkpoint(self) -> None:
        if self.log.stat().st_size > 2**20:
            self.execute("PRAGMA wal_checkpoint(RESTART)")

    def damage(self) -> list[Any]:
        return [row for row in self.execute("PRAGMA integrity_check") if row != ("ok",)]


class SqliteAsItComes(Sqlite):
    """Its own checkpoints after a commit; its own waits of 1, 2, 5, … 100 ms."""

    name = "SQLite, its own waits"
    settings = ("wal_autocheckpoint=256",)

    def checkpoint(self) -> None:
        pass


Engine = type[Lmdb] | type[Sqlite]


@contextmanager
def directory() -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="item-store-", dir="/dev/shm")
    try:
        yield path
    finally:
        shutil.rmtree(path)


def start(body: Callable[..., None], *arguments: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        body(*arguments)
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)


def join(pid: int) -> None:
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("a process failed, see above")


def loop(engine: Engine, path: str, result: Path, write: bool, threads: int, before: float) -> None:
    """Read or write for SECONDS in some threads, each time after `before` seconds of Python, as in a web worker."""
    store, latencies, stop = engine(path), list[float](), time.monotonic() + SECONDS

    def run() -> None:
        while time.monotonic() < stop:
            begun = time.thread_time()
            while before and time.thread_time() - begun < before:
                pass
            key, begun = random.choice(IDS), time.monotonic()
            if write:
                store.put(key, SMALL)
            else:
                store.get(key)
            latencies.append(time.monotonic() - begun)

    used = time.process_time()
    pool = [threading.Thread(target=run) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    result.write_text(json.dumps([time.process_time() - used, latencies]))


def speed(engine: Engine, write: bool, processes: int = 4, threads: int = 1, before: float = 0) -> dict[str, float]:
    with directory() as path, tempfile.TemporaryDirectory() as results:
        join(start(lambda: [engine(path).put(key, SMALL) for key in IDS]))  # type: ignore[arg-type]
        files = [Path(results, str(n)) for n in range(processes)]
        for pid in [start(loop, engine, path, file, write, threads, before) for file in files]:
            join(pid)
        found = [json.loads(file.read_text()) for file in files]
    latencies = sorted(latency * 1e6 for _, each in found for latency in each)
    of = "write" if write else "read"
    return {
        f"{of}s a second": len(latencies) / SECONDS,
        f"CPU a {of}, µs": sum(cpu for cpu, _ in found) / len(latencies) * 1e6 - before * 1e6,
        f"{of}, p50, µs": latencies[len(latencies) // 2],
        f"{of}, p99, µs": latencies[len(latencies) * 99 // 100],
        f"{of}, longest, µs": latencies[-1],
    }


def work(engine: Engine, path: str, log: Path, slot: int, inside: mmap.mmap) -> None:
    """Read (slot 3) or create and delete until killed; log what was acknowledged and how long it took."""
    store, mine, parent = engine(path), list[str](), os.getppid()
    with log.open("a", buffering=1) as acknowledged:
        while os.getppid() == parent:
            key, begun = str(uuid.uuid4()), time.monotonic()
            inside[slot] = 1
            if slot == 3:
                store.get(random.choice(IDS))
            elif len(mine) < 20:
                store.put(key, key * random.randrange(1, 60))
                mine.append(key)
            else:
                acknowledged.write(f"deleting {mine[0]} 0\n")
                store.delete(mine.pop(0))
            inside[slot] = 0
            acknowledged.write(f"{'created' if key in mine else 'other'} {key} {time.monotonic() - begun}\n")


def kills(engine: Engine) -> dict[str, str]:
    """Kill a writer (of three) or the reader, KILLS times; then look for all that was acknowledged."""
    inside, hits = mmap.mmap(-1, 4), 0
    with directory() as path, tempfile.TemporaryDirectory() as logs:
        pids = [start(work, engine, path, Path(logs, str(slot)), slot, inside) for slot in range(4)]
        for n in range(KILLS):
            time.sleep(random.uniform(0.01, 0.03))
            slot = n % 4
            os.kill(pids[slot], signal.SIGKILL)
            os.waitpid(pids[slot], 0)
            hits += inside[slot]
            inside[slot] = 0
            pids[slot] = start(work, engine, path, Path(logs, f"{slot}-{n}"), slot, inside)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        lines = [line.split(" ") for file in Path(logs).iterdir() for line in file.read_text().splitlines()]
        lines = [line for line in lines if len(line) == 3]
        kept = {line[1] for line in lines if line[0] == "created"} - {
            line[1] for line in lines if line[0] == "deleting"
        }
        store = engine(path)
        lost = [key for key in kept if not (store.get(key) or "").startswith(key)]
        return {
            f"killed inside an operation, of {KILLS}": f"{hits}",
            "— acknowledged items lost": f"{len(lost)} of {len(kept):,}",
            "— longest operation of the others, ms": f"{max(float(seconds) for *_, seconds in lines) * 1000:.0f}",
            "— damage found by its own checker": f"{len(store.damage()) or 'none'}",
            "— size afterwards": size(path),
        }


def size(path: str) -> str:
    return f"{sum(file.stat().st_blocks * 512 for file in Path(path).iterdir()) / 2**20:.1f} MiB"


def fill(store: Lmdb | Sqlite, value: str) -> list[str]:
    keys = list[str]()
    with suppress(Full):
        while True:
            store.put(key := str(uuid.uuid4()), value)
            keys.append(key)
    return keys


def remove(store: Lmdb | Sqlite, keys: list[str]) -> int:
    removed = 0
    for key in keys:
        with suppress(Full):
            store.delete(key)
            removed += 1
    return removed


def capacity(engine: Engine, what: str, value: str) -> dict[str, str]:
    with directory() as path:
        store = engine(path)
        keys = fill(store, value)
        tenth = len(keys) // 10
        rows = {f"{what} items that fit in 32 MiB": f"{len(keys):,} ({size(path)})"}
        rows[f"— {what}, full: a tenth of them deleted"] = f"{remove(store, keys[:tenth]):,} of {tenth:,}"
        rows[f"— {what}, then created again"] = f"{len(fill(store, value)):,}"
        if value == SMALL:
            remove(store, [key for n, key in enumerate(keys) if n % 10])
            rows["— 60 KB items that fit once nine tenths are deleted"] = f"{len(fill(store, LARGE)):,}"
        return rows


def main() -> None:
    engines: list[Engine] = [Sqlite, SqliteAsItComes, Lmdb]
    table: dict[str, list[str]] = {}
    speeds: dict[str, dict[str, list[float]]] = {}
    cases: list[tuple[str, dict[str, Any]]] = [
        ("4 processes: ", {"write": False}),
        ("4 processes: ", {"write": True}),
        (
            "2 processes of 4 threads, 300 µs of Python before each: ",
            {"write": True, "processes": 2, "threads": 4, "before": 3e-4},
        ),
    ]
    for _ in range(ROUNDS):
        for prefix, case in cases:
            for engine in engines:
                for row, figure in speed(engine, **case).items():
                    speeds.setdefault(prefix + row, {}).setdefault(engine.name, []).append(figure)
    for row, by_engine in speeds.items():
        table[row] = [f"{median(by_engine[engine.name]):,.{0 if 'CPU' not in row else 1}f}" for engine in engines]
    for engine in engines:
        texts = kills(engine) | capacity(engine, "100 B", SMALL) | capacity(engine, "60 KB", LARGE)
        for row, text in texts.items():
            table.setdefault(row, []).append(text)
    print("| | " + " | ".join(engine.name for engine in engines) + " |")
    print("|---|" + "---:|" * len(engines))
    for row, cells in table.items():
        print(f"| {row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
