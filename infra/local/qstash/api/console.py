"""The console: the page that shows what the server does, and the only paths that need no token."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from infra.local.qstash.api.reading import service_of
from infra.local.web import STYLE

STATIC = Path(__file__).parent.parent / "static"
PAGE = "console.html"
FILES = {
    path.relative_to(STATIC).as_posix(): path
    for path in sorted(STATIC.rglob("*"))
    if path.name != PAGE and path.suffix in (".css", ".js", ".svg")
} | {STYLE.name: STYLE}
CONNECTION = "/console.json"
PATHS = frozenset({"/", CONNECTION, *(f"/{name}" for name in FILES)})
"""What may be got without the token: the page's own files, and the token for its calls."""

HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    # The token is among the answers: no page of another origin may embed any of them.
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def show_page(_request: Request) -> Response:
    return FileResponse(STATIC / PAGE, headers={**HEADERS, "content-security-policy": POLICY})


async def show_file(request: Request) -> Response:
    return FileResponse(FILES[request.scope["path"].removeprefix("/")], headers=HEADERS)


async def show_connection(request: Request) -> Response:
    """What the page needs before it can ask for anything else."""
    return JSONResponse({"token": service_of(request).settings.token}, headers=HEADERS)


routes = [
    Route("/", show_page, methods=["GET"]),
    *(Route(f"/{name}", show_file, methods=["GET"]) for name in FILES),
    Route(CONNECTION, show_connection, methods=["GET"]),
]
