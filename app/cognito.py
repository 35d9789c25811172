"""Who sends a request: the user that a Cognito access token was issued to, verified without asking Cognito."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Collection
from typing import Any, NoReturn

from .keys import KeyCache, KeysUnavailable
from .problems import Problem
from .tokens import Refused, read_bearer

log = logging.getLogger(__name__)

# seconds: how far the clocks may be apart, and the longest that Cognito lets a token live
SKEW, LIFETIME = 60, 24 * 3600

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
            token = read_bearer(authorization)
            key = self.keys.find(token.key_id)
            if key is None:
                raise Refused("unknown key")
            claims = token.claims(key)
            self._check(claims)
        except KeysUnavailable as error:
            wait = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
            raise Problem(503, "The keys of the user pool could not be loaded. Try again.", headers=wait) from None
        except Refused as reason:
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

    def _check(self, claims: dict[str, Any]) -> None:
        now = self._clock()
        if claims.get("iss") != self.issuer:
            raise Refused("iss")
        if claims.get("token_use") != "access":
            raise Refused("token_use")
        if not isinstance(client_id := claims.get("client_id"), str) or client_id not in self._client_ids:
            raise Refused("client_id")
        issued, expires = claims.get("iat"), claims.get("exp")
        # type(), because True is an int as well
        if type(issued) is not int or issued > now + SKEW:
            raise Refused("iat")
        if type(expires) is not int or expires <= now or expires - issued > LIFETIME:
            raise Refused("exp")
        for name in ("nbf", "auth_time"):
            if name in claims and (type(claims[name]) is not int or claims[name] > now + SKEW):
                raise Refused(name)
        if not isinstance(sub := claims.get("sub"), str) or not _USER.fullmatch(sub):
            raise Refused("sub")


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


def _words(scope: object) -> list[str]:
    return scope.split(" ") if isinstance(scope, str) else []
