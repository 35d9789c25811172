"""The in-memory store: shared by processes and threads, bounded, and unharmed by whoever is killed or has no room."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from app.stores import Condition, ConditionFailed, Item, NotFound, StoreFull, StoreUnavailable, memory, new_version
from app.stores.memory import OVERHEAD_BYTES, MemoryStore

ANY = Condition()
LIMIT = 2 * 1024 * 1024


@pytest.fixture
def directory(store_directory: str) -> Path:
    return Path(store_directory)


@pytest.fixture
def store(directory: Path) -> MemoryStore:
    return MemoryStore(directory, LIMIT)


def item(content: str = "content", id: str | None = None) -> Item:
    return Item(id or str(uuid.uuid4()), "title", content, new_version())


def size(directory: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in directory.iterdir())


def intact(directory: Path) -> bool:
    with closing(sqlite3.connect(directory / "items.db", timeout=10)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def everything(store: MemoryStore, owner: str) -> list[Item]:
    page = store.page(owner, 100, None)
    items = page.items
    while page.next:
        page = store.page(owner, 100, page.next)
        items += page.items
    return items


def fill(store: MemoryStore, content: str) -> list[Item]:
    items: list[Item] = []
    with suppress(StoreFull):
        while True:
            items.append(store.create("me", item(content)))
            assert len(items) * len(content) < 16 * LIMIT
    return items


def start(body: Callable[[], object]) -> int:
    """Run `body` in a child process, which ends with status 0 if it returns and is killed after 20 seconds."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        body()
        status = 0
    finally:
        os._exit(status)


def join(*pids: int) -> None:
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def in_threads(count: int, body: Callable[[], object]) -> None:
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(body) for _ in range(count)]:
            future.result()


def test_new_ids_are_different_and_in_the_order_of_time(store):
    before = time.time_ns() // 1_000_000
    ids = [uuid.UUID(store.new_id()) for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1000
    assert {(id.version, id.variant) for id in ids} == {(7, uuid.RFC_4122)}
    times = [id.int >> 80 for id in ids]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after


@pytest.mark.parametrize("text", ["", "x" * 65_536, "\U0001f40d" * 65_536, "a\0b", "'; DROP TABLE item; --"])
def test_item_comes_back_as_it_was(store: MemoryStore, text: str) -> None:
    created = store.create("me", item(text))
    assert store.read("me", created.id) == created


def test_taken_id_keeps_its_item(store: MemoryStore) -> None:
    first = store.create("me", item("first"))
    assert store.create("me", item("second", id=first.id)) == first
    assert store.read("me", first.id) == first


def test_owners_do_not_see_each_others_items(store: MemoryStore) -> None:
    mine = store.create("me", item("mine"))
    yours = store.create("you", item("yours", id=mine.id))
    store.create("m", item())
    store.delete("you", mine.id, ANY)
    assert everything(store, "me") == [mine]
    assert store.read("you", yours.id) is None
    with pytest.raises(NotFound):
        store.update("you", mine.id, {"title": "new"}, ANY)


def test_pages_have_every_item_once_in_the_order_of_ids(store: MemoryStore) -> None:
    ids = sorted(store.create("me", item()).id for _ in range(10))
    store.create("you", item())
    assert [found.id for found in store.page("me", 10, None).items] == ids
    assert store.page("me", 10, None).next is None
    first = store.page("me", 4, None)
    assert ([found.id for found in first.items], first.next) == (ids[:4], ids[3])
    assert [found.id for found in store.page("me", 100, first.next).items] == ids[4:]
    store.delete("me", ids[3], ANY)
    assert [found.id for found in store.page("me", 100, first.next).items] == ids[4:]


@pytest.mark.parametrize("changes", [{"title": "new"}, {"content": ""}, {"title": "new", "content": "new"}])
def test_update_changes_what_is_given_and_the_version(store: MemoryStore, changes: dict[str, str]) -> None:
    old = store.create("me", item())
    new = store.update("me", old.id, changes, ANY)
    assert new.version != old.version
    assert new == replace(old, version=new.version, **changes)
    assert store.read("me", old.id) == new


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Condition(), True),
        (Condition(match=frozenset({7, 2**62 - 1})), True),
        (Condition(match=frozenset({2**62 - 2, 2**70})), False),
        (Condition(match=frozenset()), False),
        (Condition(none_match=frozenset({2**62 - 1})), False),
        (Condition(none_match=frozenset({7})), True),
        (Condition(none_match=frozenset()), True),
        (Condition(match=frozenset({2**62 - 1}), none_match=frozenset({2**62 - 1})), False),
    ],
)
@pytest.mark.parametrize("method", ["update", "delete"])
def test_write_goes_ahead_when_its_condition_holds(
    store: MemoryStore, method: str, condition: Condition, holds: bool
) -> None:
    old = store.create("me", Item(str(uuid.uuid4()), "title", "content", 2**62 - 1))

    def write() -> None:
        if method == "update":
            store.update("me", old.id, {"title": "new"}, condition)
        else:
            store.delete("me", old.id, condition)

    if holds:
        write()
        assert store.read("me", old.id) != old
    else:
        with pytest.raises(ConditionFailed):
            write()
        assert store.read("me", old.id) == old


def test_write_of_what_is_not_there_is_not_found(store: MemoryStore) -> None:
    for condition in ANY, Condition(match=frozenset({1})):
        with pytest.raises(NotFound):
            store.update("me", str(uuid.uuid4()), {"title": "new"}, condition)
        with pytest.raises(NotFound):
            store.delete("me", str(uuid.uuid4()), condition)


def test_no_conditional_update_of_threads_and_processes_is_lost(store: MemoryStore) -> None:
    id = store.create("me", item("0")).id

    def count() -> None:
        done = 0
        while done < 25:
            seen = store.read("me", id)
            assert seen
            with suppress(ConditionFailed):
                only = Condition(match=frozenset({seen.version}))
                store.update("me", id, {"content": str(int(seen.content) + 1)}, only)
                done += 1

    join(*[start(lambda: in_threads(4, count)) for _ in range(3)])
    assert (found := store.read("me", id)) and found.content == str(3 * 4 * 25)


def test_one_of_many_creators_of_an_id_wins(store: MemoryStore, directory: Path) -> None:
    ids = [str(uuid.uuid4()) for _ in range(50)]

    def create(mark: str) -> None:
        mine = [new for new in (item(mark, id) for id in ids) if store.create("me", new).version == new.version]
        (directory / mark).write_text("\n".join(new.id for new in mine))

    join(*[start(lambda: create("a")), start(lambda: create("b")), start(lambda: create("c"))])
    winners = {mark: (directory / mark).read_text().split() for mark in "abc"}
    assert sorted(winners["a"] + winners["b"] + winners["c"]) == sorted(ids)
    assert all(found.id in winners[found.content] for found in everything(store, "me"))


def write_without_end(store: MemoryStore, log: Path) -> None:
    """Create, update and delete items of all sizes; log each id once its item is there, and again before it goes."""
    mine: list[str] = []
    with log.open("a", buffering=1) as acknowledged:
        while True:
            begun = time.monotonic()
            if len(mine) < 5:
                mine.append(store.create("me", item("x" * random.choice([10, 3_000, 60_000]))).id)
                acknowledged.write(f"created {mine[-1]} {time.monotonic() - begun}\n")
            else:
                store.update("me", mine[1], {"content": "y" * random.choice([10, 60_000])}, ANY)
                acknowledged.write(f"deleting {mine[0]} {time.monotonic() - begun}\n")
                store.delete("me", mine.pop(0), ANY)


def test_killed_workers_lose_no_item_and_hold_up_nobody(directory: Path, tmp_path: Path) -> None:
    store = MemoryStore(directory, 32 * LIMIT)

    def worker(n: int) -> int:
        return start(lambda: write_without_end(store, tmp_path / str(n)))

    workers = [worker(n) for n in range(3)]
    with longest_pause() as pause:
        for n in range(3, 63):
            log = tmp_path / str(n - 3)
            wait_for(lambda log=log: log.exists() and log.stat().st_size > random.randrange(2_000))  # type: ignore[misc]
            kill(workers.pop(0))
            workers.append(worker(n))
        for pid in workers:
            kill(pid)

    lines = [line.split(" ") for log in tmp_path.iterdir() for line in log.read_text().splitlines()]
    created, deleting = ({line[1] for line in lines if line[0] == word} for word in ("created", "deleting"))
    assert len(created - deleting) > 200
    assert created - deleting <= {found.id for found in everything(store, "me")}
    assert max(float(line[2]) for line in lines if len(line) == 3) < 1 + 2 * pause()
    assert intact(directory)


