"""What an item is, and what every store of items does."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it is stored: `version` is new with every write, so that it can serve as a strong ETag."""

    id: str
    title: str
    content: str
    version: int


def new_version() -> int:
    """A version no other write of the item has: 62 random bits.

    Random rather than counted, so that a deleted item that is created again never repeats a version, and
    so that a writer that has to retry can tell its own earlier success from somebody else's write.
    """
    return secrets.randbits(62)


@dataclass(frozen=True, slots=True)
class Condition:
    """The versions for which a write may go ahead (RFC 9110 §13.1). None asks for nothing."""

    match: frozenset[int] | None = None
    none_match: frozenset[int] | None = None

    def holds(self, version: int) -> bool:
        """Whether an item of this version may be written."""
        return (self.match is None or version in self.match) and (
            self.none_match is None or version not in self.none_match
        )


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a collection in the order of the ids; `next` is the last id of the page where more may follow."""

    items: list[Item]
    next: str | None


class NotFound(Exception):
    """There is no item with this id and owner."""


class ConditionFailed(Exception):
    """The item is there, but the condition does not hold for its version."""


class StoreFull(Exception):
    """The store has no room for this write; nothing was changed."""


class StoreUnavailable(Exception):
    """The store cannot be used now. `str()` is for the client; `retry_after` is in seconds where waiting helps."""

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreTimeout(Exception):
    """The store did not answer in time; whether the write happened is not known."""


class Store(Protocol):
    """Items of many owners. Every method is atomic and safe to call from many threads and processes.

    Any method may raise StoreUnavailable or StoreTimeout.
    """

    def new_id(self) -> str:
        """A new UUID, of the version that suits the store."""

    def create(self, owner: str, item: Item) -> Item:
        """Store `item` unless its id is taken; return the item that is there afterwards.

        The item was created if and only if the version returned is the one that was given. Raises StoreFull.
        """

    def read(self, owner: str, id: str) -> Item | None:
        """The item, or None."""

    def page(self, owner: str, limit: int, after: str | None) -> Page:
        """At most `limit` items with ids greater than `after`, in the order of their ids; fewer after about 1 MiB."""

    def update(self, owner: str, id: str, changes: Mapping[str, str], condition: Condition) -> Item:
        """Set `title`, `content` or both and a new version; return the updated item.

        Raises NotFound, ConditionFailed or StoreFull, and changes nothing then.
        """

    def delete(self, owner: str, id: str, condition: Condition) -> None:
        """Remove the item. Raises NotFound or ConditionFailed, and removes nothing then."""
