"""Publish, enqueue, batch: the ways in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import encodable, header_pairs, parse_json, read_body, request_headers, service_of
from infra.local.qstash.destination import TOKEN_PARAMETER, from_path, split_query
from infra.local.qstash.engine import Receipt
from infra.local.qstash.errors import ApiError, BadRequest, PublishRefused, QuotaExceeded
from infra.local.qstash.message import Json
from infra.local.qstash.options import Fields
from infra.local.qstash.publication import Publication, shared
from infra.local.qstash.service import Service

MOST_BATCH_BYTES = 100 * 1024 * 1024


async def publish(request: Request) -> JSONResponse:
    return await _take(request, from_path_segments=2, queue=None)


async def enqueue(request: Request) -> JSONResponse:
    # As it was sent: decoded, a name with a slash would pass for a shorter one.
    parts = request.scope["raw_path"].split(b"/", 4)
    if len(parts) < 5:
        raise BadRequest("the path must be /v2/enqueue/{queueName}/{destination}, and its slashes no %2F")
    queue = service_of(request).options.identifier("queueName", unquote(parts[3].decode("latin-1")))
    return await _take(request, from_path_segments=3, queue=queue)


async def batch(request: Request) -> JSONResponse:
    """Each entry is answered in its place; one that is refused does not keep the others back."""
    service = service_of(request)
    refuse_if_told(service)
    entries = parse_json(await read_body(request, MOST_BATCH_BYTES))
    if not isinstance(entries, list):
        raise BadRequest("the body must be a JSON array of messages")
    service.quota.check()
    caller_ip = _caller_ip(request)
    answers = [_take_entry(service, entry, caller_ip) for entry in entries]
    await service.store.committed()
    return JSONResponse(answers)


def refuse_if_told(service: Service) -> None:
    """Raises PublishRefused while that fault is switched on."""
    if (status := service.faults.refusal()) is not None:
        raise PublishRefused(status)


async def read_publication(request: Request, *, from_path_segments: int) -> tuple[Publication, dict[str, str]]:
    """What the request asks to send, and its configuration (headers over query parameters) by lower-case name."""
    service = service_of(request)
    own_query, configuration = split_query(request.scope["query_string"].decode("latin-1"))
    destination = from_path(request.scope["raw_path"], from_path_segments, own_query)
    pairs = [pair for pair in configuration if pair[0] != TOKEN_PARAMETER]
    pairs += request_headers(request)
    body = await read_body(request, service.settings.limits.max_message_bytes)
    return draft(service, destination, pairs, body, _caller_ip(request)), dict(pairs)


def draft(
    service: Service, destination: str, pairs: Sequence[tuple[str, str]], body: bytes, caller_ip: str | None
) -> Publication:
    """What these headers make of a body for an address, or for a URL group. Raises BadRequest and QuotaExceeded."""
    limits = service.settings.limits
    if len(body) > limits.max_message_bytes:
        raise QuotaExceeded("maxMessageSize", limits.max_message_bytes)
    group = service.url_groups.find(destination)
    if group is not None:
        pairs = [*group.defaults_beside(pairs), *pairs]
    fields: Fields = {"retries": limits.default_retries} | service.options.read(pairs)
    check_not_before(service, fields)
    if group is not None:
        return Publication(url=group.name, topic=group.name, body=body, caller_ip=caller_ip, **fields)
    url = shared(service.destinations.check(destination))
    return Publication(url=url, body=body, caller_ip=caller_ip, **fields)


def check_not_before(service: Service, fields: Fields) -> None:
    """Raises QuotaExceeded for a time that is farther away than the plan's longest delay."""
    not_before, most = fields.get("not_before"), service.settings.limits.max_delay_seconds
    if not_before is not None and not_before - time.time() > most:
        raise QuotaExceeded("maxDelay", most)


async def repeat_by_cron(service: Service, publication: Publication, configuration: dict[str, str]) -> JSONResponse:
    """Make a schedule of the publication instead of sending it."""
    if publication.not_before is not None:
        raise BadRequest("Upstash-Not-Before cannot be used with a schedule")
    if (cron := configuration.get("upstash-cron")) is None:
        raise BadRequest("Upstash-Cron is missing")
    if schedule_id := configuration.get("upstash-schedule-id"):
        service.options.identifier("Upstash-Schedule-Id", schedule_id)
    if queue := configuration.get("upstash-queue-name"):
        publication = replace(publication, queue=service.options.identifier("Upstash-Queue-Name", queue))
    schedule_id = service.schedules.put(publication, cron, schedule_id)
    await service.store.committed()
    return JSONResponse({"scheduleId": schedule_id})


async def _take(request: Request, *, from_path_segments: int, queue: str | None) -> JSONResponse:
    service = service_of(request)
    refuse_if_told(service)
    publication, configuration = await read_publication(request, from_path_segments=from_path_segments)
    publication = _on_queue(publication, queue)
    if "upstash-cron" in configuration:
        return await repeat_by_cron(service, publication, configuration)
    receipts = _accept(service, publication)
    await service.store.committed()
    repeated = all(receipt.deduplicated for receipt in receipts)
    return JSONResponse(_receipts_json(publication, receipts), status_code=202 if repeated else 200)


def _accept(service: Service, publication: Publication) -> list[Receipt]:
    """One receipt, or one for each endpoint of its URL group."""
    publications = service.url_groups.expand(publication)
    service.quota.check(len(publications))
    return [service.engine.accept(one) for one in publications]


def _take_entry(service: Service, entry: Any, caller_ip: str | None) -> Json | list[Json]:
    try:
        publication = _entry_publication(service, entry, caller_ip)
        return _receipts_json(publication, _accept(service, publication))
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
    content, pairs = encodable("body", body or "").encode(), header_pairs(entry.get("headers"))
    if any(name.lower() == "upstash-cron" for name, _ in pairs):
        raise BadRequest("Upstash-Cron cannot be used in a batch: create each schedule by itself")
    publication = draft(service, destination, pairs, content, caller_ip)
    return _on_queue(publication, queue and service.options.identifier("queue", queue))


def _on_queue(publication: Publication, queue: str | None) -> Publication:
    return replace(publication, queue=queue) if queue else publication


def _receipts_json(publication: Publication, receipts: list[Receipt]) -> Json | list[Json]:
    if publication.topic is None:
        return receipt_json(receipts[0])
    return [receipt_json(receipt) | {"url": receipt.url} for receipt in receipts]


def receipt_json(receipt: Receipt) -> Json:
    """The answer to one message."""
    answer: Json = {"messageId": receipt.message_id}
    return answer | {"deduplicated": True} if receipt.deduplicated else answer


def _caller_ip(request: Request) -> str | None:
    return request.client.host if request.client else None


routes = [
    Route("/v2/publish/{destination:path}", publish, methods=["POST"]),
    Route("/v2/enqueue/{queue}/{destination:path}", enqueue, methods=["POST"]),
    Route("/v2/batch", batch, methods=["POST"]),
]
