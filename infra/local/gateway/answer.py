"""The HTTP answer that a function URL makes of a handler's result."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from infra.local.gateway.spec import PAYLOAD_LIMIT

_OF_THE_CONNECTION = {"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"}


class MalformedResult(Exception):
    """The handler's result is no answer; a function URL sends 502 then."""


@dataclass(frozen=True)
class Answer:
    """What goes back to the caller."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def answer(result: bytes) -> Answer:
    """The answer for a handler's result, given as JSON.

    A JSON value without `statusCode` is itself the body of a 200. Raises `MalformedResult`.
    """
    if len(result) > PAYLOAD_LIMIT:
        raise MalformedResult(f"the result has {len(result)} bytes; Lambda takes {PAYLOAD_LIMIT}")
    value = json.loads(result)
    if not isinstance(value, dict) or "statusCode" not in value:
        return Answer(200, (("content-type", "application/json"),), result)
    return Answer(_status(value["statusCode"]), _headers(value), _body(value))


def message(status: int, text: str) -> Answer:
    """An answer of the platform itself."""
    return Answer(status, (("content-type", "application/json"),), json.dumps({"Message": text}).encode())


def _status(status: object) -> int:
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
        raise MalformedResult(f"statusCode must be a number from 200 to 599, not {status!r}")
    return status


def _headers(value: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    headers, cookies = value.get("headers") or {}, value.get("cookies") or []
    if not isinstance(headers, dict) or not all(isinstance(text, str) for text in headers.values()):
        raise MalformedResult("headers must be an object of strings")
    if not isinstance(cookies, list) or not all(isinstance(cookie, str) for cookie in cookies):
        raise MalformedResult("cookies must be a list of strings")
    given = {name.lower(): text for name, text in headers.items() if name.lower() not in _OF_THE_CONNECTION}
    pairs = ({"content-type": "application/json"} | given).items()
    if any(set(text) & {"\r", "\n", "\0"} for pair in pairs for text in pair) or any(
        "\n" in cookie for cookie in cookies
    ):
        raise MalformedResult("a header or cookie holds a line break")
    return (*pairs, *(("set-cookie", cookie) for cookie in cookies))


def _body(value: dict[str, Any]) -> bytes:
    body = value.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise MalformedResult(f"body must be a string, not {type(body).__name__}")
    if not value.get("isBase64Encoded"):
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise MalformedResult(f"isBase64Encoded is set, but the body is not base64: {error}") from None
