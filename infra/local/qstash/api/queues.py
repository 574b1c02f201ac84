"""Queues: make, change, list, pause, delete."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import read_object, service_of
from infra.local.qstash.errors import BadRequest
from infra.local.qstash.queues import DEFAULT_PARALLELISM


async def put_queue(request: Request) -> JSONResponse:
    service = service_of(request)
    body = await read_object(request)
    name, parallelism, paused = (
        body.get("queueName"),
        body.get("parallelism", DEFAULT_PARALLELISM),
        body.get("paused", False),
    )
    if not isinstance(name, str):
        raise BadRequest("queueName must be a text")
    if not isinstance(parallelism, int) or isinstance(parallelism, bool) or parallelism < 1:
        raise BadRequest("parallelism must be a whole number of at least 1")
    if not isinstance(paused, bool):
        raise BadRequest("paused must be true or false")
    service.engine.queues.upsert(service.options.identifier("queueName", name), parallelism=parallelism, paused=paused)
    await service.store.committed()
    return JSONResponse({})


async def list_queues(request: Request) -> JSONResponse:
    return JSONResponse([queue.as_json() for queue in service_of(request).engine.queues.all()])


async def get_queue(request: Request) -> JSONResponse:
    return JSONResponse(service_of(request).engine.queues.get(request.path_params["name"]).as_json())


async def delete_queue(request: Request) -> JSONResponse:
    service = service_of(request)
    service.engine.queues.delete(request.path_params["name"], service.engine.cancel)
    await service.store.committed()
    return JSONResponse({})


async def pause_queue(request: Request) -> JSONResponse:
    return await _set_paused(request, paused=True)


async def resume_queue(request: Request) -> JSONResponse:
    return await _set_paused(request, paused=False)


async def _set_paused(request: Request, *, paused: bool) -> JSONResponse:
    service = service_of(request)
    service.engine.queues.pause(request.path_params["name"], paused)
    await service.store.committed()
    return JSONResponse({})


routes = [
    Route("/v2/queues", put_queue, methods=["POST"]),
    Route("/v2/queues/", put_queue, methods=["POST"]),
    Route("/v2/queues", list_queues, methods=["GET"]),
    Route("/v2/queues/{name}", get_queue, methods=["GET"]),
    Route("/v2/queues/{name}", delete_queue, methods=["DELETE"]),
    Route("/v2/queues/{name}/pause", pause_queue, methods=["POST"]),
    Route("/v2/queues/{name}/resume", resume_queue, methods=["POST"]),
]
