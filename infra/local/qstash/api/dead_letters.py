"""The dead-letter queue: list, look, delete, and send again."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.publishing import check_not_before, receipt_json, refuse_if_told
from infra.local.qstash.api.reading import query_selection, read_selection, request_headers, service_of
from infra.local.qstash.archive import DeadLetter
from infra.local.qstash.destination import TOKEN_PARAMETER, split_query
from infra.local.qstash.message import Json
from infra.local.qstash.options import PREFIX, Fields, Pairs
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
    refuse_if_told(service)
    dead_letter = service.archive.dead_letter(request.path_params["id"])
    (answer,) = _send_again(service, [dead_letter], _configuration(request))
    await service.store.committed()
    return JSONResponse(answer, status_code=CREATED)


async def retry_dead_letters(request: Request) -> JSONResponse:
    service = service_of(request)
    refuse_if_told(service)
    selection = _ids_before_filters(await read_selection(request))
    filters = {name: values for name, values in selection.items() if not name.lower().startswith(PREFIX)}
    page = service.archive.dead_letters(filters)
    responses = _send_again(service, page.entries, _configuration(request))
    await service.store.committed()
    return JSONResponse({"cursor": page.cursor or "", "responses": responses}, status_code=CREATED)


def _send_again(service: Service, dead_letters: list[DeadLetter], overrides: Pairs) -> list[Json]:
    """New messages with the content of the old ones, whose entries go; the request's options override theirs. An entry
    whose message repeats another one stays: nothing was sent for it."""
    fields: Fields = ANEW | service.options.read(overrides, content_type=False)
    check_not_before(service, fields)
    added: Headers = fields.pop("headers", ())
    service.quota.check(len(dead_letters))
    answers = []
    for dead_letter in dead_letters:
        headers = _merged(dead_letter.publication.headers, added)
        receipt = service.engine.accept(replace(dead_letter.publication, headers=headers, **fields))
        if not receipt.deduplicated:
            service.archive.remove([dead_letter])
        answers.append(receipt_json(receipt))
    return answers


def _merged(headers: Headers, added: Headers) -> Headers:
    replaced = {name for name, _ in added}
    return (*((name, value) for name, value in headers if name not in replaced), *added)


def _configuration(request: Request) -> Pairs:
    """Query parameters, and headers over them."""
    _, configuration = split_query(request.scope["query_string"].decode("latin-1"))
    return [*((name, value) for name, value in configuration if name != TOKEN_PARAMETER), *request_headers(request)]


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
