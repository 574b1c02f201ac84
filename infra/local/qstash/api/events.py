"""The event log, under both of its names."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import query_selection, service_of


async def list_events(request: Request) -> JSONResponse:
    return _page(request, "events")


async def list_logs(request: Request) -> JSONResponse:
    return _page(request, "logs")


def _page(request: Request, name: str) -> JSONResponse:
    page = service_of(request).archive.events(query_selection(request))
    answer: dict[str, object] = {name: page.entries}
    return JSONResponse(answer | ({"cursor": page.cursor} if page.cursor else {}))


routes = [
    Route("/v2/events", list_events, methods=["GET"]),
    Route("/v2/logs", list_logs, methods=["GET"]),
]
