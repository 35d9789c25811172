"""The boto3 client of a process: made in the background, bounded in time, its failures in the store's terms."""

from __future__ import annotations

import logging
import os
from typing import Any

from ..background import BackgroundJob
from . import StoreTimeout, StoreUnavailable
from .dynamodb_attempts import ATTEMPTS, CONNECT, READ, Attempts
from .dynamodb_errors import SILENT, STARTING, UNKNOWN, Explanation, answer_of, error_code, explain

log = logging.getLogger(__name__)

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

    `region` and `endpoint_url` replace what boto3's own chain would find.
    """

    def __init__(self, table_name: str, region: str | None, endpoint_url: str | None) -> None:
        self._table = table_name
        self._region = region
        self._endpoint_url = endpoint_url
        self._client: Any = None
        self._process = 0
        self._error: Exception | None = None
        self._attempts = Attempts()
        self.operation = self._attempts.operation
        self.job = BackgroundJob(self._make_client, RENEWAL)

    def call(self, name: str, **parameters: Any) -> dict[str, Any]:
        """The answer. Raises ConditionCheckFailed, StoreUnavailable or StoreTimeout."""
        client = self._wait_for_client()
        if not self._attempts.may_call():
            log.warning("DynamoDB: %s: not called, since it does not answer another request", name)
            raise _unavailable(SILENT)
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
        finally:
            self._attempts.call_ended()
        return answer

    def _log(self, doing: str, error: Exception) -> Explanation:
        explanation = explain(error)
        log.error("DynamoDB: %s: %s: %s", doing, type(error).__name__, error, exc_info=explanation is UNKNOWN)
        if explanation.needs_client:
            self.job.start()
        return explanation

    def _wait_for_client(self) -> Any:
        # once one has failed, only the request that starts the next waits for it
        if self._process != os.getpid() and (self.job.start() or not self.job.ended):
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
            client.meta.events.register_first("needs-retry.dynamodb", self._attempts.attempt_ended)
            client.meta.events.register("before-parse.dynamodb", self._attempts.answer_arrived)
        except Exception as error:
            self._error = error
        else:
            self._client, self._error = client, None
            self._process = os.getpid()


def _unavailable(explanation: Explanation, outcome_unknown: bool = False) -> StoreUnavailable:
    note = " The write may have happened: read before you repeat it." if outcome_unknown else ""
    return StoreUnavailable(explanation.message + note, explanation.retry_after)
