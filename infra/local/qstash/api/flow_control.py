"""Flow-control keys: look, pause, pin limits, begin a new period; and the parallelism of the whole plan."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import service_of
from infra.local.qstash.errors import BadRequest
from infra.local.qstash.options import LONGEST_COUNT, LONGEST_KEY, LONGEST_PERIOD_SECONDS


async def list_keys(request: Request) -> JSONResponse:
    return JSONResponse(service_of(request).engine.flow_keys.all(request.query_params.get("search", "")))


async def get_key(request: Request) -> JSONResponse:
    return JSONResponse(service_of(request).engine.flow_keys.show(request.path_params["key"]))


async def pause_key(request: Request) -> JSONResponse:
    return await _set_paused(request, paused=True)


async def resume_key(request: Request) -> JSONResponse:
    return await _set_paused(request, paused=False)


async def pin_key(request: Request) -> JSONResponse:
    parallelism = _number(request, "parallelism", LONGEST_COUNT)
    rate = _number(request, "rate", LONGEST_COUNT)
    period = _number(request, "period", LONGEST_PERIOD_SECONDS)
    if parallelism is None and rate is None:
        raise BadRequest("parallelism or rate is needed to pin a flow control key")
    service = service_of(request)
    service.engine.flow_keys.pin(_key(request), parallelism=parallelism, rate=rate, period_seconds=period)
    await service.store.committed()
    return JSONResponse({})


async def unpin_key(request: Request) -> JSONResponse:
    service = service_of(request)
    chosen = {name: _flag(request, name) for name in ("parallelism", "rate")}
    if not any(chosen.values()):
        raise BadRequest("parallelism=true or rate=true is needed to unpin a flow control key")
    service.engine.flow_keys.unpin(_key(request), **chosen)
    await service.store.committed()
    return JSONResponse({})


async def reset_rate(request: Request) -> JSONResponse:
    service_of(request).engine.flow_keys.reset_rate(_key(request))
    return JSONResponse({})


async def global_parallelism(request: Request) -> JSONResponse:
    plan = service_of(request).engine.plan
    return JSONResponse({"parallelismMax": plan.parallelism, "parallelismCount": plan.inside})


async def _set_paused(request: Request, *, paused: bool) -> JSONResponse:
    service = service_of(request)
    service.engine.flow_keys.pause(_key(request), paused=paused)
    await service.store.committed()
    return JSONResponse({})


def _key(request: Request) -> str:
    key: str = request.path_params["key"]
    if len(key) > LONGEST_KEY:
        raise BadRequest(f"a flow control key may have at most {LONGEST_KEY} characters")
    return key


def _number(request: Request, name: str, most: int) -> int | None:
    if (text := request.query_params.get(name)) is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= most):
        raise BadRequest(f"{name} must be a whole number from 1 to {most}, not {text[:32]!r}")
    return int(text)


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false").lower()
    if text not in ("true", "false"):
        raise BadRequest(f"{name} must be true or false, not {text[:32]!r}")
    return text == "true"


routes = [  # in lower case: the gatekeeper has no case there
    Route("/v2/flowcontrol", list_keys, methods=["GET"]),
    Route("/v2/flowcontrol/{key}", get_key, methods=["GET"]),
    Route("/v2/flowcontrol/{key}/pause", pause_key, methods=["POST"]),
    Route("/v2/flowcontrol/{key}/resume", resume_key, methods=["POST"]),
    Route("/v2/flowcontrol/{key}/pin", pin_key, methods=["POST"]),
    Route("/v2/flowcontrol/{key}/unpin", unpin_key, methods=["POST"]),
    Route("/v2/flowcontrol/{key}/resetRate", reset_rate, methods=["POST"]),
    Route("/v2/flowcontrol/{key}/reset", reset_rate, methods=["POST"]),
    Route("/v2/globalparallelism", global_parallelism, methods=["GET"]),
]
