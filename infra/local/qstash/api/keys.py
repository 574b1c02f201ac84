"""The signing keys."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import service_of


async def get_keys(request: Request) -> JSONResponse:
    return JSONResponse(service_of(request).keys.as_json())


async def rotate_keys(request: Request) -> JSONResponse:
    service = service_of(request)
    service.keys.rotate()
    await service.store.committed()
    return JSONResponse(service.keys.as_json())


routes = [
    Route("/v2/keys", get_keys, methods=["GET"]),
    Route("/v2/keys/rotate", rotate_keys, methods=["POST"]),
]
