"""The boto3 client of a process: made in the background, bounded in time, its failures told in the store's terms."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from app.background import BackgroundJob
from app.stores import StoreTimeout, StoreUnavailable
from app.stores.dynamodb_errors import STARTING, UNKNOWN, Explanation, answer_of, error_code, explain

log = logging.getLogger(__name__)

# An operation takes less than 10 s: an attempt takes CONNECT + READ at most, a pause between two at most 2 s, and
# after LAST_RETRY none begins.
CONNECT, READ, ATTEMPTS = 1, 2, 3
LAST_RETRY = 4.9
# how long a request waits for the client, and how often one that lacks credentials is replaced
PATIENCE, RENEWAL = 4.0, 5.0
# connections that are kept: no fewer than a worker has threads
POOL = 32


class ConditionCheckFailed(Exception):
    """The item is not as the condition asks for; `attributes` are what it has, None when there is none."""

    def __init__(self, attributes: dict[str, Any] | None) -> None:
        self.attributes = attributes


class NotDynamoDB(Exception):
    """Something else has answered."""


class DynamoClient:
    """Calls DynamoDB for one table.

    `region` and `endpoint_url` are for where boto3's own chain is not to decide.
    """

    def __init__(self, table_name: str, region: str | None, endpoint_url: str | None) -> None:
        self._table = table_name
        self._region = region
        self._endpoint_url = endpoint_url
        self._client: Any = None
        self._process = 0
        self._error: Exception | None = None
        self.operation = Operation()
        self.job = BackgroundJob(self._make_client, RENEWAL)

    def call(self, name: str, **parameters: Any) -> dict[str, Any]:
        """The answer. Raises ConditionCheckFailed, StoreUnavailable or StoreTimeout."""
        client = self._wait_for_client()
        try:
            answer: dict[str, Any] = getattr(client, name)(TableName=self._table, **parameters)
            # boto3 takes any page with status 200 for an empty answer, and a write that never happened for done
            if "amz-json" not in answer["ResponseMetadata"]["HTTPHeaders"].get("content-type", ""):
                raise NotDynamoDB
        except Exception as error:
            if error_code(error) == "ConditionalCheckFailedException":
                raise ConditionCheckFailed(answer_of(error).get("Item")) from None
            explanation = self._log(name, error)
            writes = name not in ("get_item", "query")
            if writes and self.operation.timed_out:
                raise StoreTimeout from error
            raise _unavailable(explanation, writes and self.operation.outcome_unknown) from error
        return answer

    def _log(self, doing: str, error: Exception) -> Explanation:
        explanation = explain(error)
        log.error("DynamoDB: %s: %s: %s", doing, type(error).__name__, error, exc_info=explanation is UNKNOWN)
        if explanation.needs_client:
            self.job.start()
        return explanation

    def _wait_for_client(self) -> Any:
        if self._process != os.getpid():
            self.job.start()
            self.job.wait(PATIENCE)
        if self._process != os.getpid():
            raise _unavailable(self._log("no client", self._error) if self._error else STARTING)
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
                # otherwise both are done anew for every call: a quarter of its CPU time
                parameter_validation=False,
                user_agent=f"flask-crud-app boto3/{boto3.__version__}",
            )
            # a session of its own, because boto3's keeps the credentials that it found first
            session = boto3.session.Session()
            client = session.client(
                "dynamodb", region_name=self._region, endpoint_url=self._endpoint_url, config=config
            )
            client.meta.events.register_first("needs-retry.dynamodb", self.operation.attempt_ended)
        except Exception as error:
            self._error = error
        else:
            self._client, self._error = client, None
            self._process = os.getpid()


class Operation(threading.local):
    """What is known of this thread's operation after all the attempts of its calls, the failed ones included."""

    began = 0.0
    # an attempt failed in a way that leaves open whether it was carried out; it failed to answer in time
    outcome_unknown = timed_out = False

    def begin(self) -> None:
        self.began = time.monotonic()
        self.outcome_unknown = self.timed_out = False

    def is_late(self) -> bool:
        """Whether no call or attempt should begin any more."""
        return time.monotonic() - self.began > LAST_RETRY

    def attempt_ended(self, response: Any, caught_exception: Exception | None, **_: Any) -> bool | None:
        """botocore's needs-retry event, ahead of its own handler. False forbids another attempt."""
        from botocore.exceptions import HTTPClientError, ReadTimeoutError

        if caught_exception is not None:
            self.timed_out |= isinstance(caught_exception, ReadTimeoutError)
            self.outcome_unknown |= isinstance(caught_exception, HTTPClientError)
        elif response[0].status_code >= 300:
            self.outcome_unknown |= response[0].status_code >= 500
            # it would have the thread sleep for up to 7 s
            response[0].headers.pop("x-amz-retry-after", None)
        return False if self.is_late() else None


def _unavailable(explanation: Explanation, outcome_unknown: bool = False) -> StoreUnavailable:
    note = " The write may have happened: read before you repeat it." if outcome_unknown else ""
    return StoreUnavailable(explanation.message + note, explanation.retry_after)
