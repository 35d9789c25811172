"""Items in a DynamoDB table: partition key userId (S), sort key itemId (S), attributes title, content and version."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from app.background import BackgroundJob
from app.stores import (
    Condition,
    ConditionFailed,
    Item,
    NotFound,
    Page,
    StoreTimeout,
    StoreUnavailable,
    new_version,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

# One operation takes less than 10 s: an attempt takes at most CONNECT + READ, a pause between two at most 2 s, and
# after LAST_RETRY none begins.
CONNECT, READ, ATTEMPTS = 1, 2, 3
LAST_RETRY = 4.9
# how long a request waits for the client, and how often a client that cannot be used is replaced
PATIENCE, RENEWAL = 4.0, 5.0
# connections that are kept: more than a worker has threads
POOL = 32
# a DynamoDB expression takes no longer lists
VERSIONS = 100


class DynamoStore:
    """Keeps items in the table `table_name`, None where there is none. Reads are consistent: they see every write.

    `region` and `endpoint_url` are for where boto3's own chain is not to decide. The client is made in a thread of
    each process, because boto3's import and the client take a third of a second.
    """

    def __init__(self, table_name: str | None, region: str | None = None, endpoint_url: str | None = None) -> None:
        self._table = table_name
        self._region = region
        self._endpoint_url = endpoint_url
        self._client: Any = None
        self._error: Exception | None = None
        self._call_state = _CallState()
        self.client_job = BackgroundJob(self._make_client, RENEWAL) if table_name else None

    def create(self, owner: str, item: Item) -> Item:
        self._call_state.begin()
        attributes = _key(owner, item.id) | _text("title", item.title) | _text("content", item.content)
        try:
            self._call(
                "put_item",
                Item=attributes | {"version": {"N": str(item.version)}},
                ConditionExpression="attribute_not_exists(itemId)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except _ConditionCheckFailed as failure:
            # when this is a retry, it may be the item itself: then it has its version
            return _item(failure.attributes or {})
        return item

    def read(self, owner: str, id: str) -> Item | None:
        self._call_state.begin()
        return self._read(owner, id)

    def _read(self, owner: str, id: str) -> Item | None:
        answer = self._call("get_item", Key=_key(owner, id), ConsistentRead=True)
        return _item(answer["Item"]) if "Item" in answer else None

    def page(self, owner: str, limit: int, after: str | None) -> Page:
        self._call_state.begin()
        # one more than asked for tells whether more follow; DynamoDB's own answer to that may be a false yes
        rows: list[dict[str, Any]] = []
        position: dict[str, Any] = {"ExclusiveStartKey": _key(owner, after)} if after else {}
        while True:
            answer = self._call(
                "query",
                KeyConditionExpression="userId = :owner",
                ExpressionAttributeValues={":owner": {"S": owner}},
                ConsistentRead=True,
                Limit=limit + 1 - len(rows),
                **position,
            )
            rows += answer["Items"]
            more = len(rows) > limit or "LastEvaluatedKey" in answer
            # what is there when time runs out is a page as well
            if len(rows) > limit or not more or (rows and self._call_state.late()):
                break
            position = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
        items = [_item(row) for row in rows[:limit]]
        return Page(items, items[-1].id if more else None)

    def update(self, owner: str, id: str, changes: Mapping[str, str], condition: Condition) -> Item:
        self._call_state.begin()
        version = new_version()
        values = {f":{name}": {"S": value} for name, value in changes.items()} | {":version": {"N": str(version)}}

        def write(versions: frozenset[int] | None) -> Item:
            expression, versions_values = _must_exist(versions)
            try:
                answer = self._call(
                    "update_item",
                    Key=_key(owner, id),
                    UpdateExpression="SET " + ", ".join(f"#{name[1:]} = {name}" for name in values),
                    ConditionExpression=expression,
                    ExpressionAttributeNames={f"#{name[1:]}": name[1:] for name in values},
                    ExpressionAttributeValues=values | versions_values,
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except _ConditionCheckFailed as failure:
                stored = failure.item()
                if stored.version == version:
                    return stored
                raise ConditionFailed from None
            return _item(answer["Attributes"])

        return self._when(owner, id, condition, write)

    def delete(self, owner: str, id: str, condition: Condition) -> None:
        self._call_state.begin()

        def write(versions: frozenset[int] | None) -> None:
            expression, values = _must_exist(versions)
            names = {"ExpressionAttributeNames": {"#version": "version"}, "ExpressionAttributeValues": values}
            try:
                self._call(
                    "delete_item",
                    Key=_key(owner, id),
                    ConditionExpression=expression,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **(names if values else {}),
                )
            except _ConditionCheckFailed as failure:
                if failure.attributes is None and self._call_state.unknown_outcome:
                    return
                failure.item()
                raise ConditionFailed from None

        self._when(owner, id, condition, write)

    def _when(self, owner: str, id: str, condition: Condition, write: Callable[[frozenset[int] | None], T]) -> T:
        """Let `write` change the item if it is in one of the versions it is given (None: in any)."""
        match = condition.match
        if condition.none_match is None and (match is None or 0 < len(match) <= VERSIONS):
            return write(match)
        # what does not fit into an expression becomes one: the version the item has, as long as it has it
        while not self._call_state.late():
            item = self._read(owner, id)
            if item is None:
                raise NotFound
            if not condition.holds(item.version):
                raise ConditionFailed
            try:
                return write(frozenset({item.version}))
            except ConditionFailed:
                continue
        raise StoreUnavailable("The item is written too often. Try again.", retry_after=1)

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call DynamoDB. Raises _ConditionCheckFailed, StoreUnavailable, StoreTimeout."""
        client = self._wait_for_client()
        try:
            answer: dict[str, Any] = getattr(client, operation)(TableName=self._table, **parameters)
        except Exception as error:
            response: dict[str, Any] = getattr(error, "response", None) or {}
            if _code(response) == "ConditionalCheckFailedException":
                raise _ConditionCheckFailed(response.get("Item")) from None
            writes = operation not in ("get_item", "query")
            raise self._failure(operation, error, writes and self._call_state.timed_out) from error
        return answer

    def _wait_for_client(self) -> Any:
        if self.client_job is None:
            raise StoreUnavailable("There is no table: set TABLE_NAME to the name of a DynamoDB table.")
        if self._client is None:
            self.client_job.start()
            self.client_job.wait(PATIENCE)
        if self._client is None:
            raise self._failure("make a client", self._error or _ClientIsMade())
        return self._client

    def _make_client(self) -> None:
        try:
            import boto3
            from botocore.config import Config

            config = Config(
                connect_timeout=CONNECT,
                read_timeout=READ,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                max_pool_connections=POOL,
                tcp_keepalive=True,
                # both are done anew for every call: together a quarter of its CPU time
                parameter_validation=False,
                user_agent=f"flask-crud-app boto3/{boto3.__version__}",
            )
            # not boto3.client(): its session keeps the credentials that it found first
            session = boto3.session.Session()
            client = session.client(
                "dynamodb", region_name=self._region, endpoint_url=self._endpoint_url, config=config
            )
            client.meta.events.register_first("needs-retry.dynamodb", self._call_state.attempt_ended)
            self._client, self._error = client, None
        except Exception as error:
            self._error = error

    def _failure(self, operation: str, error: Exception, may_be_written: bool = False) -> Exception:
        """What the caller is told of a failure; its cause is for the log only."""
        failure = _explain(error)
        log.error("DynamoDB: %s failed: %s: %s", operation, type(error).__name__, error, exc_info=failure is _UNKNOWN)
        if failure.new_client and self.client_job:
            self.client_job.start()
        if may_be_written:
            return StoreTimeout()
        return StoreUnavailable(failure.message, failure.retry_after)


