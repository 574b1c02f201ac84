"""What endpoints take from a request, each with its limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import parse_qsl

from starlette.requests import Request

from infra.local.qstash.errors import BadRequest, QuotaExceeded
from infra.local.qstash.service import Service

MOST_JSON_BYTES = 1024 * 1024
MOST_PARAMETERS = 2_000


def service_of(request: Request) -> Service:
    return cast(Service, request.app.state.service)


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The whole body. Raises QuotaExceeded before more than that is held."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > most_bytes:
        raise QuotaExceeded("maxMessageSize", most_bytes)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise QuotaExceeded("maxMessageSize", most_bytes)
        parts.append(part)
    return b"".join(parts)


def parse_json(content: bytes) -> Any:
    """Raises BadRequest."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON") from error


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; empty if there is none. Raises BadRequest."""
    content = await read_body(request, MOST_JSON_BYTES)
    if not content:
        return {}
    value = parse_json(content)
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


def query_selection(request: Request) -> dict[str, list[str]]:
    """Filters from the query: a parameter may be repeated, and may have several values with commas between them."""
    query = request.scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(query, keep_blank_values=False, max_num_fields=MOST_PARAMETERS)
    except ValueError as error:
        raise BadRequest("too many query parameters") from error
    selection: dict[str, list[str]] = {}
    for name, value in pairs:
        # An address may hold a comma of its own, and is never one of several in one parameter.
        values = [value] if name == "url" else value.split(",")
        selection.setdefault(name, []).extend(part for part in values if part)
    return selection


def header_pairs(headers: Any) -> list[tuple[str, str]]:
    """Name and value, from a JSON object whose values are texts or lists of texts. Raises BadRequest."""
    if not isinstance(headers, dict | None):
        raise BadRequest("headers must be a JSON object")
    pairs = []
    for name, given in (headers or {}).items():
        values = given if isinstance(given, list) else [given]
        if not all(isinstance(value, str) for value in values):
            raise BadRequest(f"headers: the value of {name[:64]!r} must be a text or a list of texts")
        pairs += [(name, value) for value in values]
    return pairs


def request_headers(request: Request) -> list[tuple[str, str]]:
    """Name and value of every header as its sender meant them: UTF-8, which nearly all send, or else Latin-1."""
    return [(name.decode("latin-1"), _text(value)) for name, value in request.scope["headers"]]


async def read_selection(request: Request) -> dict[str, list[str]]:
    """Filters from the query and from a JSON body: both are in use."""
    return query_selection(request) | _body_selection(await read_object(request))


def encodable(name: str, text: str) -> str:
    """`text`, unless it has half of a character, which JSON can express and UTF-8 cannot. Raises BadRequest."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(f"{name[:64]} is not valid Unicode") from error
    return text


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _body_selection(body: Mapping[str, Any]) -> dict[str, list[str]]:
    selection: dict[str, list[str]] = {}
    for name, value in body.items():
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in values):
            raise BadRequest(f"{name[:64]} must be a text, a number, or a list of them")
        selection[name] = [encodable(name, str(item)) for item in values]
    return selection
