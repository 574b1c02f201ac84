"""What the page and tests ask for besides: the mails, and the faults; and the page itself."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from infra.local.mailbox.errors import Refused
from infra.local.mailbox.faults import Fault, Faults
from infra.local.mailbox.mail import Mail
from infra.local.mailbox.store import Store
from infra.local.web import STYLE

STATIC = Path(__file__).parent / "static"
FILES = {path.name: path for path in (*(STATIC / name for name in ("mailbox.css", "mailbox.js", "mailbox.svg")), STYLE)}

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""A mail is somebody else's page: no script, no form, nothing fetched, an origin of its own; its links open apart."""

_HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)
_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
_BASE = '<base target="_blank">'


class Desk:
    """The page and its API."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def routes(self) -> list[Route]:
        """Where it answers."""
        return [
            Route("/", _page, methods=["GET"]),
            *(Route(f"/{name}", _file, methods=["GET"]) for name in FILES),
            Route("/api/mails", self._list, methods=["GET"]),
            Route("/api/mails", self._clear, methods=["DELETE"]),
            Route("/api/mails/{mail_id}", self._one, methods=["GET"]),
            Route("/mails/{mail_id}", self._html, methods=["GET"]),
            Route("/mails/{mail_id}/attachments/{number:int}", self._attachment, methods=["GET"]),
            Route("/api/faults", self._show_faults, methods=["GET"]),
            Route("/api/faults", self._add_fault, methods=["POST"]),
            Route("/api/faults", self._clear_faults, methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        tag = f'"{self._store.revision}"'
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return JSONResponse({"mails": [mail.as_summary() for mail in self._store.mails()]}, headers=headers)

    async def _clear(self, _request: Request) -> Response:
        self._store.clear()
        return Response(status_code=204)

    async def _one(self, request: Request) -> Response:
        return JSONResponse(self._found(request).as_json())

    async def _html(self, request: Request) -> Response:
        html = self._found(request).html
        if html is None:
            raise Refused(404, "not_found", "This email is plain text only.")
        return HTMLResponse(links_apart(html), headers={"content-security-policy": MAIL_POLICY})

    async def _attachment(self, request: Request) -> Response:
        mail, number = self._found(request), request.path_params["number"]
        if number >= len(mail.attachments):
            raise Refused(404, "not_found", "Attachment not found")
        file = mail.attachments[number]
        # Somebody else's file, whatever it calls itself: it is saved, and never shown under this address.
        headers = {
            "content-disposition": f"attachment; filename*=UTF-8''{quote(_file_name(file.filename), safe='')}",
            "content-security-policy": "sandbox; default-src 'none'",
            "x-content-type-options": "nosniff",
        }
        return Response(file.data, media_type="application/octet-stream", headers=headers)

    async def _show_faults(self, _request: Request) -> Response:
        return JSONResponse({"faults": self._faults.as_json()})

    async def _add_fault(self, request: Request) -> Response:
        # Only a page of our own can send this type: a foreign one would first have to ask, and is never told yes.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused(415, "validation_error", "Send JSON, as application/json.")
        try:
            self._faults.add(Fault.model_validate_json(await request.body()))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise Refused(422, "validation_error", f"{where}: {first['msg']}") from None
        return await self._show_faults(request)

    async def _clear_faults(self, _request: Request) -> Response:
        self._faults.clear()
        return Response(status_code=204)

    def _found(self, request: Request) -> Mail:
        mail = self._store.get(request.path_params["mail_id"])
        if mail is None:
            raise Refused(404, "not_found", "Email not found")
        return mail


def _file_name(given: str) -> str:
    """What a file may be saved as: without folders, and without what cannot be part of a name."""
    return re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", given).strip(". ") or "unnamed"


def links_apart(html: str) -> str:
    """The mail with all its links opening in a window of their own, since none may take the place of the mail."""
    place = _HEAD.search(html) or _DOCTYPE.match(html)
    at = place.end() if place else 0
    return html[:at] + _BASE + html[at:]


async def _page(_request: Request) -> Response:
    return FileResponse(STATIC / "mailbox.html", headers={"content-security-policy": PAGE_POLICY})


async def _file(request: Request) -> Response:
    return FileResponse(FILES[request.url.path.removeprefix("/")], headers={"cache-control": "no-cache"})