class _CallState(threading.local):
    """What is known of this thread's operation and of all its attempts, the failed ones included."""

    began = 0.0
    # an attempt failed in a way that leaves open whether it was carried out
    unknown_outcome = False
    timed_out = False

    def begin(self) -> None:
        self.began = time.monotonic()
        self.unknown_outcome = self.timed_out = False

    def late(self) -> bool:
        """Whether nothing more should be started."""
        return time.monotonic() - self.began > LAST_RETRY

    def attempt_ended(self, response: Any, caught_exception: Exception | None, **_: Any) -> bool | None:
        """botocore's needs-retry event, ahead of its own handler: False forbids another attempt."""
        from botocore.exceptions import HTTPClientError, ReadTimeoutError

        if caught_exception is not None:
            self.timed_out |= isinstance(caught_exception, ReadTimeoutError)
            self.unknown_outcome |= isinstance(caught_exception, HTTPClientError)
        elif response[0].status_code >= 500:
            self.unknown_outcome = True
        else:
            # it would have the thread sleep for up to 7 s
            response[0].headers.pop("x-amz-retry-after", None)
        return False if self.late() else None


class _ConditionCheckFailed(Exception):
    """The item was not as the condition asks for; `attributes` are what it has, None when it is not there."""

    def __init__(self, attributes: dict[str, Any] | None) -> None:
        self.attributes = attributes

    def item(self) -> Item:
        """Raises NotFound."""
        if self.attributes is None:
            raise NotFound
        return _item(self.attributes)


class _ClientIsMade(Exception):
    """The client is not there yet."""


def _key(owner: str, id: str) -> dict[str, Any]:
    return _text("userId", owner) | _text("itemId", id)


def _text(name: str, value: str) -> dict[str, Any]:
    return {name: {"S": value}}


