"""An access token and the key set that verifies it, with nothing but the standard library. For measurements only."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import time
from typing import Any

# RFC 8017 §9.2: what stands before a SHA-256 digest in a PKCS #1 v1.5 signature
SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")
BITS, EXPONENT = 2048, 65537


def make_token(claims: dict[str, Any]) -> tuple[str, str]:
    """A token with these claims that is valid for an hour, and the JSON Web Key Set for it."""
    numbers = random.Random("a key that protects nothing")
    p, q = _prime(numbers), _prime(numbers)
    n, d = p * q, pow(EXPONENT, -1, (p - 1) * (q - 1))
    now = int(time.time())
    signed = f"{_part({'alg': 'RS256', 'kid': 'bench'})}.{_part({'iat': now, 'exp': now + 3600} | claims)}"
    digest = SHA256_PREFIX + hashlib.sha256(signed.encode()).digest()
    padded = b"\0\1" + b"\xff" * (BITS // 8 - len(digest) - 3) + b"\0" + digest
    signature = pow(int.from_bytes(padded), d, n).to_bytes(BITS // 8)
    key = {"kty": "RSA", "kid": "bench", "use": "sig", "alg": "RS256", "n": _integer(n), "e": _integer(EXPONENT)}
    return f"{signed}.{_base64url(signature)}", json.dumps({"keys": [key]})


def _prime(numbers: random.Random) -> int:
    while True:
        # the two highest bits make the product of two as long as it has to be
        candidate = numbers.getrandbits(BITS // 2) | 3 << (BITS // 2 - 2) | 1
        if candidate % EXPONENT != 1 and all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5, 7)):
            return candidate


def _part(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value).encode())


def _integer(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
