"""Items in memory: a SQLite database on /dev/shm that all processes of a container share and that outlives them."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from . import Condition, ConditionFailed, Item, NotFound, Page, StoreFull, StoreUnavailable, new_version

log = logging.getLogger(__name__)

# A write that finds the log longer than this writes it back to the database first, and the log starts anew.
LOG_BYTES = 1024 * 1024
# What the files may take beyond limit_bytes: the log, twice as long when a reader keeps it from starting anew, its
# index, and the writes that were under way by then, of which seven may be of the largest items.
OVERHEAD_BYTES = 4 * LOG_BYTES
# How long a request waits for the writes of others, and how often it looks. A write takes 20 µs; SQLite's own waits
# grow to 100 ms, and then the unlucky wait ten times as long.
PATIENCE_SECONDS = 5.0
NAP_SECONDS = 0.0002

# How many threads of a process can use a store at once; a connection is opened when it is needed.
CONNECTIONS = 32

PAGE_BYTES = 4096
PAGE_CHARACTERS = 1024 * 1024
SETTINGS = (
    f"page_size = {PAGE_BYTES}",
    "journal_mode = WAL",
    # only the end of the machine loses what was written and not synced, and it ends /dev/shm as well
    "synchronous = OFF",
    # SQLite before 3.51.3 may damage a database whose log starts anew while another process checkpoints ("WAL-reset
    # bug"); our own checkpoints keep writers out, so there must be no others
    "wal_autocheckpoint = 0",
    f"journal_size_limit = {LOG_BYTES}",
    "secure_delete = OFF",
    "temp_store = MEMORY",
    "cache_size = -512",
)
TABLE = """CREATE TABLE IF NOT EXISTS item (
    owner TEXT, id TEXT, title TEXT, content TEXT, version INTEGER, PRIMARY KEY (owner, id)) WITHOUT ROWID"""
CREATE = "INSERT INTO item VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
READ = "SELECT id, title, content, version FROM item WHERE owner = :owner AND id = :id"
PAGE = "SELECT id, title, content, version FROM item WHERE owner = :owner AND id > :after ORDER BY id LIMIT :limit + 1"
WHERE = """WHERE owner = :owner AND id = :id
    AND (:match = 'null' OR version IN (SELECT value FROM json_each(:match)))
    AND (:none_match = 'null' OR version NOT IN (SELECT value FROM json_each(:none_match)))"""
UPDATE = f"""UPDATE item SET title = coalesce(:title, title), content = coalesce(:content, content), version = :version
    {WHERE} RETURNING title, content"""  # noqa: S608 (both are constants)
DELETE = f"DELETE FROM item {WHERE}"  # noqa: S608

Values = Mapping[str, object] | tuple[object, ...]


class MemoryStore:
    """Keeps `limit_bytes` of items in `directory`, which is made if its parent is there.

    A write is one SQL statement: the lock that keeps other writers out is not held while a thread waits for the
    interpreter, and the kernel frees it when the process dies.
    """

    def __init__(self, directory: str | os.PathLike[str], limit_bytes: int) -> None:
        self._directory = Path(directory)
        self._log = str(self._directory / "items.db-wal")
        self._limit_pages = limit_bytes // PAGE_BYTES
        self._idle: list[sqlite3.Connection] = []
        self._turns = _turns()
        _stores.add(self)

    def new_id(self) -> str:
        # version 7, which begins with the time: new items are neighbours in the file, where random ones are anywhere
        ms, random = time.time_ns() // 1_000_000, secrets.randbits(74)
        return (
            f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{random >> 62:03x}"
            f"-{0x8000 | random >> 48 & 0x3FFF:04x}-{random & 0xFFFF_FFFF_FFFF:012x}"
        )

    def create(self, owner: str, item: Item) -> Item:
        while True:
            if self._write(CREATE, (owner, item.id, item.title, item.content, item.version), grows=True)[1]:
                return item
            if (existing := self.read(owner, item.id)) is not None:
                return existing

    def read(self, owner: str, id: str) -> Item | None:
        with self._connection() as connection:
            rows, _ = _execute(connection, READ, {"owner": owner, "id": id})
        return Item(*rows[0]) if rows else None

    def page(self, owner: str, limit: int, after: str | None) -> Page:
        values = {"owner": owner, "after": after or "", "limit": limit}
        with self._connection() as connection:
            page: Page = _execute(connection, PAGE, values, lambda cursor: _page(cursor, limit))[0]
        return page

    def update(self, owner: str, id: str, changes: Mapping[str, str], condition: Condition) -> Item:
        version = new_version()
        values = {"title": None, "content": None, **changes, "version": version} | _where(owner, id, condition)
        while True:
            rows, _ = self._write(UPDATE, values, grows=True)
            if rows:
                title, content = rows[0]
                return Item(id, title, content, version)
            self._explain(owner, id, condition)

    def delete(self, owner: str, id: str, condition: Condition) -> None:
        while not self._write(DELETE, _where(owner, id, condition), grows=False)[1]:
            self._explain(owner, id, condition)

    def _explain(self, owner: str, id: str, condition: Condition) -> None:
        """Raise what kept a write from the item; return if that is over."""
        item = self.read(owner, id)
        if item is None:
            raise NotFound
        if not condition.holds(item.version):
            raise ConditionFailed

    def _write(self, statement: str, values: Values, grows: bool) -> tuple[list[Any], int]:
        with self._connection(grows) as connection:
            if grows:
                self._require_room(connection)
            self._shorten_log(connection)
            return _execute(connection, statement, values)

    def _require_room(self, connection: sqlite3.Connection) -> None:
        # what is in the log must find room in the database too, or else not even a delete could be logged any more
        system = shutil.disk_usage(self._directory)
        if system.free < 2 * LOG_BYTES and system.total:
            rows, _ = _execute(connection, "PRAGMA freelist_count")
            if system.free + rows[0][0] * PAGE_BYTES < 2 * LOG_BYTES:
                raise StoreFull

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (length := os.stat(self._log).st_size) > LOG_BYTES:
            rows, _ = _execute(connection, "PRAGMA wal_checkpoint(RESTART)")
            blocked = rows[0][0]
            if not blocked or length <= 2 * LOG_BYTES:
                return
            if time.monotonic() > deadline:
                raise StoreUnavailable("A reader holds up the item store.", retry_after=1)
            time.sleep(NAP_SECONDS)

    @contextmanager
    def _connection(self, grows: bool = False) -> Iterator[sqlite3.Connection]:
        self._turns.get()
        connection = None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._open()
            yield connection
        except (sqlite3.DatabaseError, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                full = StoreFull() if grows else StoreUnavailable("There is no memory left for the item store.", 1)
                raise full from error
            if connection:
                connection.close()
                connection = None
            raise self._unavailable(error) from error
        finally:
            if connection:
                self._idle.append(connection)
            self._turns.put(None)

    def _open(self) -> sqlite3.Connection:
        with suppress(FileExistsError):
            self._directory.mkdir(mode=0o700)
        path = self._directory / "items.db"
        # SQLite does not wait for every lock, so all the waiting is done in _execute
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            for setting in (*SETTINGS, f"max_page_count = {self._limit_pages}"):
                _execute(connection, f"PRAGMA {setting}")
            _execute(connection, TABLE)
        except BaseException:
            connection.close()
            raise
        return connection

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        log.error("item store in %s: %s: %s", self._directory, getattr(error, "sqlite_errorname", "error"), error)
        if not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
            return StoreUnavailable(
                f"The item store needs a directory {self._directory} that the application's user may write. "
                "Create it, in memory where that is possible (/dev/shm), and try again."
            )
        return StoreUnavailable("The item store cannot be used; restart the container to begin with an empty one.")

    def before_fork(self) -> None:
        # SQLite notes in memory which locks its process holds; a child would take its parent's for its own
        for _ in range(CONNECTIONS):
            self._turns.get()
        while self._idle:
            self._idle.pop().close()

    def after_fork(self, in_child: bool) -> None:
        if in_child:
            # another thread of the parent may have been about to change the old one
            self._turns = _turns()
        else:
            for _ in range(CONNECTIONS):
                self._turns.put(None)


def _turns() -> SimpleQueue[None]:
    """A semaphore of CONNECTIONS in C; threading's is written in Python."""
    turns: SimpleQueue[None] = SimpleQueue()
    for _ in range(CONNECTIONS):
        turns.put(None)
    return turns


