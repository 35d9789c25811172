"""Access tokens that must be refused, each by its name, and what they are made of."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from tests.tokens import POOL_KEY, base64url, jwk, make_token, rs256, rsa_key, segment

SUB = "3c5ecd8f-853e-4a94-9bdb-15665d71fea7"
HEADER = {"kid": POOL_KEY, "alg": "RS256"}
MISSING = object()


@dataclass(frozen=True)
class Pool:
    """A user pool and what an attacker has of their own."""

    id: str
    client: str
    attackers_url: str = "http://127.0.0.1:1/"

    @property
    def issuer(self):
        return f"https://cognito-idp.us-east-1.amazonaws.com/{self.id}"

    def claims(self, **changes):
        """What Cognito says, or with changes; MISSING takes a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": SUB,
            "client_id": self.client,
            "token_use": "access",
            "iat": now,
            "auth_time": now,
            "exp": now + 3600,
            "jti": str(uuid.uuid4()),
            "username": "alice",
            "scope": "aws.cognito.signin.user.admin",
        } | changes
        return {name: value for name, value in claims.items() if value is not MISSING}

    def token(self, **changes):
        return make_token(HEADER, self.claims(**changes), POOL_KEY)


# Hostile tokens: name → function of the pool that returns the value of the Authorization header


def claim(**changes):
    return lambda pool: f"Bearer {pool.token(**changes)}"


def claim_of(name, value):
    """A claim that depends on the pool."""
    return lambda pool: f"Bearer {pool.token(**{name: value(pool)})}"


def now_plus(name, seconds):
    return lambda pool: f"Bearer {pool.token(**{name: int(time.time()) + seconds})}"


def raw_claim(name, text):
    """A claim whose value is this JSON text, which json.dumps would not write."""

    def token(pool):
        claims = json.dumps(pool.claims(**{name: "MARK"})).replace('"MARK"', text)
        return f"Bearer {make_token(HEADER, claims, POOL_KEY)}"

    return token


def header(header, key=POOL_KEY):
    """A token with this header, signed with the key; functions in the header get the pool."""

    def token(pool):
        value = {
            name: member(pool) if callable(member) else member
            for name, member in header.items()
            if member is not MISSING
        }
        return f"Bearer {make_token(value, pool.claims(), key)}"

    return token


def raw_header(value):
    return lambda pool: f"Bearer {make_token(value, pool.claims(), POOL_KEY)}"


def payload(value):
    return lambda pool: f"Bearer {make_token(HEADER, value, POOL_KEY)}"


def changed(change):
    """A valid token whose three parts are changed by `change(header, payload, signature)`."""
    return lambda pool: f"Bearer {change(*pool.token().split('.'))}"


def signed_by(alg, sign):
    """A token whose header says `alg` and whose signature is `sign(bytes)`."""

    def token(pool):
        signed = f"{segment({'kid': POOL_KEY, 'alg': alg})}.{segment(pool.claims())}"
        return f"Bearer {signed}.{base64url(sign(signed.encode()))}"

    return token


def hs256(secret):
    return signed_by("HS256", lambda data: hmac.digest(secret, data, hashlib.sha256))


def public_key(encoding, form=serialization.PublicFormat.SubjectPublicKeyInfo):
    return rsa_key(POOL_KEY).public_key().public_bytes(encoding, form)


def rsa_signature(scheme, digest):
    return lambda data: rsa_key(POOL_KEY).sign(data, scheme, digest)


def es256(data):
    return ec.generate_private_key(ec.SECP256R1()).sign(data, ec.ECDSA(hashes.SHA256()))


