"""The dead-letter queue: list, look, delete, and send again."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import query_selection, read_selection, service_of
from infra.local.qstash.archive import DeadLetter
from infra.local.qstash.options import Fields, Pairs
from infra.local.qstash.publication import Headers
from infra.local.qstash.service import Service

IDS = "dlqIds"
CREATED = 201

ANEW: Fields = {
    "delay_seconds": 0,
    "not_before": None,
    "deduplication_id": None,
    "content_based_deduplication": False,
}
"""What does not pass from a dead letter to the message that repeats it."""


async def list_dead_letters(request: Request) -> JSONResponse:
    page = service_of(request).archive.dead_letters(query_selection(request))
    answer: dict[str, object] = {"messages": [dead_letter.as_json() for dead_letter in page.entries]}
    return JSONResponse(answer | ({"cursor": page.cursor} if page.cursor else {}))


async def get_dead_letter(request: Request) -> JSONResponse:
    return JSONResponse(service_of(request).archive.dead_letter(request.path_params["id"]).as_json())


async def delete_dead_letter(request: Request) -> JSONResponse:
    service = service_of(request)
    service.archive.remove([service.archive.dead_letter(request.path_params["id"])])
    await service.store.committed()
    return JSONResponse({})


async def delete_dead_letters(request: Request) -> JSONResponse:
    service = service_of(request)
    page = service.archive.dead_letters(_ids_before_filters(await read_selection(request)))
    service.archive.remove(page.entries)
    await service.store.committed()
    return JSONResponse({"deleted": len(page.entries)} | ({"cursor": page.cursor} if page.cursor else {}))


async def retry_dead_letter(request: Request) -> JSONResponse:
    service = service_of(request)
    dead_letter = service.archive.dead_letter(request.path_params["id"])
    message_id = _send_again(service, dead_letter, _headers(request))
    await service.store.committed()
    return JSONResponse({"messageId": message_id}, status_code=CREATED)


async def retry_dead_letters(request: Request) -> JSONResponse:
    service = service_of(request)
    selection = _ids_before_filters(await read_selection(request))
    page = service.archive.dead_letters(selection)
    overrides = _headers(request)
    responses = [{"messageId": _send_again(service, dead_letter, overrides)} for dead_letter in page.entries]
    await service.store.committed()
    return JSONResponse({"cursor": page.cursor or "", "responses": responses}, status_code=CREATED)


def _send_again(service: Service, dead_letter: DeadLetter, overrides: Pairs) -> str:
    """A new message with the content of the old one, whose entry goes; the request's headers override its options."""
    fields: Fields = ANEW | service.options.read(overrides, content_type=False)
    added: Headers = fields.pop("headers", ())
    headers = _merged(dead_letter.publication.headers, added)
    publication = replace(dead_letter.publication, headers=headers, **fields)
    receipt = service.engine.accept(publication)
    service.archive.remove([dead_letter])
    return receipt.message_id


def _merged(headers: Headers, added: Headers) -> Headers:
    replaced = {name for name, _ in added}
    return (*((name, value) for name, value in headers if name not in replaced), *added)


def _headers(request: Request) -> Pairs:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]]


def _ids_before_filters(selection: dict[str, list[str]]) -> dict[str, list[str]]:
    return (
        {name: selection[name] for name in (IDS, "count", "cursor") if name in selection}
        if selection.get(IDS)
        else selection
    )


routes = [
    Route("/v2/dlq", list_dead_letters, methods=["GET"]),
    Route("/v2/dlq", delete_dead_letters, methods=["DELETE"]),
    Route("/v2/dlq/retry", retry_dead_letters, methods=["POST"]),
    Route("/v2/dlq/retry/{id}", retry_dead_letter, methods=["POST"]),
    Route("/v2/dlq/{id}", get_dead_letter, methods=["GET"]),
    Route("/v2/dlq/{id}", delete_dead_letter, methods=["DELETE"]),
]
