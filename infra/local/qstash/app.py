"""The server as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from infra.local.qstash.api import (
    admin,
    console,
    dead_letters,
    events,
    flow_control,
    keys,
    messages,
    overview,
    publishing,
    queues,
    schedules,
    url_groups,
)
from infra.local.qstash.api.gatekeeper import Gatekeeper
from infra.local.qstash.api.reading import service_of
from infra.local.qstash.errors import ApiError, QuotaExceeded
from infra.local.qstash.ledger import Listener
from infra.local.qstash.service import Service
from infra.local.qstash.settings import Settings

ROUTES = [
    *publishing.routes,
    *messages.routes,
    *url_groups.routes,
    *queues.routes,
    *schedules.routes,
    *dead_letters.routes,
    *events.routes,
    *flow_control.routes,
    *keys.routes,
    *admin.routes,
    *overview.routes,
    *console.routes,
]


def create_app(settings: Settings | None = None, on_event: Listener | None = None) -> Starlette:
    """The application. Its lifespan opens the database and delivers messages; `on_event` hears of all that happens."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.service = service = Service.open(settings, on_event)
        try:
            yield
        finally:
            await service.close()

    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(Gatekeeper, settings=settings, open_paths=console.PATHS)],
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            ClientDisconnect: _disconnected,
            Exception: _unexpected,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


async def _api_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    status = service_of(request).settings.quota_status if isinstance(error, QuotaExceeded) else error.status
    return JSONResponse({"error": error.text}, status_code=status, headers=error.headers)


async def _http_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _disconnected(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "the body did not arrive"}, status_code=400)


async def _unexpected(_request: Request, _error: Exception) -> Response:
    # The traceback goes to the server's log, not to the client.
    return JSONResponse({"error": "internal server error"}, status_code=500)
