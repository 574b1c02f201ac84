"""What the service does not offer: moving time, and trouble on demand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import read_object, service_of
from infra.local.qstash.errors import BadRequest
from infra.local.qstash.faults import Faults, Trouble

LONGEST_ADVANCE_SECONDS = 366 * 86_400.0
LONGEST_DELAY_SECONDS = 3_600.0


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
    if unknown := body.keys() - _READERS.keys():
        raise BadRequest(f"unknown fault: {min(unknown)[:64]}; there are {', '.join(_READERS)}")
    read = {name: _READERS[name](name, value) for name, value in body.items()}
    faults.set(Trouble(**{_field(name): value for name, value in read.items()}))
    return JSONResponse(_as_json(faults))


def _as_json(faults: Faults) -> dict[str, Any]:
    return {name: getattr(faults.trouble, _field(name)) for name in _READERS}


def _field(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _status(name: str, value: Any) -> int | None:
    if value is None or (_is_number(value, int) and (value == 429 or 500 <= value < 600)):
        return cast("int | None", value)
    raise BadRequest(f"{name} must be 429, 500 to 599, or null")


def _share(name: str, value: Any) -> float:
    if _is_number(value, int | float) and 0 <= value <= 1:
        return float(value)
    raise BadRequest(f"{name} must be a number from 0 to 1")


def _seconds(name: str, value: Any) -> float:
    if _is_number(value, int | float) and 0 <= value <= LONGEST_DELAY_SECONDS:
        return float(value)
    raise BadRequest(f"{name} must be a number of seconds from 0 to {LONGEST_DELAY_SECONDS:g}")


def _seed(name: str, value: Any) -> int:
    if _is_number(value, int):
        return int(value)
    raise BadRequest(f"{name} must be a whole number")


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "refusePublishes": _status,
    "refusePublishesShare": _share,
    "dropDeliveries": _share,
    "duplicateDeliveries": _share,
    "delayDeliveries": _share,
    "delaySeconds": _seconds,
    "reorderDeliveries": _share,
    "seed": _seed,
}

routes = [
    Route("/admin/advance", advance, methods=["POST"]),
    Route("/admin/faults", get_faults, methods=["GET"]),
    Route("/admin/faults", set_faults, methods=["POST"]),
]
