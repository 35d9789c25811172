"""Which calls to DynamoDB are made and repeated, so that its failures cost bounded time and only one thread's."""

from __future__ import annotations

import threading
import time
from typing import Any

from .dynamodb_errors import is_throttling

# An operation takes less than 10 s: an attempt takes CONNECT + READ at most, a pause between two at most 2 s, and
# after LAST_RETRY none begins.
CONNECT, READ, ATTEMPTS = 1, 2, 3
LAST_RETRY = 4.9
# for how long one attempt that was not answered speaks for the next
SILENCE = 5.0


class Operation(threading.local):
    """What is known of this thread's operation after all the attempts of its calls, the failed ones included."""

    began = 0.0
    # an attempt failed in a way that leaves open whether it was carried out; it failed to answer in time
    outcome_unknown = timed_out = False
    # this thread is the one that may wait
    waits = False

    def begin(self) -> None:
        self.began = time.monotonic()
        self.outcome_unknown = self.timed_out = False

    def is_late(self) -> bool:
        """Whether no call or attempt should begin any more."""
        return time.monotonic() - self.began > LAST_RETRY


class Attempts:
    """The attempts of all threads of a process.

    While DynamoDB does not answer, or asks to pause, only one thread at a time waits for it. The others are told at
    once: they have other requests to serve, such as the health check, without which the container would be replaced.
    """

    def __init__(self) -> None:
        self.operation = Operation()
        self._waiting = threading.Lock()
        self._silent_until = 0.0

    def may_call(self) -> bool:
        """Whether this thread may call now; `call_ended` must follow."""
        return time.monotonic() > self._silent_until or self._may_wait()

    def call_ended(self) -> None:
        if self.operation.waits:
            self.operation.waits = False
            self._waiting.release()

    def _may_wait(self) -> bool:
        if not self.operation.waits:
            self.operation.waits = self._waiting.acquire(blocking=False)
        return self.operation.waits

    def answer_arrived(self, response_dict: dict[str, Any], **_: Any) -> None:
        """botocore's before-parse event. Raises ConnectionClosedError for half an answer.

        boto3 takes one for an empty answer: no item is there, or a write is done.
        """
        if len(response_dict["body"]) < int(response_dict["headers"].get("content-length", 0)):
            from botocore.exceptions import ConnectionClosedError

            self.operation.outcome_unknown = True
            raise ConnectionClosedError(endpoint_url="DynamoDB")

    def attempt_ended(self, response: Any, caught_exception: Exception | None, **_: Any) -> bool | None:
        """botocore's needs-retry event, ahead of its own handler. False forbids another attempt."""
        if caught_exception is not None:
            takes_time = self._not_answered(caught_exception)
        else:
            self._silent_until = 0.0
            http, parsed = response
            if http.status_code < 300:
                return None
            self.operation.outcome_unknown |= http.status_code >= 500
            # with it, botocore would have the thread sleep for up to 7 s
            http.headers.pop("x-amz-retry-after", None)
            takes_time = is_throttling(parsed)
        return False if self.operation.is_late() or (takes_time and not self._may_wait()) else None

    def _not_answered(self, error: Exception) -> bool:
        """Whether another attempt is likely to take long."""
        from botocore.exceptions import ConnectionClosedError, HTTPClientError, ReadTimeoutError

        self.operation.timed_out |= isinstance(error, ReadTimeoutError)
        self.operation.outcome_unknown |= isinstance(error, HTTPClientError)
        # a connection that has been idle may be closed at any time, and a new one works at once
        if isinstance(error, ConnectionClosedError):
            return False
        self._silent_until = time.monotonic() + SILENCE
        return True
