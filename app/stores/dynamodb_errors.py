"""What a client is told when DynamoDB, or the way to it, fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Explanation(NamedTuple):
    """What to do about a failure; `retry_after` is in seconds where waiting helps."""

    message: str
    retry_after: int | None = None
    # whether another boto3 client may find what this one lacks: it keeps the credentials it was made with
    needs_client: bool = False


UNKNOWN = Explanation("DynamoDB cannot be used; the log says why.")
SILENT = Explanation("DynamoDB does not answer at the moment. Try again.", 1)
STARTING = Explanation("The connection to DynamoDB is being made. Try again.", 1)

_UNREACHABLE = Explanation("DynamoDB cannot be reached. Try again.", 1)
_SLOW = Explanation("DynamoDB did not answer in time. Try again.", 1)
_BROKEN = Explanation("The connection to DynamoDB broke. Try again.", 1)
_FAILED = Explanation("DynamoDB failed. Try again.", 1)
_THROTTLED = Explanation("DynamoDB takes no more requests for this table at the moment. Try again.", 1)
_NO_TABLE = Explanation("The table does not exist in this account and Region: check TABLE_NAME and AWS_REGION.")
_WRONG_TABLE = Explanation("The table needs the keys userId (partition) and itemId (sort), both S: check TABLE_NAME.")
_DENIED = Explanation(
    "The application's AWS identity may not use the table: give it the rights that docs/decisions.md lists."
)
_NO_CREDENTIALS = Explanation("There are no AWS credentials: give the task a role, or set AWS_PROFILE.", 5, True)
_BAD_CREDENTIALS = Explanation("AWS does not accept the application's credentials: renew them.", 5, True)
_NO_REGION = Explanation("The AWS Region is not known: set AWS_REGION.", None, True)
_BAD_CONFIGURATION = Explanation("The AWS configuration cannot be used: check AWS_PROFILE and its files.", None, True)
_NOT_DYNAMODB = Explanation("What answers is not DynamoDB: check AWS_ENDPOINT_URL_DYNAMODB and HTTPS_PROXY.")

# error codes of answers
_CODES = {
    "ProvisionedThroughputExceededException": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "Throttling": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "RequestThrottled": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "LimitExceededException": _THROTTLED,
    "TransactionConflictException": _THROTTLED,
    "ReplicatedWriteConflictException": _THROTTLED,
    "ResourceNotFoundException": _NO_TABLE,
    "ValidationException": _WRONG_TABLE,
    "AccessDeniedException": _DENIED,
    "AccessDenied": _DENIED,
    "UnrecognizedClientException": _BAD_CREDENTIALS,
    "InvalidClientTokenId": _BAD_CREDENTIALS,
    "InvalidAccessKeyId": _BAD_CREDENTIALS,
    "ExpiredTokenException": _BAD_CREDENTIALS,
    "ExpiredToken": _BAD_CREDENTIALS,
    "RequestExpired": _BAD_CREDENTIALS,
    "InvalidSignatureException": _BAD_CREDENTIALS,
    "SignatureDoesNotMatch": _BAD_CREDENTIALS,
    "IncompleteSignatureException": _BAD_CREDENTIALS,
    "MissingAuthenticationTokenException": _BAD_CREDENTIALS,
    "MissingAuthenticationToken": _BAD_CREDENTIALS,
}

# exceptions by the name of their class or the nearest ancestor's: botocore is not imported before a client is made
_CLASSES = {
    "ConnectionError": _UNREACHABLE,
    "ReadTimeoutError": _SLOW,
    "HTTPClientError": _BROKEN,
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
    "NotDynamoDB": _NOT_DYNAMODB,
}


def explain(error: Exception) -> Explanation:
    """The explanation of an exception that botocore has raised."""
    answer = answer_of(error)
    if answer:
        failed = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
        return _CODES.get(error_code(error), _FAILED if failed else UNKNOWN)
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((_CLASSES[name] for name in names if name in _CLASSES), UNKNOWN)


def is_throttling(answer: Mapping[str, Any]) -> bool:
    """Whether DynamoDB asks for fewer requests."""
    return _CODES.get(answer.get("Error", {}).get("Code", "")) is _THROTTLED


def error_code(error: Exception) -> str:
    """The code in the answer that is the error; "" when it is none."""
    return str(answer_of(error).get("Error", {}).get("Code", ""))


def answer_of(error: Exception) -> dict[str, Any]:
    """What DynamoDB answered; empty when it did not."""
    return getattr(error, "response", None) or {}
