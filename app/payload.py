"""What a client may send: JSON bodies, ids, conditions, limits and cursors, each validated before anything uses it."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import uuid
from typing import Any, Literal

from flask import Request

from .problems import Problem
from .stores import Condition, Item

ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
TITLE_LENGTH = 200
CONTENT_LENGTH = 65_536
PAGE_DEFAULT, PAGE_MAXIMUM = 50, 100
ERRORS_SHOWN = 20
# no item needs more, even with every character escaped; decoded, JSON may take forty times its size
BODY_LENGTH = 2**20

_JSON = "application/json"
_REQUIRED = {"title": (1, TITLE_LENGTH), "content": (0, CONTENT_LENGTH)}
# read_id checks ids
_LENGTHS = {"id": (0, math.inf), **_REQUIRED}
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
# a list may have empty elements (RFC 9110 §5.6.1.2)
_TAGS = re.compile(rf"\s*(?:{_TAG.pattern}\s*)?(?:,\s*(?:{_TAG.pattern}\s*)?)*")
# as versions are written: other spellings of a number are other tags
_VERSION = re.compile(r"0|[1-9][0-9]{0,18}")


class _Members(list[tuple[str, Any]]):
    """The members of a JSON object in the order sent, with repeated names still visible."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# numbers are of no use in an item: their digits are not converted, which a long one would make costly
_decoder = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_constant=_refuse_constant,
    parse_int=lambda digits: 0,
    parse_float=lambda digits: 0,
)


def read_fields(request: Request) -> tuple[dict[str, str], str | None]:
    """The item's fields in the JSON body (`title`, `content`: those that are there), and the `id` in it or None.

    Raises Problem: 415 when the body is not declared as JSON, 400 when it is not JSON, 413 when it is too
    large, 422 when it is JSON but no item.
    """
    # what most clients send need not be parsed
    if request.environ.get("CONTENT_TYPE") != _JSON and (
        request.mimetype != _JSON or request.mimetype_params.get("charset", "utf-8").lower() != "utf-8"
    ):
        raise Problem(415, "The body must be JSON in UTF-8, with 'Content-Type: application/json'.")
    try:
        value = _decoder.decode(_read_body(request).decode())
    except RecursionError:
        raise Problem(400, "The body is nested too deeply.") from None
    except UnicodeDecodeError as error:
        raise Problem(400, f"The body is not UTF-8: {error.reason} at byte {error.start}.") from None
    except ValueError as error:
        raise Problem(400, f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, _Members):
        raise _not_an_item([("", f"must be an object, not {_type_name(value)}")])
    return _fields(value)


def _read_body(request: Request) -> bytes:
    environ = request.environ
    limit = min(request.max_content_length or BODY_LENGTH, BODY_LENGTH)
    length = environ.get("CONTENT_LENGTH", "")
    if length.isdecimal() and "HTTP_TRANSFER_ENCODING" not in environ:
        # Python does not convert thousands of digits
        if len(length) < 19 and int(length) <= limit:
            return environ["wsgi.input"].read(int(length))  # type: ignore[no-any-return]
    else:
        # slower, by Werkzeug: without a length it reads only a stream that ends by itself, and no more than that
        request.max_content_length = limit + 1
        body = request.get_data(cache=False)
        if len(body) <= limit:
            return body
    raise Problem(413, f"The body is larger than {limit} bytes.")


def _fields(members: _Members) -> tuple[dict[str, str], str | None]:
    errors: list[tuple[str, str]] = []
    fields: dict[str, str] = {}
    for name, value in members:
        if name not in _LENGTHS:
            error = "is not a field of an item; allowed: id, title, content"
        elif name in fields:
            error = "stands more than once"
        elif not isinstance(value, str):
            error = f"must be a string, not {_type_name(value)}"
        else:
            fields[name] = value
            error = _text_error(value, *_LENGTHS[name])
        if error:
            pointer = "/" + name.replace("~", "~0").replace("/", "~1").encode(errors="replace").decode()
            errors.append((pointer, error))
    if errors:
        raise _not_an_item(errors[:ERRORS_SHOWN])
    return fields, fields.pop("id", None)


def _text_error(value: str, low: float, high: float) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return "has a lone surrogate, which is not a character"
    return "" if low <= len(value) <= high else f"must have {low} to {high} characters, not {len(value)}"


