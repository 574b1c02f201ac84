"""Who may run a job: only QStash, which signs each request for one URL and one body.

`Upstash-Signature` is a JWT (HS256) whose claims are `iss` Upstash, `sub` the destination as it was published, `exp`
and `nbf` its time window in unix seconds, and `body` the base64url SHA-256 of the raw body. Headers are not signed.
Source: https://upstash.com/docs/qstash/features/security
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import jwt

from qstash_jobs.errors import SignatureRejected

LEEWAY = timedelta(seconds=5)
"""How far our clock and QStash's may be apart."""

_REQUIRED = ["iss", "sub", "exp", "nbf", "body"]
_DEFAULT_PORTS = {"https": ":443", "http": ":80"}
_URL = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<user>[^/?#]*@)?(?P<host>[^/?#@]+)(?P<path>[^?]*)(?P<query>.*)", re.IGNORECASE | re.DOTALL
)


def verify(signature: str | None, body: bytes, url: str, keys: Sequence[str]) -> None:
    """Accept the request, or raise `SignatureRejected` with the first reason that holds.

    `body` is the raw body, decoded from base64 where Lambda encoded it; `url` is the address of this function, with
    the query of the request; `keys` are the current signing key and the next.
    """
    claims = _claims(recognise(signature), keys)
    if normalise(claims["sub"]) != normalise(url):
        raise SignatureRejected("wrong_url")
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=")
    claimed = claims["body"]
    if not isinstance(claimed, str) or not hmac.compare_digest(claimed.rstrip("=").encode(errors="replace"), digest):
        raise SignatureRejected("wrong_body")


def recognise(signature: str | None) -> str:
    """The signature, if it has the three parts of a token, for which no key is needed. Raises `SignatureRejected`."""
    if not signature:
        raise SignatureRejected("missing")
    if not signature.isascii() or signature.count(".") != 2:  # PyJWT would fail to encode what is not ASCII
        raise SignatureRejected("malformed")
    return signature


def normalise(url: str) -> str:
    """The form in which two addresses are compared: lower-case scheme and host, no default port, one trailing slash of
    the path ignored; path and query otherwise to the byte."""
    match = _URL.fullmatch(url)
    if match is None:
        return url
    scheme = match["scheme"].lower()
    host = match["host"].lower().removesuffix(_DEFAULT_PORTS.get(scheme, "/"))
    return f"{scheme}://{match['user'] or ''}{host}{match['path'].removesuffix('/')}{match['query']}"


def _claims(signature: str, keys: Sequence[str]) -> dict[str, Any]:
    for key in keys:
        try:
            claims: dict[str, Any] = jwt.decode(
                signature,
                key,
                algorithms=["HS256"],
                issuer="Upstash",
                leeway=LEEWAY,
                options={"require": _REQUIRED},
            )
        except jwt.InvalidSignatureError:
            continue  # perhaps the other key signed it
        except jwt.InvalidTokenError as error:
            raise SignatureRejected(_reason(error)) from None
        else:
            return claims
    raise SignatureRejected("wrong_key")


def _reason(error: jwt.InvalidTokenError) -> str:
    # The order matters: the specific classes derive from the general ones.
    reasons: tuple[tuple[type[jwt.InvalidTokenError], str], ...] = (
        (jwt.ExpiredSignatureError, "expired"),
        (jwt.ImmatureSignatureError, "too_early"),
        (jwt.InvalidIssuerError, "wrong_issuer"),
        (jwt.MissingRequiredClaimError, "missing_claim"),
        (jwt.InvalidAlgorithmError, "wrong_algorithm"),
    )
    return next((reason for kind, reason in reasons if isinstance(error, kind)), "malformed")
