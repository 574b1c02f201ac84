"""The application: the provider's API and the desk's on one port."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.local.mailbox.desk import Desk
from infra.local.mailbox.errors import Refused
from infra.local.mailbox.faults import Faults
from infra.local.mailbox.resend import Resend
from infra.local.mailbox.store import Store

HOSTS = ["127.0.0.1", "localhost"]
"""Under any other name it is not us who is meant, but a page whose name was made to point here."""


def create_app(store: Store, faults: Faults) -> Starlette:
    """The mailbox as an ASGI application."""
    return Starlette(
        routes=[*Resend(store, faults).routes(), *Desk(store, faults).routes()],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
        exception_handlers={Refused: _refuse, 404: _not_found, 405: _not_allowed},
    )


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # what the handler is registered for
    return _error(error)


async def _not_found(_request: Request, _error_: Exception) -> Response:
    return _error(Refused(404, "not_found", "The requested endpoint does not exist."))


async def _not_allowed(_request: Request, _error_: Exception) -> Response:
    return _error(Refused(405, "method_not_allowed", "Method is not allowed for the requested path."))


def _error(error: Refused) -> Response:
    body = {"statusCode": error.status, "name": error.name, "message": error.message}
    return JSONResponse(body, status_code=error.status, headers=error.headers)
