"""A Lambda function URL's event (payload format 2.0) and its answer, as far as a function here needs them.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from qstash_jobs.errors import InvalidMessage, SignatureRejected
from qstash_jobs.settings import Settings
from qstash_jobs.signature import recognise, verify


class LambdaContext(Protocol):
    """What is used of Lambda's context."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Until the function is killed."""


@dataclass(frozen=True)
class Request:
    """One HTTP request to a function."""

    method: str
    url: str
    """As the client addressed it, with its query."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Request:
        """Raises `InvalidMessage` when a base64 body is none."""
        http = event["requestContext"]["http"]
        query = event.get("rawQueryString") or ""
        url = f"https://{event['requestContext']['domainName']}{event['rawPath']}" + (f"?{query}" if query else "")
        body = event.get("body") or ""
        try:
            raw = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
        except (binascii.Error, ValueError) as error:
            raise InvalidMessage(f"the body is not what Lambda says it is: {error}") from None
        return cls(http["method"], url, query, {k.lower(): v for k, v in event.get("headers", {}).items()}, raw)

    def authenticate(self, settings: Settings, function: str, *, path: str = "") -> None:
        """Accept the request, or raise `SignatureRejected`; `SettingsUnreachable` and `ConfigurationError` when there are
        no keys to look with, which are read for what looks like a signature only. Where the function's address is
        configured, the signature must be for that; Lambda's own word for the domain, which a client cannot set, serves
        otherwise."""
        signature = recognise(self.headers.get("upstash-signature"))
        url = self.url
        if settings.has_url(function):
            url = settings.url(function) + path + (f"?{self.query}" if self.query else "")
        try:
            verify(signature, self.body, url, settings.signing_keys)
        except SignatureRejected as error:
            # Perhaps the keys were rotated since they were read.
            if error.reason != "wrong_key" or not settings.read_anew("QSTASH_CURRENT_SIGNING_KEY"):
                raise
            verify(signature, self.body, url, settings.signing_keys)


def response(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The answer in Lambda's shape. Always made here: a dictionary without `statusCode` would count as a success."""
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **(headers or {})},
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }
