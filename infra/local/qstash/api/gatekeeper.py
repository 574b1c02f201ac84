"""Who may ask: a request needs the token, must mean this machine, and must not come from a page of another site."""

from __future__ import annotations

import hmac
import time
from collections.abc import Collection, Iterable
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.local.qstash.destination import TOKEN_PARAMETER, is_loopback
from infra.local.qstash.errors import ApiError, BurstLimitExceeded, InvalidToken, Refused
from infra.local.qstash.settings import Settings

BEARER = "bearer "
MOST_PARAMETERS = 2_000
READING = frozenset({"GET", "HEAD"})
PUBLISHING = ("/v2/publish", "/v2/enqueue", "/v2/batch")


class Gatekeeper:
    """Answers 401, 403 and 429, and passes everything else on. The first segment of a path after /v2 has no case."""

    def __init__(self, app: ASGIApp, settings: Settings, open_paths: Collection[str] = ()) -> None:
        """`open_paths`: what may be got without the token, and as often as anybody likes."""
        self._app = app
        self._token = settings.token.encode()
        self._read_only_token = (settings.read_only_token or "").encode()
        self._open_paths = frozenset(open_paths)
        self._burst = BurstLimit(settings.burst_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            _check_host(headers)
            _check_origin(headers)
            if scope["method"] not in READING or scope["path"] not in self._open_paths:
                self._check_token(scope["method"], headers, scope["query_string"].decode("latin-1"))
                self._burst.check(scope["path"])
        except ApiError as error:
            answer = JSONResponse({"error": error.text}, status_code=error.status, headers=error.headers)
            await answer(scope, receive, send)
            return
        await self._app(_lower_cased(scope), receive, send)

    def _check_token(self, method: str, headers: Headers, query: str) -> None:
        tokens = [token.encode() for token in _tokens(headers, query)]
        if any(hmac.compare_digest(token, self._token) for token in tokens):
            return
        if not self._read_only_token or not any(hmac.compare_digest(t, self._read_only_token) for t in tokens):
            raise InvalidToken
        if method not in READING:
            raise Refused("this token may only read")


class BurstLimit:
    """Management requests of a second; what publishes is not counted."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._second = 0
        self._taken = 0

    def check(self, path: str) -> None:
        """Count a request. Raises BurstLimitExceeded."""
        if self._limit is None or path.lower().startswith(PUBLISHING):
            return
        now = int(time.time())
        if now != self._second:
            self._second, self._taken = now, 0
        self._taken += 1
        if self._taken > self._limit:
            raise BurstLimitExceeded(self._limit, now + 1)


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


def _check_host(headers: Headers) -> None:
    """Under any other name it is not us who is meant, but a page whose name was made to point here."""
    if not _names_this_machine("//" + headers.get("host", "")):
        raise Refused("requests under a name that is not this machine's are refused: use 127.0.0.1 or localhost")


def _check_origin(headers: Headers) -> None:
    """The token is no secret here, so a browser must not be led to use it by a page from elsewhere."""
    origin = headers.get("origin")
    if origin is not None and not _names_this_machine(origin):
        raise Refused("requests from web pages of other sites are refused")


def _names_this_machine(address: str) -> bool:
    try:
        host = urlsplit(address).hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)


def _lower_cased(scope: Scope) -> Scope:
    parts = scope["path"].split("/", 3)
    if len(parts) < 3 or parts[2] == parts[2].lower():
        return scope
    parts[2] = parts[2].lower()
    return {**scope, "path": "/".join(parts)}
