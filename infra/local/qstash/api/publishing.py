"""Publish, enqueue, batch: the ways in."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import encodable, parse_json, read_body, service_of
from infra.local.qstash.destination import TOKEN_PARAMETER, from_path, split_query
from infra.local.qstash.engine import Receipt
from infra.local.qstash.errors import ApiError, BadRequest, PublishRefused, QuotaExceeded
from infra.local.qstash.message import Json
from infra.local.qstash.options import Fields
from infra.local.qstash.publication import Publication
from infra.local.qstash.service import Service

MOST_BATCH_BYTES = 100 * 1024 * 1024


async def publish(request: Request) -> JSONResponse:
    return await _take(request, from_path_segments=2, queue=None)


async def enqueue(request: Request) -> JSONResponse:
    queue = service_of(request).options.identifier("queueName", request.path_params["queue"])
    return await _take(request, from_path_segments=3, queue=queue)


async def batch(request: Request) -> JSONResponse:
    """Each entry is answered in its place; one that is refused does not keep the others back."""
    service = service_of(request)
    refuse_if_told(service)
    entries = parse_json(await read_body(request, MOST_BATCH_BYTES))
    if not isinstance(entries, list):
        raise BadRequest("the body must be a JSON array of messages")
    caller_ip = _caller_ip(request)
    answers = [_take_entry(service, entry, caller_ip) for entry in entries]
    await service.store.committed()
    return JSONResponse(answers)


def refuse_if_told(service: Service) -> None:
    """Raises PublishRefused while that fault is switched on."""
    if service.faults.refuse_publishes is not None:
        raise PublishRefused(service.faults.refuse_publishes)


async def read_publication(request: Request, *, from_path_segments: int) -> tuple[Publication, dict[str, str]]:
    """What the request asks to send, and its configuration (headers over query parameters) by lower-case name."""
    service = service_of(request)
    own_query, configuration = split_query(request.scope["query_string"].decode("latin-1"))
    destination = from_path(request.scope["raw_path"], from_path_segments, own_query)
    pairs = [pair for pair in configuration if pair[0] != TOKEN_PARAMETER]
    pairs += [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]]
    body = await read_body(request, service.settings.limits.max_message_bytes)
    return draft(service, destination, pairs, body, _caller_ip(request)), dict(pairs)


def draft(
    service: Service, destination: str, pairs: Iterable[tuple[str, str]], body: bytes, caller_ip: str | None
) -> Publication:
    """Raises BadRequest and QuotaExceeded."""
    limits = service.settings.limits
    if len(body) > limits.max_message_bytes:
        raise QuotaExceeded("maxMessageSize", limits.max_message_bytes)
    fields: Fields = {"retries": limits.default_retries} | service.options.read(pairs)
    not_before = fields.get("not_before")
    if not_before is not None and not_before - time.time() > limits.max_delay_seconds:
        raise QuotaExceeded("maxDelay", limits.max_delay_seconds)
    url = service.destinations.check(destination)
    return Publication(url=url, body=body, caller_ip=caller_ip, **fields)


async def _take(request: Request, *, from_path_segments: int, queue: str | None) -> JSONResponse:
    service = service_of(request)
    refuse_if_told(service)
    publication, configuration = await read_publication(request, from_path_segments=from_path_segments)
    if "upstash-cron" in configuration:
        raise BadRequest("Upstash-Cron: schedules are made at /v2/schedules/")
    receipt = service.engine.accept(_on_queue(publication, queue))
    await service.store.committed()
    return JSONResponse(_receipt_json(receipt), status_code=202 if receipt.deduplicated else 200)


def _take_entry(service: Service, entry: Any, caller_ip: str | None) -> Json:
    try:
        return _receipt_json(service.engine.accept(_entry_publication(service, entry, caller_ip)))
    except ApiError as error:
        return {"error": error.text}


def _entry_publication(service: Service, entry: Any, caller_ip: str | None) -> Publication:
    if not isinstance(entry, dict):
        raise BadRequest("each message must be a JSON object")
    destination, body, queue = entry.get("destination"), entry.get("body"), entry.get("queue")
    if not isinstance(destination, str):
        raise BadRequest("destination must be a text")
    if not isinstance(body, str | None):
        raise BadRequest("body must be a text")
    if not isinstance(queue, str | None):
        raise BadRequest("queue must be a text")
    content = encodable("body", body or "").encode()
    publication = draft(service, destination, _entry_headers(entry.get("headers")), content, caller_ip)
    return _on_queue(publication, queue and service.options.identifier("queue", queue))


def _entry_headers(headers: Any) -> list[tuple[str, str]]:
    """Name and value, where a value may also be a list of values."""
    if not isinstance(headers, dict | None):
        raise BadRequest("headers must be a JSON object")
    pairs = []
    for name, given in (headers or {}).items():
        values = given if isinstance(given, list) else [given]
        if not all(isinstance(value, str) for value in values):
            raise BadRequest(f"headers: the value of {name[:64]!r} must be a text or a list of texts")
        pairs += [(name, value) for value in values]
    return pairs


def _on_queue(publication: Publication, queue: str | None) -> Publication:
    return replace(publication, queue=queue) if queue else publication


def _receipt_json(receipt: Receipt) -> Json:
    answer: Json = {"messageId": receipt.message_id}
    return answer | {"deduplicated": True} if receipt.deduplicated else answer


def _caller_ip(request: Request) -> str | None:
    return request.client.host if request.client else None


routes = [
    Route("/v2/publish/{destination:path}", publish, methods=["POST"]),
    Route("/v2/enqueue/{queue}/{destination:path}", enqueue, methods=["POST"]),
    Route("/v2/batch", batch, methods=["POST"]),
]
