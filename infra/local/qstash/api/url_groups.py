"""URL groups, which the API calls topics: endpoints, default headers, list, delete."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import encodable, header_pairs, read_object, service_of
from infra.local.qstash.errors import BadRequest
from infra.local.qstash.service import Service
from infra.local.qstash.url_groups import Endpoint


async def put_endpoints(request: Request) -> JSONResponse:
    service = service_of(request)
    name = service.options.identifier("topicName", request.path_params["name"])
    endpoints = [
        Endpoint(service.destinations.check(_text(entry, "url", required=True) or ""), _text(entry, "name"))
        for entry in await _entries(request)
    ]
    service.url_groups.put_endpoints(name, endpoints)
    await service.store.committed()
    return JSONResponse({})


async def remove_endpoints(request: Request) -> JSONResponse:
    service = service_of(request)
    endpoints = [(_text(entry, "name"), _text(entry, "url")) for entry in await _entries(request)]
    if (None, None) in endpoints:
        raise BadRequest("each endpoint must have a url or a name")
    name = request.path_params["name"]
    service.url_groups.remove_endpoints(name, endpoints, before_last=partial(_refuse_if_used, service, name))
    await service.store.committed()
    return JSONResponse({})


async def set_headers(request: Request) -> JSONResponse:
    """`{"headers": {name: text or list of texts}}` replaces the default headers of publications to the group."""
    service = service_of(request)
    headers = header_pairs((await read_object(request)).get("headers"))
    service.options.read(headers)  # refused now, rather than with each publication
    service.url_groups.set_headers(request.path_params["name"], tuple(headers))
    await service.store.committed()
    return JSONResponse({})


async def list_groups(request: Request) -> JSONResponse:
    return JSONResponse([group.as_json() for group in service_of(request).url_groups.all()])


async def get_group(request: Request) -> JSONResponse:
    return JSONResponse(service_of(request).url_groups.get(request.path_params["name"]).as_json())


async def delete_group(request: Request) -> JSONResponse:
    service = service_of(request)
    name = request.path_params["name"]
    _refuse_if_used(service, name)
    service.url_groups.delete(name)
    await service.store.committed()
    return JSONResponse({})


def _refuse_if_used(service: Service, name: str) -> None:
    if users := service.schedules.of_topic(name):
        raise BadRequest(f"topic {name[:64]} is used by the schedule {users[0]}: delete the schedule first")


async def _entries(request: Request) -> list[dict[str, Any]]:
    entries = (await read_object(request)).get("endpoints")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise BadRequest("endpoints must be a list of at least one object")
    return entries


def _text(entry: dict[str, Any], name: str, *, required: bool = False) -> str | None:
    value = entry.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value:
        raise BadRequest(f"endpoints: {name} must be a text")
    return encodable(name, value)


routes = [
    Route("/v2/topics", list_groups, methods=["GET"]),
    Route("/v2/topics/{name}", get_group, methods=["GET"]),
    Route("/v2/topics/{name}", set_headers, methods=["PATCH"]),
    Route("/v2/topics/{name}", delete_group, methods=["DELETE"]),
    Route("/v2/topics/{name}/endpoints", put_endpoints, methods=["POST"]),
    Route("/v2/topics/{name}/endpoints", remove_endpoints, methods=["DELETE"]),
]