def _item(attributes: Mapping[str, Any]) -> Item:
    # rows of another program may lack what is not a key
    text = {name: attributes.get(name, {}).get("S", "") for name in ("itemId", "title", "content")}
    return Item(text["itemId"], text["title"], text["content"], int(attributes.get("version", {}).get("N", 0)))


def _must_exist(versions: frozenset[int] | None) -> tuple[str, dict[str, Any]]:
    """The condition that an item is there in one of the versions (None: in any), and its values."""
    if versions is None:
        return "attribute_exists(itemId)", {}
    values = {f":{number}": {"N": str(version)} for number, version in enumerate(versions)}
    return f"attribute_exists(itemId) AND #version IN ({', '.join(values)})", values


class _Failure(NamedTuple):
    message: str
    retry_after: int | None = None
    # a client keeps the credentials that it was made with
    new_client: bool = False


_UNREACHABLE = _Failure("DynamoDB cannot be reached. Try again.", 1)
_THROTTLED = _Failure("DynamoDB takes no more requests for this table at the moment. Try again.", 1)
_FAILED = _Failure("DynamoDB failed, and a write may have happened: read before you retry.", 1)
_UNKNOWN = _Failure("DynamoDB cannot be used; the log says why.")
_NO_TABLE = _Failure("The table does not exist in this account and Region: check TABLE_NAME and AWS_REGION.")
_WRONG_TABLE = _Failure("The table needs the partition key userId (S) and the sort key itemId (S): check TABLE_NAME.")
_DENIED = _Failure("The application's AWS identity may not use the table: give its role the rights that docs/iam.md lists.")
_NO_CREDENTIALS = _Failure(
    "The application has no AWS credentials: give its task a role, or set AWS_PROFILE.", 5, new_client=True
)
_BAD_CREDENTIALS = _Failure("AWS does not accept the application's credentials: renew them.", 5, new_client=True)
_NO_REGION = _Failure("The AWS Region is not known: set AWS_REGION.", new_client=True)
_BAD_CONFIGURATION = _Failure("The AWS configuration cannot be used: check AWS_PROFILE and its files.", new_client=True)
_STARTING = _Failure("The connection to DynamoDB is being made. Try again.", 1)

# by the error code of an answer
_CODES = {
    **dict.fromkeys(
        (
            "ProvisionedThroughputExceededException",
            "ThrottlingException",
            "Throttling",
            "RequestLimitExceeded",
            "RequestThrottled",
            "TooManyRequestsException",
            "LimitExceededException",
            "TransactionConflictException",
            "ReplicatedWriteConflictException",
            "TransactionInProgressException",
        ),
        _THROTTLED,
    ),
    **dict.fromkeys(("ResourceNotFoundException", "TableNotFoundException"), _NO_TABLE),
    "ValidationException": _WRONG_TABLE,
    **dict.fromkeys(("AccessDeniedException", "AccessDenied", "UnauthorizedOperation"), _DENIED),
    **dict.fromkeys(
        (
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "ExpiredTokenException",
            "ExpiredToken",
            "RequestExpired",
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "NotAuthorizedException",
        ),
        _BAD_CREDENTIALS,
    ),
    **dict.fromkeys(("InternalServerError", "InternalFailure", "ServiceUnavailable"), _FAILED),
}

# by the exception's class, the nearest ancestor first
_CLASSES = {
    "_ClientIsMade": _STARTING,
    "EndpointConnectionError": _UNREACHABLE,
    "ConnectionError": _UNREACHABLE,
    "ReadTimeoutError": _Failure("DynamoDB did not answer in time. Try again.", 1),
    "HTTPClientError": _Failure("The connection to DynamoDB broke, and a write may have happened: read before you retry.", 1),
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "MetadataRetrievalError": _NO_CREDENTIALS,
    "TokenRetrievalError": _BAD_CREDENTIALS,
    "SSOError": _BAD_CREDENTIALS,
    "LoginError": _BAD_CREDENTIALS,
    "NoRegionError": _NO_REGION,
    "InvalidRegionError": _NO_REGION,
    "ProfileNotFound": _BAD_CONFIGURATION,
    "ConfigNotFound": _BAD_CONFIGURATION,
    "ConfigParseError": _BAD_CONFIGURATION,
    "InvalidConfigError": _BAD_CONFIGURATION,
}


def _explain(error: Exception) -> _Failure:
    response: dict[str, Any] = getattr(error, "response", None) or {}
    if response:
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _CODES.get(_code(response), _FAILED if status >= 500 else _UNKNOWN)
    # by name: botocore is not imported before a client is made
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((_CLASSES[name] for name in names if name in _CLASSES), _UNKNOWN)


def _code(response: Mapping[str, Any]) -> str:
    return str(response.get("Error", {}).get("Code", ""))
