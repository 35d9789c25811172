"""Who sends a request: the user that a Cognito access token was issued to, verified without asking Cognito."""

from __future__ import annotations

import base64
import json
import logging
import math
import re
import time
from collections.abc import Callable, Collection
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from .keys import KeyCache, KeysUnavailable
from .problems import Problem

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey
    from joserfc.jws import JWSRegistry

log = logging.getLogger(__name__)

TOKEN_LENGTH = 6144
HEADER_BYTES = 512
KEY_ID_LENGTH = 128
# seconds: how far the clocks may be apart, and the longest that Cognito lets a token live
SKEW, LIFETIME = 60, 24 * 3600

# RFC 6750 §2.1, but one space only; the token is a compact JWS (RFC 7515 §3.1) of three parts, none of them empty
_BEARER = re.compile(r"(?i:bearer) ([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# what would name another key or another way to read the token; Cognito sends only alg and kid
_REFUSED_PARAMETERS = {"b64", "crit", "enc", "jku", "jwk", "x5c", "x5t", "x5t#S256", "x5u", "zip"}
# Cognito's users have UUIDs. A client that signed in as itself, for no user, has its client id here.
_USER = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_DNS_SUFFIXES = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
}


class _Refused(Exception):
    """The token is not valid here; the message is for the log."""


class Verifier:
    """Accepts access tokens that the user pool `pool_id` has issued to one of the clients `client_ids`.

    With `scope`, a token must have it as well. The keys come from the pool, or from `keys_url`. `clock` is in seconds
    since 1970.
    """

    def __init__(
        self,
        pool_id: str,
        client_ids: Collection[str],
        scope: str = "",
        keys_url: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer(pool_id)
        self.keys = KeyCache(keys_url or f"{self.issuer}/.well-known/jwks.json")
        self._client_ids = frozenset(client_ids)
        self._scope = scope
        self._clock = clock

    def verify(self, authorization: str | None) -> str:
        """The user's `sub`, from the value of the Authorization header.

        Raises Problem: 401 for anything but a valid token, 403 when the token lacks the scope, 503 when there are no
        keys to verify it with.
        """
        if not authorization:
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "Send 'Authorization: Bearer' with an access token of the user pool.", headers=challenge)
        try:
            claims = self._claims(authorization)
            self._check(claims)
        except KeysUnavailable as error:
            wait = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
            raise Problem(503, "The keys of the user pool could not be loaded. Try again.", headers=wait) from None
        except _Refused as reason:
            log.info("token refused: %s", reason)
            _refuse()
        except Exception:
            # whatever a token does to a parser, it is the token that is wrong
            log.warning("token refused: it could not be read", exc_info=True)
            _refuse()
        if self._scope and self._scope not in _words(claims.get("scope")):
            challenge = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{self._scope}"'}
            raise Problem(403, f"The access token lacks the scope {self._scope}.", headers=challenge)
        return str(claims["sub"])

    def _claims(self, authorization: str) -> dict[str, Any]:
        """The claims of a token whose signature is good. Raises _Refused, KeysUnavailable or what parsers raise."""
        if len(authorization) > TOKEN_LENGTH:
            raise _Refused("too long")
        parts = _BEARER.fullmatch(authorization)
        if not parts:
            raise _Refused("not a bearer token of three parts")
        header, payload, _ = map(_decode, parts.groups())
        kid = _key_id(header)
        key = self.keys.find(kid)
        if key is None:
            raise _Refused("unknown key")
        _check_signature(authorization[len("Bearer ") :], key)
        return _json_object(payload)

    def _check(self, claims: dict[str, Any]) -> None:
        now = self._clock()
        if claims.get("iss") != self.issuer:
            raise _Refused("iss")
        if claims.get("token_use") != "access":
            raise _Refused("token_use")
        if not isinstance(client_id := claims.get("client_id"), str) or client_id not in self._client_ids:
            raise _Refused("client_id")
        issued, expires = claims.get("iat"), claims.get("exp")
        # type(), because True is an int as well
        if type(issued) is not int or issued > now + SKEW:
            raise _Refused("iat")
        if type(expires) is not int or expires <= now or expires - issued > LIFETIME:
            raise _Refused("exp")
        for name in ("nbf", "auth_time"):
            if name in claims and (type(claims[name]) is not int or claims[name] > now + SKEW):
                raise _Refused(name)
        if not isinstance(sub := claims.get("sub"), str) or not _USER.fullmatch(sub):
            raise _Refused("sub")


class NoUserPool:
    """The verifier of an application that has no user pool: it says what to set."""

    def __init__(self, missing: Collection[str]) -> None:
        self._missing = " and ".join(missing)

    def verify(self, _: str | None) -> NoReturn:
        raise Problem(503, f"There is no user pool to sign in to. Set {self._missing}.")


def issuer(pool_id: str) -> str:
    """The `iss` of a pool's tokens: its address, in the partition of its Region."""
    region = pool_id.partition("_")[0]
    suffix = next((suffix for start, suffix in _DNS_SUFFIXES.items() if region.startswith(start)), "amazonaws.com")
    return f"https://cognito-idp.{region}.{suffix}/{pool_id}"


def _refuse() -> NoReturn:
    challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    raise Problem(401, "The access token is not valid here, or no longer. Sign in again.", headers=challenge) from None


def _decode(part: str) -> bytes:
    """The bytes of a part in base64url, which must be written in the one canonical way."""
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode():
        raise _Refused("base64url is not canonical")
    return data


def _key_id(header: bytes) -> str:
    """The `kid` of a token's header that can be one of Cognito's."""
    if len(header) > HEADER_BYTES:
        raise _Refused("header too long")
    parameters = _json_object(header)
    # before any key is looked at: no key is ever used with another algorithm
    if parameters.get("alg") != "RS256":
        raise _Refused("alg")
    if not _REFUSED_PARAMETERS.isdisjoint(parameters):
        raise _Refused("header parameter")
    kid = parameters.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= KEY_ID_LENGTH:
        raise _Refused("kid")
    return kid


@cache
def _registry() -> JWSRegistry:
    # not before it is needed: the keys load joserfc in the background
    from joserfc.jws import JWSRegistry

    # what else a header may hold has been looked at, and the rest is to be ignored (RFC 7515 §4)
    return JWSRegistry(algorithms=["RS256"], strict_check_header=False)


def _check_signature(token: str, key: RSAKey) -> None:
    from joserfc import errors, jws

    try:
        jws.deserialize_compact(token, key, registry=_registry())
    except errors.JoseError as error:
        raise _Refused(type(error).__name__) from None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        raise _Refused("a name stands twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = _decoder.decode(data.decode())
    except (ValueError, RecursionError):
        raise _Refused("not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise _Refused("not a JSON object")
    return value


def _words(scope: object) -> list[str]:
    return scope.split(" ") if isinstance(scope, str) else []
