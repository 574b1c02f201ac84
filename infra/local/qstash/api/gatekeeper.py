"""Who may ask: a request needs the token, and must not come from a page of another site."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.local.qstash.destination import TOKEN_PARAMETER, is_loopback
from infra.local.qstash.errors import ApiError, InvalidToken, Refused

BEARER = "bearer "
MOST_PARAMETERS = 2_000


class Gatekeeper:
    """Answers 401 and 403, and passes everything else on. The first segment of a path after /v2 has no case."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            _check_origin(headers)
            self._check_token(headers, scope["query_string"].decode("latin-1"))
        except ApiError as error:
            await JSONResponse({"error": error.text}, status_code=error.status)(scope, receive, send)
            return
        await self._app(_lower_cased(scope), receive, send)

    def _check_token(self, headers: Headers, query: str) -> None:
        if not any(hmac.compare_digest(token.encode(), self._token) for token in _tokens(headers, query)):
            raise InvalidToken


def _tokens(headers: Headers, query: str) -> Iterable[str]:
    authorization = headers.get("authorization", "")
    if authorization[: len(BEARER)].lower() == BEARER:
        yield authorization[len(BEARER) :].strip()
    if TOKEN_PARAMETER in query:
        try:
            yield from (
                value for name, value in parse_qsl(query, max_num_fields=MOST_PARAMETERS) if name == TOKEN_PARAMETER
            )
        except ValueError:  # too many parameters to look for one among them
            return


def _check_origin(headers: Headers) -> None:
    """The token is no secret here, so a browser must not be led to use it by a page from elsewhere."""
    origin = headers.get("origin")
    if origin is None:
        return
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        host = None
    if host is None or not is_loopback(host):
        raise Refused("requests from web pages of other sites are refused")


def _lower_cased(scope: Scope) -> Scope:
    parts = scope["path"].split("/", 3)
    if len(parts) < 3 or parts[2] == parts[2].lower():
        return scope
    parts[2] = parts[2].lower()
    return {**scope, "path": "/".join(parts)}
