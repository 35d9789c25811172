"""Keys and tokens for tests, written by hand so that they can be wrong in every way."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc.jwk import RSAKey
from moto.utilities.utils import load_resource

# the local AWS signs the tokens of every pool with this one
POOL_KEY = "dummy"


@cache
def rsa_key(name: str, bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """The key of this name, made once."""
    if name == POOL_KEY:
        key = RSAKey.import_key(load_resource("cognitoidp/resources/jwks-private.json")).private_key
        assert isinstance(key, rsa.RSAPrivateKey)
        return key
    return rsa.generate_private_key(exponent, bits)


def jwk(name: str, bits: int = 2048, exponent: int = 65537, **changes: Any) -> dict[str, Any]:
    """The public half of a key as a JSON Web Key whose id is its name; None as a change takes a member out."""
    numbers = rsa_key(name, bits, exponent).public_key().public_numbers()
    document = {
        "kty": "RSA",
        "kid": name,
        "use": "sig",
        "alg": "RS256",
        "n": base64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)),
        "e": base64url(numbers.e.to_bytes(3)),
    } | changes
    return {member: value for member, value in document.items() if value is not None}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def segment(value: Any) -> str:
    """A part of a token: bytes and text as they are, anything else as JSON."""
    if isinstance(value, bytes):
        return base64url(value)
    return base64url((value if isinstance(value, str) else json.dumps(value)).encode())


def rs256(name: str, signed: str) -> str:
    return base64url(rsa_key(name).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))


def make_token(header: Any, claims: Any, key: str) -> str:
    """A compact JWS, signed with RS256 whatever its header says."""
    signed = f"{segment(header)}.{segment(claims)}"
    return f"{signed}.{rs256(key, signed)}"
