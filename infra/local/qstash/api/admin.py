"""What the service does not offer: moving time, and trouble on demand."""

from __future__ import annotations

import math
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import read_object, service_of
from infra.local.qstash.errors import BadRequest
from infra.local.qstash.faults import Faults

LONGEST_ADVANCE_SECONDS = 366 * 86_400.0


async def advance(request: Request) -> JSONResponse:
    """`?seconds=3600`: what would be due by then is due now."""
    service = service_of(request)
    text = request.query_params.get("seconds", "")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_ADVANCE_SECONDS:
        raise BadRequest(f"seconds must be a number from 0 to {LONGEST_ADVANCE_SECONDS:.0f}, not {text[:32]!r}")
    service.advance(seconds)
    await service.store.committed()
    return JSONResponse({"now": service.engine.clock.now()})


async def get_faults(request: Request) -> JSONResponse:
    return JSONResponse(_as_json(service_of(request).faults))


async def set_faults(request: Request) -> JSONResponse:
    """Replaces all faults: what the body does not name is switched off."""
    faults = service_of(request).faults
    body = await read_object(request)
    if unknown := body.keys() - _as_json(faults).keys():
        raise BadRequest(f"unknown fault: {min(unknown)[:64]}")
    faults.set(
        refuse_publishes=_status(body.get("refusePublishes")),
        duplicate_deliveries=_share("duplicateDeliveries", body.get("duplicateDeliveries", 0)),
        seed=_seed(body.get("seed", 0)),
    )
    return JSONResponse(_as_json(faults))


def _as_json(faults: Faults) -> dict[str, Any]:
    return {
        "refusePublishes": faults.refuse_publishes,
        "duplicateDeliveries": faults.duplicate_deliveries,
        "seed": faults.seed,
    }


def _status(value: Any) -> int | None:
    if value is None or (
        isinstance(value, int) and not isinstance(value, bool) and (value == 429 or 500 <= value < 600)
    ):
        return value
    raise BadRequest("refusePublishes must be 429, 500 to 599, or null")


def _share(name: str, value: Any) -> float:
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    raise BadRequest(f"{name} must be a number from 0 to 1")


def _seed(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadRequest("seed must be a whole number")


routes = [
    Route("/admin/advance", advance, methods=["POST"]),
    Route("/admin/faults", get_faults, methods=["GET"]),
    Route("/admin/faults", set_faults, methods=["POST"]),
]
