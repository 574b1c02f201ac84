"""The event that a function URL makes of an HTTP request (payload format 2.0)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

_TEXT = re.compile(r"text/.+|application/(.+\+)?(json|javascript|xml)|application/x-www-form-urlencoded")


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """A request as it came: nothing decoded, nothing put in order."""

    method: str
    path: str
    query: str
    headers: Iterable[tuple[str, str]]
    body: bytes
    source_ip: str
    port: int
    protocol: str = "HTTP/1.1"


def function_url_event(request: HttpRequest, *, function: str, request_id: str, now: datetime) -> dict[str, Any]:
    """The event for a request. `now` is in UTC.

    In AWS each function has a domain of its own; here all share one, so that `rawPath` begins with the function's name.
    """
    headers = _joined(request.headers)
    host = headers.get("host", "")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers
        | {"x-forwarded-for": request.source_ip, "x-forwarded-port": str(request.port), "x-forwarded-proto": "http"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": function,
            "domainName": host,
            "domainPrefix": function,
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": f"{now:%d/%b/%Y:%H:%M:%S} +0000",
            "timeEpoch": int(now.astimezone(UTC).timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    if "cookie" in headers:
        event["cookies"] = re.split("[;,] *", headers["cookie"])
    if request.query:
        event["queryStringParameters"] = _joined(parse_qsl(request.query, keep_blank_values=True), lower=False)
    if request.body:
        event["body"], event["isBase64Encoded"] = _encoded(request.body, headers.get("content-type", ""))
    return event


def _joined(pairs: Iterable[tuple[str, str]], *, lower: bool = True) -> dict[str, str]:
    joined: dict[str, str] = {}
    for given, value in pairs:
        name = given.lower() if lower else given
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _encoded(body: bytes, content_type: str) -> tuple[str, bool]:
    if _TEXT.fullmatch(content_type.partition(";")[0].strip().lower()):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True