@contextmanager
def longest_pause() -> Iterator[Callable[[], float]]:
    """For how long this machine let nobody go on, as a thread sees it that waits for nobody."""
    over, longest = threading.Event(), 0.0

    def look() -> None:
        nonlocal longest
        seen = time.monotonic()
        while not over.wait(0.001):
            seen, before = time.monotonic(), seen
            longest = max(longest, seen - before)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: longest
    finally:
        over.set()
        thread.join()


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_full_store_refuses_growth_and_does_all_else(store: MemoryStore, directory: Path) -> None:
    for content in ("x" * 60_000, "x" * 3_000, "x" * 100):
        fill(store, content)
    items = everything(store, "me")
    assert len(items) > 30
    assert size(directory) <= LIMIT + OVERHEAD_BYTES
    large = next(found for found in items if len(found.content) == 60_000)

    with pytest.raises(StoreFull):
        store.create("me", item("x" * 60_000))
    with pytest.raises(StoreFull):
        store.update("me", items[0].id, {"content": "x" * 200_000}, ANY)
    assert store.create("me", item(id=large.id)) == large
    assert everything(store, "me") == items

    shrunk = store.update("me", large.id, {"content": "small"}, ANY)
    assert store.read("me", large.id) == shrunk
    store.create("me", item("x" * 50_000))
    for found in items:
        store.delete("me", found.id, ANY)
    assert len(fill(store, "x" * 60_000)) > 20
    assert size(directory) <= LIMIT + OVERHEAD_BYTES


def test_writers_of_many_processes_keep_to_the_bound(store: MemoryStore, directory: Path) -> None:
    join(*[start(lambda: in_threads(3, lambda: fill(store, "x" * 60_000))) for _ in range(3)])
    assert size(directory) <= LIMIT + OVERHEAD_BYTES
    assert len(everything(store, "me")) > 30
    assert intact(directory)


@pytest.mark.parametrize("length", [100, 60_000])
def test_turnover_uses_nothing_up(store: MemoryStore, length: int) -> None:
    fill(store, "x" * length)
    gone = everything(store, "me")[::2]
    for found in gone:
        store.delete("me", found.id, ANY)
    for _ in range(5 * LIMIT // (length + 1_000)):
        id = store.create("me", item("x" * length)).id
        store.update("me", id, {"content": "y" * length}, ANY)
        store.delete("me", id, ANY)
    assert len(fill(store, "x" * length)) > len(gone) * 0.5


def hold_snapshot(directory: Path, ready: int) -> None:
    """Be a reader that never finishes."""
    connection = sqlite3.connect(directory / "items.db", isolation_level=None)
    cursor = connection.execute("SELECT * FROM item")
    cursor.fetchone()
    os.write(ready, b".")
    signal.pause()


def test_stuck_reader_costs_writes_not_memory_until_it_is_killed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "PATIENCE_SECONDS", 0.2)
    store = MemoryStore(directory, LIMIT)
    kept = [store.create("me", item("x" * 3_000)) for _ in range(50)]
    read_end, write_end = os.pipe()
    reader = start(lambda: hold_snapshot(directory, write_end))
    os.close(write_end)
    assert os.read(read_end, 1)
    try:
        with pytest.raises(StoreUnavailable) as raised:
            for _ in range(10_000):
                store.update("me", kept[0].id, {"title": "new"}, ANY)
        assert raised.value.retry_after
        # until then its log may be twice as long
        assert (directory / "items.db-wal").stat().st_size > 2 * memory.LOG_BYTES
        assert size(directory) <= LIMIT + OVERHEAD_BYTES
        assert everything(store, "me")[0].id == min(found.id for found in kept)
    finally:
        kill(reader)
    for _ in range(1_000):
        store.update("me", kept[0].id, {"title": "new"}, ANY)
    assert size(directory) <= LIMIT + OVERHEAD_BYTES


def test_stuck_writer_costs_others_a_refusal(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PATIENCE_SECONDS", 0.2)
    store = MemoryStore(directory, LIMIT)
    created = store.create("me", item())

    def use() -> None:
        with closing(sqlite3.connect(directory / "items.db", isolation_level=None)) as stuck:
            stuck.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable) as raised:
                store.delete("me", created.id, ANY)
            assert raised.value.retry_after
            assert store.read("me", created.id) == created
        store.delete("me", created.id, ANY)

    join(start(use))


