"""Schedules: make or replace, list, pause, delete."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.publishing import read_publication, refuse_if_told, repeat_by_cron
from infra.local.qstash.api.reading import service_of

PAUSE_METHODS = ["POST", "PATCH"]
"""The documents say POST, the SDKs send PATCH."""


async def put_schedule(request: Request) -> JSONResponse:
    service = service_of(request)
    refuse_if_told(service)
    publication, configuration = await read_publication(request, from_path_segments=2)
    return await repeat_by_cron(service, publication, configuration)


async def list_schedules(request: Request) -> JSONResponse:
    return JSONResponse(service_of(request).schedules.all())


async def get_schedule(request: Request) -> JSONResponse:
    return JSONResponse(service_of(request).schedules.show(request.path_params["id"]))


async def delete_schedule(request: Request) -> JSONResponse:
    service = service_of(request)
    service.schedules.delete(request.path_params["id"])
    await service.store.committed()
    return JSONResponse({})


async def pause_schedule(request: Request) -> JSONResponse:
    return await _set_paused(request, paused=True)


async def resume_schedule(request: Request) -> JSONResponse:
    return await _set_paused(request, paused=False)


async def _set_paused(request: Request, *, paused: bool) -> JSONResponse:
    service = service_of(request)
    service.schedules.pause(request.path_params["id"], paused)
    await service.store.committed()
    return JSONResponse({})


routes = [
    Route("/v2/schedules", list_schedules, methods=["GET"]),
    Route("/v2/schedules/{id}/pause", pause_schedule, methods=PAUSE_METHODS),
    Route("/v2/schedules/{id}/resume", resume_schedule, methods=PAUSE_METHODS),
    Route("/v2/schedules/{id}", get_schedule, methods=["GET"]),
    Route("/v2/schedules/{id}", delete_schedule, methods=["DELETE"]),
    Route("/v2/schedules/{destination:path}", put_schedule, methods=["POST"]),
]
