"""Bearer tokens as they come in a request: read strictly, refused early, and their signature checked."""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey
    from joserfc.jws import JWSRegistry

TOKEN_LENGTH = 6144
HEADER_LENGTH = 512

# RFC 6750 §2.1, but one space only; the token is a compact JWS (RFC 7515 §3.1) of three parts, none of them empty
_BEARER = re.compile(r"(?i:bearer) (([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+))")
# what would name another key or another way to read the token; Cognito sends only alg and kid
_REFUSED_PARAMETERS = {"b64", "crit", "enc", "jku", "jwk", "x5c", "x5t", "x5t#S256", "x5u", "zip"}


class Refused(Exception):
    """The token is not valid; the message is for the log."""


class Token(NamedTuple):
    """A token whose form is good and whose signature has not been looked at."""

    text: str
    key_id: str
    payload: bytes

    def claims(self, key: RSAKey) -> dict[str, Any]:
        """The claims. Raises Refused unless `key` has signed them."""
        _check_signature(self.text, key)
        return _json_object(self.payload)


def read_bearer(authorization: str) -> Token:
    """The token in the value of an Authorization header. Raises Refused."""
    if len(authorization) > TOKEN_LENGTH:
        raise Refused("too long")
    match = _BEARER.fullmatch(authorization)
    if not match:
        raise Refused("not a bearer token of three parts")
    text, *parts = match.groups()
    if len(parts[0]) > HEADER_LENGTH:
        raise Refused("header too long")
    header, payload, _ = map(_decode, parts)
    return Token(text, _key_id(header), payload)


def _decode(part: str) -> bytes:
    """The bytes of a part in base64url, which must be written in the one canonical way."""
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise Refused("base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode():
        raise Refused("base64url is not canonical")
    return data


def _key_id(header: bytes) -> str:
    """The `kid` of a token's header that can be one of Cognito's."""
    parameters = _json_object(header)
    # before any key is looked at: no key is ever used with another algorithm
    if parameters.get("alg") != "RS256":
        raise Refused("alg")
    if not _REFUSED_PARAMETERS.isdisjoint(parameters) or not all(type(value) is str for value in parameters.values()):
        raise Refused("header parameter")
    kid = str(parameters.get("kid", ""))
    if not kid:
        raise Refused("kid")
    return kid


@cache
def _registry() -> JWSRegistry:
    # not before it is needed: by then the keys have loaded joserfc in the background
    from joserfc.jws import JWSRegistry

    # what else a header may hold has been looked at, and the rest is to be ignored (RFC 7515 §4)
    return JWSRegistry(algorithms=["RS256"], strict_check_header=False)


def _check_signature(token: str, key: RSAKey) -> None:
    from joserfc import errors, jws

    try:
        jws.deserialize_compact(token, key, registry=_registry())
    except errors.JoseError as error:
        raise Refused(type(error).__name__) from None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        raise Refused("a name stands twice")
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_object)


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = _decoder.decode(data.decode())
    except (ValueError, RecursionError):
        raise Refused("not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise Refused("not a JSON object")
    return value