@pytest.mark.parametrize("name", ["BUSY", "BUSY_RECOVERY", "BUSY_SNAPSHOT", "PROTOCOL"])
def test_what_is_over_soon_is_waited_for(name: str) -> None:
    """Another process that puts the file in order after one was killed, for example."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{name}")
    refusals = [error, error]

    class Connection(sqlite3.Connection):
        def execute(self, *arguments: object) -> sqlite3.Cursor:
            if refusals:
                raise refusals.pop()
            return super().execute(*arguments)

    with closing(sqlite3.connect(":memory:", factory=Connection)) as connection:
        assert memory._execute(connection, "SELECT 1")[0] == [(1,)]


def test_child_of_a_process_that_used_the_store_uses_it_by_itself(store: MemoryStore, directory: Path) -> None:
    to_child, from_child = os.pipe(), os.pipe()

    def child() -> None:
        store.create("me", item("second"))
        os.write(from_child[1], b".")
        os.read(to_child[0], 1)
        store.create("me", item("third"))

    def parent() -> None:
        store.create("me", item("first"))
        start(child)

    join(start(parent))
    os.close(from_child[1])
    assert os.read(from_child[0], 1)
    # another process comes and goes; if it took itself for the last one, it would remove the log that the child uses
    other = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('DELETE FROM item WHERE id = 0')"
    subprocess.run([sys.executable, "-c", other, directory / "items.db"], check=True)
    os.write(to_child[1], b".")
    assert os.read(from_child[0], 1) == b"", "the child has not ended"
    assert {found.content for found in everything(store, "me")} == {"first", "second", "third"}
    assert intact(directory)


def test_fork_amid_the_operations_of_other_threads_is_safe(store: MemoryStore, directory: Path) -> None:
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            store.delete("me", store.create("me", item("x" * 5_000)).id, ANY)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            join(start(lambda: [store.create("you", item()) for _ in range(5)]))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert (len(everything(store, "me")), len(everything(store, "you"))) == (0, 100)
    assert intact(directory)


@pytest.fixture
def small_file_system(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 8 MiB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def exhaust(path: Path) -> None:
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_full_file_system_costs_the_requests_that_need_it(small_file_system: Path) -> None:
    store = MemoryStore(small_file_system, 64 * LIMIT)
    items = [store.create("me", item("x" * 10_000)) for _ in range(200)]
    others = small_file_system / "of others"

    def use() -> None:
        store.read("me", items[0].id)
        exhaust(others)
        with pytest.raises(StoreFull):
            store.create("me", item())
        assert sorted(everything(store, "me"), key=lambda each: each.id) == sorted(items, key=lambda each: each.id)
        others.unlink()
        store.create("me", item())

    # in a process of its own: a store that maps files would end it with SIGBUS
    join(start(use))
    assert intact(small_file_system)
    assert len(everything(store, "me")) == 201


def test_store_larger_than_its_file_system_fills_up_and_empties(small_file_system: Path) -> None:
    store = MemoryStore(small_file_system, 64 * LIMIT)
    items = fill(store, "x" * 10_000)
    assert len(items) > 200
    for found in items:
        store.delete("me", found.id, ANY)
    assert len(fill(store, "x" * 10_000)) > 200


def test_file_system_that_runs_full_at_any_moment_costs_no_item(small_file_system: Path) -> None:
    store = MemoryStore(small_file_system, 64 * LIMIT)
    kept = {}
    others = small_file_system / "of others"
    refused = 0
    for n in range(120):
        if n % 3 == 0:
            exhaust(others)
        try:
            created = store.create("me", item("x" * 20_000))
            kept[created.id] = created
        except StoreFull:
            refused += 1
        if kept and n % 4 == 0:
            id = random.choice(list(kept))
            with suppress(StoreUnavailable):
                store.delete("me", id, ANY)
                del kept[id]
        others.unlink(missing_ok=True)
    assert refused
    assert {found.id: found for found in everything(store, "me")} == kept
    assert intact(small_file_system)


def refusal(store: MemoryStore) -> str:
    messages = set()
    for use in (
        lambda: store.create("me", item()),
        lambda: store.read("me", str(uuid.uuid4())),
        lambda: store.page("me", 10, None),
        lambda: store.update("me", str(uuid.uuid4()), {}, ANY),
        lambda: store.delete("me", str(uuid.uuid4()), ANY),
    ):
        with pytest.raises(StoreUnavailable) as raised:
            use()
        messages.add(str(raised.value))
    assert len(messages) == 1
    return messages.pop()


def test_directory_is_made_once_its_parent_is_there(directory: Path) -> None:
    parent = directory / "missing"
    store = MemoryStore(parent / "items", LIMIT)
    assert f"needs a directory {parent}/items" in refusal(store)
    parent.mkdir()
    store.create("me", item())
    assert stat.S_IMODE((parent / "items").stat().st_mode) == 0o700
    shutil.rmtree(parent)
    with pytest.raises(StoreUnavailable):
        store.create("me", item())
    parent.mkdir()
    store.create("me", item())


def test_directory_that_may_not_be_written_is_named(directory: Path) -> None:
    def use() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65_534)
            os.setuid(65_534)
        assert f"needs a directory {directory}" in refusal(MemoryStore(directory, LIMIT))

    directory.chmod(0o555)
    join(start(use))


def test_damaged_file_is_a_refusal_that_says_what_to_do(
    store: MemoryStore, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (directory / "items.db").write_bytes(b"x" * 8192)
    assert "restart" in refusal(store)
    assert f"item store in {directory}: SQLITE_NOTADB: " in caplog.text
