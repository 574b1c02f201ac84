"""The signature of a delivery: a JWT over its address and its body."""

from __future__ import annotations

import base64
import hashlib
import secrets
import string
import time
import uuid

import jwt

LIFETIME_SECONDS = 300
_ALPHABET = string.ascii_letters + string.digits


def sign(key: str, url: str, body: bytes) -> str:
    """The `Upstash-Signature` of a delivery of `body` to `url`, as it was published. Always in real time."""
    issued_at = int(time.time())
    claims = {
        "iss": "Upstash",
        "sub": url,
        "exp": issued_at + LIFETIME_SECONDS,
        "nbf": 0,
        "iat": issued_at,
        "jti": f"jwt_{uuid.uuid4().hex}",
        "body": base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode(),
    }
    return jwt.encode(claims, key, algorithm="HS256")


def new_key() -> str:
    """A signing key in the service's form."""
    return "sig_" + "".join(secrets.choice(_ALPHABET) for _ in range(28))
