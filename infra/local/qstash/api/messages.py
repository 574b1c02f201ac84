"""Messages on their way: look at one, cancel one or many."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import read_selection, service_of
from infra.local.qstash.errors import NotFound
from infra.local.qstash.message import message_json
from infra.local.qstash.state import State

IDS = "messageIds"


async def get_message(request: Request) -> JSONResponse:
    message = service_of(request).engine.live.get(request.path_params["id"])
    if message is None or message.state is State.CANCELED:
        raise _unknown(request.path_params["id"])
    return JSONResponse(message_json(message.id, message.publication, message.created_at))


async def cancel_message(request: Request) -> JSONResponse:
    service = service_of(request)
    if not service.engine.cancel(request.path_params["id"]):
        raise _unknown(request.path_params["id"])
    await service.store.committed()
    return JSONResponse({"cancelled": 1})


async def cancel_messages(request: Request) -> JSONResponse:
    """Ids count before filters. As at the service, neither (an empty list of ids too) means every message.

    SDKs still send a `count`, which once was a limit; the service cancels all that match, and so does this.
    """
    service = service_of(request)
    selection = await read_selection(request)
    if selection.get(IDS):
        selection = {IDS: selection[IDS]}
    cancelled = sum(service.engine.cancel(message_id) for message_id in service.archive.unsettled(selection))
    await service.store.committed()
    return JSONResponse({"cancelled": cancelled})


def _unknown(message_id: str) -> NotFound:
    return NotFound(f"message {message_id[:64]} not found")


routes = [
    Route("/v2/messages/{id}", get_message, methods=["GET"]),
    Route("/v2/messages/{id}", cancel_message, methods=["DELETE"]),
    Route("/v2/messages", cancel_messages, methods=["DELETE"]),
]
