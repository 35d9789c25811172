"""Items in a DynamoDB table: partition key userId (S), sort key itemId (S), attributes title, content and version."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from . import Condition, ConditionFailed, Item, NotFound, Page, StoreUnavailable, new_version
from .dynamodb_client import ConditionCheckFailed, DynamoClient

T = TypeVar("T")

# the longest list that IN takes in an expression
VERSIONS = 100
# the version of a row that another program has written
NO_VERSION = 0


class DynamoStore:
    """Keeps items in one table. Reads are strongly consistent: they see every write that was answered.

    A write that boto3 repeats may meet its own success: the version, which no other write has, tells.
    """

    def __init__(self, client: DynamoClient) -> None:
        self._client = client

    def new_id(self) -> str:
        # random: DynamoDB splits a busy key between its ids
        return str(uuid.uuid4())

    def create(self, owner: str, item: Item) -> Item:
        self._client.operation.begin()
        attributes = {"title": {"S": item.title}, "content": {"S": item.content}, "version": {"N": str(item.version)}}
        try:
            self._client.call(
                "put_item",
                Item=_key(owner, item.id) | attributes,
                ConditionExpression="attribute_not_exists(itemId)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ConditionCheckFailed as failure:
            return _existing(failure)
        return item

    def read(self, owner: str, id: str) -> Item | None:
        self._client.operation.begin()
        return self._read(owner, id)

    def _read(self, owner: str, id: str) -> Item | None:
        answer = self._client.call("get_item", Key=_key(owner, id), ConsistentRead=True)
        return _item(answer["Item"]) if "Item" in answer else None

    def page(self, owner: str, limit: int, after: str | None) -> Page:
        self._client.operation.begin()
        last = _key(owner, after) if after else None
        while True:
            answer = self._client.call(
                "query",
                KeyConditionExpression="userId = :owner",
                ExpressionAttributeValues={":owner": {"S": owner}},
                ConsistentRead=True,
                # one more than asked for, because DynamoDB may say that more follow when none do
                Limit=limit + 1,
                **({"ExclusiveStartKey": last} if last else {}),
            )
            rows = answer["Items"]
            last = answer.get("LastEvaluatedKey")
            # DynamoDB reads 1 MiB a call, which bounds a page; an empty part of the table is no page yet
            if rows or not last or self._client.operation.is_late():
                break
        items = [_item(row) for row in rows[:limit]]
        if len(rows) > limit:
            return Page(items, items[-1].id)
        return Page(items, last["itemId"]["S"] if last else None)

    def update(self, owner: str, id: str, changes: Mapping[str, str], condition: Condition) -> Item:
        self._client.operation.begin()
        version = new_version()
        new = {f":{name}": {"S": value} for name, value in changes.items()} | {":version": {"N": str(version)}}

        def write(versions: frozenset[int] | None) -> Item:
            expression, values = _exists_in(versions)
            try:
                answer = self._client.call(
                    "update_item",
                    Key=_key(owner, id),
                    UpdateExpression="SET " + ", ".join(f"#{name[1:]} = {name}" for name in new),
                    ConditionExpression=expression,
                    ExpressionAttributeNames={f"#{name[1:]}": name[1:] for name in new},
                    ExpressionAttributeValues=new | values,
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ConditionCheckFailed as failure:
                stored = _existing(failure)
                if stored.version != version:
                    raise ConditionFailed from None
                return stored
            return _item(answer["Attributes"])

        return self._when(condition, owner, id, write)

    def delete(self, owner: str, id: str, condition: Condition) -> None:
        self._client.operation.begin()

        def write(versions: frozenset[int] | None) -> None:
            expression, values = _exists_in(versions)
            in_expression: dict[str, Any] = {
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": values,
            }
            try:
                self._client.call(
                    "delete_item",
                    Key=_key(owner, id),
                    ConditionExpression=expression,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **(in_expression if values else {}),
                )
            except ConditionCheckFailed as failure:
                # an earlier attempt, of which nothing was heard, has deleted it
                if failure.attributes is None and self._client.operation.outcome_unknown:
                    return
                _existing(failure)
                raise ConditionFailed from None

        self._when(condition, owner, id, write)

    def _when(self, condition: Condition, owner: str, id: str, write: Callable[[frozenset[int] | None], T]) -> T:
        """Let `write` change the item where it is in one of the versions that it is given (None: in any)."""
        match = condition.match
        if condition.none_match is None and (match is None or 0 < len(match) <= VERSIONS):
            return write(match)
        # what does not fit into an expression is checked here; the write then asks for the version that was checked
        while not self._client.operation.is_late():
            item = self._read(owner, id)
            if item is None:
                raise NotFound
            if not condition.holds(item.version):
                raise ConditionFailed
            try:
                return write(frozenset({item.version}))
            except ConditionFailed:
                continue
        raise StoreUnavailable("The item is written to too often. Try again.", 1)


class NoTable:
    """The store of an application that has no table: it says so."""

    def _refuse(self, *_: object) -> Any:
        raise StoreUnavailable("There is no table. Set TABLE_NAME to the name of a DynamoDB table.")

    new_id = create = read = page = update = delete = _refuse


def _key(owner: str, id: str) -> dict[str, Any]:
    return {"userId": {"S": owner}, "itemId": {"S": id}}


def _item(attributes: Mapping[str, Any]) -> Item:
    # rows of another program may lack what is not a key
    id, title, content = (attributes.get(name, {}).get("S", "") for name in ("itemId", "title", "content"))
    return Item(id, title, content, int(attributes.get("version", {}).get("N", NO_VERSION)))


def _existing(failure: ConditionCheckFailed) -> Item:
    """The item that does not meet the condition. Raises NotFound."""
    if failure.attributes is None:
        raise NotFound from None
    return _item(failure.attributes)


def _exists_in(versions: frozenset[int] | None) -> tuple[str, dict[str, Any]]:
    """The condition that the item is there in one of the versions (None: in any), and the values in it."""
    if versions is None:
        return "attribute_exists(itemId)", {}
    values = {f":{number}": {"N": str(version)} for number, version in enumerate(versions)}
    in_one = f"#version IN ({', '.join(values)})"
    if NO_VERSION in versions:
        in_one = f"({in_one} OR attribute_not_exists(#version))"
    return f"attribute_exists(itemId) AND {in_one}", values