def malleable(head, body, signature):
    """The same bytes, but with a bit set that base64url does not use."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return f"{head}.{body}.{signature[:-1]}{alphabet[alphabet.index(signature[-1]) + 1]}"


def nested(depth):
    return '{"kid": "dummy", "alg": "RS256", "x": ' + "[" * depth + "]" * depth + "}"


def with_second_sub(claims):
    return f'{json.dumps(claims)[:-1]}, "sub": "{uuid.uuid4()}"}}'


ATTACKER = "attacker"
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)

# refused for their form or their header, before any key is looked for
MALFORMED = {
    "alg none without signature": lambda pool: f"Bearer {segment({**HEADER, 'alg': 'none'})}.{segment(pool.claims())}.",
    "alg none": header({**HEADER, "alg": "none"}),
    "alg NoNe": header({**HEADER, "alg": "NoNe"}),
    "alg missing": header({"kid": POOL_KEY}),
    "alg null": header({**HEADER, "alg": None}),
    "alg a list": header({**HEADER, "alg": ["RS256"]}),
    "alg an object": header({**HEADER, "alg": {"RS256": 1}}),
    "alg in lower case": header({**HEADER, "alg": "rs256"}),
    "alg with a space": header({**HEADER, "alg": "RS256 "}),
    "HS256 with the public key as PEM": hs256(public_key(serialization.Encoding.PEM)),
    "HS256 with the public key as DER": hs256(public_key(serialization.Encoding.DER)),
    "HS256 with the public key as JWK": hs256(json.dumps(jwk(POOL_KEY)).encode()),
    "HS256 with no key": hs256(b""),
    "RS512": signed_by("RS512", rsa_signature(padding.PKCS1v15(), hashes.SHA512())),
    "PS256": signed_by("PS256", rsa_signature(PSS, hashes.SHA256())),
    "ES256": signed_by("ES256", es256),
    "jwk of the attacker": header({**HEADER, "jwk": lambda _: jwk(ATTACKER)}, ATTACKER),
    "jwk of the attacker, signed by the pool": header({**HEADER, "jwk": {"kty": "RSA"}}),
    "jku of the attacker": header({**HEADER, "kid": ATTACKER, "jku": lambda pool: pool.attackers_url}, ATTACKER),
    "jku of the attacker, signed by the pool": header({**HEADER, "jku": lambda pool: pool.attackers_url}),
    "x5u of the attacker": header({**HEADER, "x5u": lambda pool: pool.attackers_url}, ATTACKER),
    "x5u of the attacker, signed by the pool": header({**HEADER, "x5u": lambda pool: pool.attackers_url}),
    "x5c": header({**HEADER, "x5c": ["MIIB"]}),
    "x5t": header({**HEADER, "x5t": "MIIB"}),
    "x5t#S256": header({**HEADER, "x5t#S256": "MIIB"}),
    "enc": header({**HEADER, "enc": "A128GCM"}),
    "crit empty": header({**HEADER, "crit": []}),
    "crit a word": header({**HEADER, "crit": "exp"}),
    "crit a number": header({**HEADER, "crit": 5}),
    "crit exp": header({**HEADER, "crit": ["exp"], "exp": 1}),
    "b64 false and crit": header({**HEADER, "crit": ["b64"], "b64": False}),
    "b64 false": header({**HEADER, "b64": False}),
    "b64 true": header({**HEADER, "b64": True}),
    "compressed": header({**HEADER, "zip": "DEF"}),
    "kid missing": header({"alg": "RS256"}),
    "kid null": header({**HEADER, "kid": None}),
    "kid a number": header({**HEADER, "kid": 1}),
    "kid a list": header({**HEADER, "kid": [POOL_KEY]}),
    "kid empty": header({**HEADER, "kid": ""}),
    "kid of 10 KB": header({**HEADER, "kid": "k" * 10_000}),
    "signature empty": changed(lambda head, body, _: f"{head}.{body}."),
    "padded": changed(lambda head, body, signature: f"{head}.{body}.{signature}=="),
    "padded payload": changed(lambda head, body, signature: f"{head}.{body}=.{signature}"),
    "malleable base64": changed(malleable),
    "base64 of one letter too many": changed(lambda head, body, signature: f"{head}.{body}.{signature}AAA"),
    "base64 with plus": changed(lambda head, body, signature: f"{head}.{body}.+{signature[1:]}"),
    "a line feed within": changed(lambda head, body, signature: f"{head}.{body}\t.{signature}"),
    "a letter that is not ASCII": changed(lambda head, body, signature: f"{head}.{body}.é{signature}"),
    "five parts": changed(lambda head, body, signature: f"{head}.{body}.{signature}.{body}.{signature}"),
    "four parts": changed(lambda head, body, signature: f"{head}.{body}.{signature}.{signature}"),
    "two parts": changed(lambda head, body, _: f"{head}.{body}"),
    "one part": changed(lambda head, *_: head),
    "only dots": lambda _: "Bearer ..",
    "a word": lambda _: "Bearer x",
    "no token": lambda _: "Bearer",
    "7 KB": claim(padding="x" * 4700),
    "header nested, 6 KB": raw_header(nested(2200)),
    "header nested, 500 bytes": raw_header(nested(200)),
    "header of 600 bytes": header({**HEADER, "x": "y" * 500}),
    "header not closed": raw_header("[" * 500),
    "header in UTF-16": raw_header(json.dumps(HEADER).encode("utf-16")),
    "header with a byte order mark": raw_header(b"\xef\xbb\xbf" + json.dumps(HEADER).encode()),
    "header not UTF-8": raw_header(b'{"kid": "dummy", "alg": "RS256", "x": "\xff"}'),
    "header a list": raw_header([HEADER]),
    "header a list of pairs": raw_header([["alg", "RS256"], ["kid", POOL_KEY]]),
    "header a string": raw_header('"alg"'),
    "header a number": raw_header("1"),
    "header null": raw_header("null"),
    "header not JSON": raw_header("alg: RS256"),
    "header empty": raw_header(b"{}"),
    "header says alg twice": raw_header('{"alg": "none", "kid": "dummy", "alg": "RS256"}'),
    "header with NaN": raw_header('{"kid": "dummy", "alg": "RS256", "x": NaN}'),
    "scheme Basic": lambda pool: f"Basic {pool.token()}",
    "scheme Token": lambda pool: f"Token {pool.token()}",
    "no scheme": lambda pool: pool.token(),
    "scheme twice": lambda pool: f"Bearer Bearer {pool.token()}",
    "two spaces": lambda pool: f"Bearer  {pool.token()}",
    "a tab": lambda pool: f"Bearer\t{pool.token()}",
    "two tokens": lambda pool: f"Bearer {pool.token()}, Bearer {pool.token()}",
    "something after it": lambda pool: f"Bearer {pool.token()} x",
}

# refused for their key, their signature or their claims
INVALID = {
    "RS256 in the header, signed as RS512": signed_by("RS256", rsa_signature(padding.PKCS1v15(), hashes.SHA512())),
    "RS256 in the header, signed as PS256": signed_by("RS256", rsa_signature(PSS, hashes.SHA256())),
    "kid unknown": header({**HEADER, "kid": "unknown"}),
    "kid in capitals": header({**HEADER, "kid": POOL_KEY.upper()}),
    "kid a path": header({**HEADER, "kid": "../../../../dev/null"}),
    "kid an SQL injection": header({**HEADER, "kid": "x' UNION SELECT 'key'--"}),
    "signed by the attacker": header(HEADER, ATTACKER),
    "iss missing": claim(iss=MISSING),
    "iss another pool": claim(iss="https://cognito-idp.us-east-1.amazonaws.com/us-east-1_attacker"),
    "iss a prefix": claim_of("iss", lambda pool: pool.issuer[:-1]),
    "iss with a suffix": claim_of("iss", lambda pool: f"{pool.issuer}.evil"),
    "iss with a slash": claim_of("iss", lambda pool: f"{pool.issuer}/"),
    "iss a list": claim_of("iss", lambda pool: [pool.issuer]),
    "iss over http": claim_of("iss", lambda pool: pool.issuer.replace("https", "http")),
    "iss in capitals": claim_of("iss", lambda pool: pool.issuer.upper()),
    "iss another Region": claim_of("iss", lambda pool: pool.issuer.replace("idp.us-east-1", "idp.us-west-2")),
    "token_use id": claim(token_use="id"),
    "token_use missing": claim(token_use=MISSING),
    "token_use in capitals": claim(token_use="ACCESS"),
    "token_use a list": claim(token_use=["access"]),
    "client_id wrong": claim(client_id="another"),
    "client_id missing": claim(client_id=MISSING),
    "client_id empty": claim(client_id=""),
    "client_id a list": claim_of("client_id", lambda pool: [pool.client]),
    "client_id an object": claim_of("client_id", lambda pool: {pool.client: 1}),
    "client_id a prefix": claim_of("client_id", lambda pool: pool.client[:-1]),
    "aud right and client_id wrong": lambda pool: f"Bearer {pool.token(aud=pool.client, client_id='another')}",
    "aud right and client_id missing": lambda pool: f"Bearer {pool.token(aud=pool.client, client_id=MISSING)}",
    "an id token": lambda pool: f"Bearer {pool.token(aud=pool.client, client_id=MISSING, token_use='id')}",
    "exp a second ago": now_plus("exp", -1),
    "exp a year ago": now_plus("exp", -365 * 86400),
    "exp missing": claim(exp=MISSING),
    "exp null": claim(exp=None),
    "exp a string": claim_of("exp", lambda _: str(int(time.time()) + 3600)),
    "exp a fraction": claim_of("exp", lambda _: time.time() + 3600.5),
    "exp NaN": raw_claim("exp", "NaN"),
    "exp Infinity": raw_claim("exp", "Infinity"),
    "exp 1e400": raw_claim("exp", "1e400"),
    "exp a list": claim_of("exp", lambda _: [int(time.time()) + 3600]),
    "exp true": claim(exp=True),
    "exp negative": claim(exp=-1),
    "exp a year ahead": now_plus("exp", 365 * 86400),
    # the very second is in test_cognito.py: here some pass before the token is looked at
    "exp more than a day ahead": now_plus("exp", 24 * 3600 + 600),
    "nbf in the future": now_plus("nbf", 3600),
    "nbf a string": claim(nbf="0"),
    "nbf null": claim(nbf=None),
    "iat in the future": now_plus("iat", 3600),
    "iat missing": claim(iat=MISSING),
    "iat a string": claim(iat="0"),
    "iat true": claim(iat=True),
    "auth_time in the future": now_plus("auth_time", 3600),
    "auth_time a list": claim(auth_time=[]),
    "sub missing": claim(sub=MISSING),
    "sub empty": claim(sub=""),
    "sub null": claim(sub=None),
    "sub a space": claim(sub=" "),
    "sub a number": claim(sub=1),
    "sub a list": claim(sub=[SUB]),
    "sub SYSTEM": claim(sub="SYSTEM"),
    "sub with a line feed": claim(sub=f"{SUB}\n"),
    "sub with NUL": claim(sub=f"{SUB}\0"),
    "sub of 3,000 digits": claim(sub="1" * 3000),
    "sub of a client that signed in for itself": claim_of("sub", lambda pool: pool.client),
    "payload truncated": changed(lambda head, body, signature: f"{head}.{body[:-4]}.{signature}"),
    "signature truncated": changed(lambda head, body, signature: f"{head}.{body}.{signature[:-4]}"),
    "exp of 3,000 digits": raw_claim("exp", "9" * 3000),
    "payload of another token": changed(lambda head, body, signature: f"{head}.{segment({'sub': SUB})}.{signature}"),
    "signature of another text": changed(lambda head, body, _: f"{head}.{body}.{rs256(POOL_KEY, 'another')}"),
    "signature twice": changed(lambda head, body, signature: f"{head}.{body}.{signature}{signature}"),
    "signature of zeros": changed(lambda head, body, _: f"{head}.{body}.{base64url(bytes(256))}"),
    "payload a list": payload([]),
    "payload a string": payload('"sub"'),
    "payload a number": payload("1"),
    "payload null": payload("null"),
    "payload not JSON": payload("sub"),
    "payload not UTF-8": payload(b'{"sub": "\xff"}'),
    "payload nested": payload("[" * 4000),
    "sub twice": lambda pool: f"Bearer {make_token(HEADER, with_second_sub(pool.claims()), POOL_KEY)}",
    "lone surrogate in sub": raw_claim("sub", r'"\ud800"'),
}

HOSTILE = MALFORMED | INVALID

# what Nginx refuses by itself: a header of more than 8 KiB
REFUSED_BY_NGINX = {"kid of 10 KB": 431}
