"""The public keys of a user pool: loaded from its key address in the background, and kept when that fails."""

from __future__ import annotations

import base64
import json
import logging
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .background import BackgroundJob

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey

log = logging.getLogger(__name__)

# all in seconds
FRESH, USABLE = 3600, 24 * 3600
BETWEEN_FETCHES = 10.0
TIMEOUT = 2.0
WHOLE_FETCH = 4.0

ANSWER_BYTES = 64 * 1024
KEY_BITS = range(2048, 8192 + 1)
KEYS = 20


class KeysUnavailable(Exception):
    """No keys have been loaded, or none within the last 24 hours; `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("no keys")
        self.retry_after = retry_after


class KeyCache:
    """The RSA signing keys that the JSON Web Key Set at `url` lists (RFC 7517), by their key id.

    Keys older than FRESH are loaded anew, and stay in use until USABLE while that fails. A process has one fetch under
    way at most, and begins one in BETWEEN_FETCHES at most, whatever it is asked for. `clock` is in seconds.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._clock = clock
        self._keys: Mapping[str, RSAKey] = {}
        self._loaded: float | None = None
        self.job = BackgroundJob(self._load, BETWEEN_FETCHES)

    def find(self, kid: str) -> RSAKey | None:
        """The key, None when the pool has none of this id. Raises KeysUnavailable.

        A known key is returned at once. For an unknown one, the request that starts the fetch waits for it. So do all
        before the first fetch of the process has ended, since none of their keys could be known; but not once that has
        taken WHOLE_FETCH, as it may where a name is not resolved or a header trickles.
        """
        key = self._known(kid)
        if key is None:
            if self.job.start() or not self.job.ended:
                self.job.wait(min(TIMEOUT, WHOLE_FETCH - self.job.seconds_since_start()))
            key = self._known(kid)
        elif self._age() > FRESH:
            self.job.start()
        if self._age() > USABLE:
            raise KeysUnavailable(self.job.seconds_until_next())
        return key

    def _known(self, kid: str) -> RSAKey | None:
        return self._keys.get(kid) if self._age() <= USABLE else None

    def _age(self) -> float:
        return float("inf") if self._loaded is None else self._clock() - self._loaded

    def _load(self) -> None:
        began = self._clock()
        try:
            keys = parse_keys(fetch(self.url))
        except Exception as error:
            log.error("the user pool's keys could not be loaded from %s: %s: %s", self.url, type(error).__name__, error)
        else:
            self._keys, self._loaded = keys, began


class _RefuseRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_RefuseRedirects)


def fetch(url: str) -> bytes:
    """The body of a good answer. Raises OSError, also for a redirect, a longer body, or one that takes too long.

    How long a header takes is not bounded, except by TIMEOUT between two reads of it; but nobody waits longer than
    WHOLE_FETCH.
    """
    deadline = time.monotonic() + WHOLE_FETCH
    body = b""
    with _opener.open(url, timeout=TIMEOUT) as answer:
        # read1 returns what is there, so that a trickle meets the deadline
        while chunk := answer.read1(ANSWER_BYTES + 1):
            body += chunk
            if len(body) > ANSWER_BYTES:
                raise OSError(f"more than {ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                raise OSError(f"not complete after {WHOLE_FETCH} s")
    return body


def parse_keys(document: bytes) -> dict[str, RSAKey]:
    """The usable keys of a JSON Web Key Set. Raises ValueError when there are none."""
    value = json.loads(document)
    entries = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError("the answer is no list of keys")
    keys = dict(filter(None, map(_parse_key, entries[:KEYS])))
    if not keys:
        raise ValueError("none of the keys can be used: RS256 needs RSA, with 2048 bits or more")
    return keys


def _parse_key(entry: Any) -> tuple[str, RSAKey] | None:
    """The key and its id; None for what is no public RSA key that signs with RS256."""
    # takes 50 ms, which a start need not wait for
    from joserfc.jwk import RSAKey

    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
        return None
    if entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
        return None
    try:
        modulus, exponent = (int.from_bytes(base64.urlsafe_b64decode(entry[name] + "==")) for name in ("n", "e"))
        if modulus.bit_length() not in KEY_BITS or exponent != 65537:
            return None
        key = RSAKey.import_key({"kty": "RSA", "n": entry["n"], "e": entry["e"]})
    except Exception:
        return None
    return entry["kid"], key
