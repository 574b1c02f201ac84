"""Resend's API, as far as sending goes: https://resend.com/docs/api-reference/emails"""

from __future__ import annotations

import json
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.mailbox.errors import Refused
from infra.local.mailbox.faults import Faults
from infra.local.mailbox.mail import Draft, read
from infra.local.mailbox.store import Store

BATCH = 100
"""Mails in one request."""


class Resend:
    """The provider."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def routes(self) -> list[Route]:
        """Where it answers."""
        return [
            Route("/emails", self._send, methods=["POST"]),
            Route("/emails/batch", self._send_batch, methods=["POST"]),
            Route("/emails/{mail_id}", self._get, methods=["GET"]),
        ]

    async def _send(self, request: Request) -> Response:
        body = await self._authenticated(request)
        ids = self._accept([read(body)], request, body)
        return JSONResponse({"id": ids[0]})

    async def _send_batch(self, request: Request) -> Response:
        body = await self._authenticated(request)
        if not isinstance(body, list) or not 1 <= len(body) <= BATCH:
            raise Refused(422, "validation_error", f"A batch is an array of 1 to {BATCH} emails.")
        ids = self._accept([read(one) for one in body], request, body)
        return JSONResponse({"data": [{"id": mail_id} for mail_id in ids]})

    async def _get(self, request: Request) -> Response:
        _authenticate(request)
        mail = self._store.get(request.path_params["mail_id"])
        if mail is None:
            raise Refused(404, "not_found", "Email not found")
        return JSONResponse(mail.as_resend())

    async def _authenticated(self, request: Request) -> object:
        _authenticate(request)
        try:
            return json.loads(await request.body())
        except ValueError:
            raise Refused(400, "validation_error", "The request body is not JSON.") from None

    def _accept(self, drafts: Sequence[Draft], request: Request, body: object) -> list[str]:
        key = request.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= 256:
            raise Refused(400, "invalid_idempotency_key", "The key must be between 1-256 chars.")
        fault = self._faults.take()
        if fault is not None and not fault.accept:
            raise fault.refusal()
        ids = self._store.accept(drafts, key, body)
        if fault is not None:
            raise fault.refusal()
        return ids


def _authenticate(request: Request) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refused(401, "missing_api_key", "Missing API key in the authorization header.")