def _where(owner: str, id: str, condition: Condition) -> dict[str, str]:
    """The parameters of WHERE."""
    match, none_match = (json.dumps(versions, default=list) for versions in (condition.match, condition.none_match))
    return {"owner": owner, "id": id, "match": match, "none_match": none_match}


def _page(cursor: sqlite3.Cursor, limit: int) -> Page:
    """As many items as asked for, but none after a megabyte of text: the largest hundred would be 25 times as long."""
    items: list[Item] = []
    characters = 0
    for row in cursor:
        if len(items) == limit or characters >= PAGE_CHARACTERS:
            # a statement that has not come to its end would hold up the checkpoints
            cursor.close()
            return Page(items, items[-1].id)
        items.append(Item(*row))
        characters += len(items[-1].content)
    return Page(items, None)


def _execute(
    connection: sqlite3.Connection,
    statement: str,
    values: Values = (),
    fetch: Callable[[sqlite3.Cursor], Any] = sqlite3.Cursor.fetchall,
) -> tuple[Any, int]:
    """What `fetch` makes of the rows, and how many the statement changed; waits while others write."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            cursor = connection.execute(statement, values)
            return fetch(cursor), cursor.rowcount
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL):
                raise
            if time.monotonic() > deadline:
                raise StoreUnavailable("The item store is busy.", retry_after=1) from error
        time.sleep(NAP_SECONDS)


_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()
_forking = threading.Lock()


def _before_fork() -> None:
    _forking.acquire()
    for store in list(_stores):
        store.before_fork()


def _after_fork(in_child: bool) -> None:
    for store in list(_stores):
        store.after_fork(in_child)
    _forking.release()


# Windows has no fork
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=lambda: _after_fork(False), after_in_child=lambda: _after_fork(True)
    )