def require_fields(fields: dict[str, str]) -> None:
    """Raises Problem 422 unless all that an item needs is there."""
    missing = [name for name in _REQUIRED if name not in fields]
    if missing:
        raise _not_an_item([(f"/{name}", "is required") for name in missing])


def _not_an_item(errors: list[tuple[str, str]]) -> Problem:
    return Problem(422, "The body is JSON, but not an item.", errors)


def _type_name(value: object) -> str:
    names = {_Members: "an object", list: "an array", str: "a string", bool: "a boolean", int: "a number"}
    return names.get(type(value), "null")


def read_id(*candidates: str | None) -> str | None:
    """The one id among the places it may stand in, as a canonical lower-case UUID; None when it stands nowhere.

    Raises Problem 400 for an id that is no UUID, and for two that differ.
    """
    ids = set()
    for candidate in candidates:
        if candidate is None:
            continue
        if not ID.fullmatch(candidate):
            raise Problem(400, "The id must be a UUID such as 3f2b8c1e-5d64-4d2a-9f0e-6a1b2c3d4e5f.")
        ids.add(candidate.lower())
    if len(ids) > 1:
        raise Problem(400, "The request names different ids in its path, query or body; they must be the same.")
    return ids.pop() if ids else None


def require_id(id: str | None) -> str:
    """Raises Problem 400 when the request names no id."""
    if id is None:
        raise Problem(400, 'An id is required: in the path, as ?id=, or as "id" in the JSON body.')
    return id


def read_limit(values: list[str]) -> int:
    """The page size of a listing, 1 to 100. Raises Problem 400."""
    if not values:
        return PAGE_DEFAULT
    if len(values) > 1 or not re.fullmatch(r"[0-9]{1,3}", values[0]) or not 1 <= int(values[0]) <= PAGE_MAXIMUM:
        raise Problem(400, f"limit must be one whole number from 1 to {PAGE_MAXIMUM}.")
    return int(values[0])


def read_cursor(values: list[str]) -> str | None:
    """The id a listing goes on after. Raises Problem 400 for what `write_cursor` did not make."""
    if not values:
        return None
    try:
        id = str(uuid.UUID(bytes=base64.b64decode(values[0] + "==", b"-_", validate=True)))
    except (ValueError, binascii.Error):
        id = ""
    if len(values) > 1 or write_cursor(id) != values[0]:
        raise Problem(400, 'cursor must be the value of "next" in an earlier page.')
    return id


def write_cursor(id: str | None) -> str | None:
    """An opaque cursor for the items after `id`; None where no more follow."""
    return base64.urlsafe_b64encode(uuid.UUID(id).bytes).rstrip(b"=").decode() if id else None


class Preconditions:
    """The conditional headers of a request (RFC 9110 §13.1). Raises Problem 400 when one is malformed.

    A write compares strongly, so a weak tag never matches If-Match; If-None-Match compares weakly.
    """

    def __init__(self, request: Request) -> None:
        environ = request.environ
        self.if_match = _entity_tags("If-Match", environ.get("HTTP_IF_MATCH"), weak=False)
        self.if_none_match = _entity_tags("If-None-Match", environ.get("HTTP_IF_NONE_MATCH"), weak=True)

    def for_existing(self) -> Condition:
        """The condition for a write to an item that must be there, which is what `*` speaks of."""
        if self.if_none_match == "*":
            return Condition(match=frozenset())
        return Condition(None if self.if_match == "*" else self.if_match, self.if_none_match)

    def matches(self, item: Item) -> bool:
        """Whether If-Match holds for this item."""
        return self.if_match is None or self.if_match == "*" or item.version in self.if_match

    def excludes(self, item: Item) -> bool:
        """Whether If-None-Match names this item's version."""
        return self.if_none_match == "*" or (self.if_none_match is not None and item.version in self.if_none_match)


def _entity_tags(name: str, value: str | None, weak: bool) -> frozenset[int] | Literal["*"] | None:
    if value is None:
        return None
    if value.strip() == "*":
        return "*"
    tags = _TAG.findall(value) if _TAGS.fullmatch(value) else []
    if not tags:
        raise Problem(400, f'{name} must be * or a list of entity tags such as "123".')
    return frozenset(int(tag) for is_weak, tag in tags if (weak or not is_weak) and _VERSION.fullmatch(tag))
