"""The HTTP side: a request in, the function's answer out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

from aiohttp import web
from multidict import CIMultiDict

from infra.local.gateway.answer import Answer, MalformedResult, answer, message
from infra.local.gateway.environment import HandlerRaised, InvocationFailed, LogSink
from infra.local.gateway.event import HttpRequest, function_url_event
from infra.local.gateway.pool import Pool, Throttled
from infra.local.gateway.spec import PAYLOAD_LIMIT


class FunctionServer:
    """Serves each pool's function at its own path. Made while its event loop runs."""

    def __init__(self, pools: Mapping[str, Pool], log: LogSink, *, host: str, port: int) -> None:
        self._pools = pools
        self._log = log
        self._host, self._port = host, port
        self._runner = web.ServerRunner(
            # aiohttp's low-level server: no routing, no middleware; bodies stay compressed if they came so.
            web.Server(
                self._handle,
                access_log=None,
                auto_decompress=False,
                max_field_size=65_536,
                max_line_size=65_536,
            ),
            shutdown_timeout=5,
        )

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]

    @property
    def url(self) -> str:
        """Where the functions are, e.g. `http://127.0.0.1:9000`; each at this address + `/<name>`."""
        return f"http://{self._host}:{self._port}"

    async def stop(self) -> None:
        """Close the port and all connections."""
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = str(uuid4())
        pool = self._pools.get(request.rel_url.raw_path.removeprefix("/").partition("/")[0])
        if pool is None:
            known = ", ".join(f"/{name}" for name in self._pools) or "none"
            given = message(404, f"no function is served at {request.rel_url.raw_path}; there are: {known}")
        else:
            given = await self._invoke(pool, request, request_id)
        headers = CIMultiDict([*given.headers, ("x-amzn-requestid", request_id)])
        return web.Response(status=given.status, headers=headers, body=given.body)

    async def _invoke(self, pool: Pool, request: web.BaseRequest, request_id: str) -> Answer:
        event = await self._event(pool.spec.name, request, request_id)
        if event is None:
            return message(413, "Request Too Large")
        try:
            return answer(await pool.invoke(event))
        except Throttled:
            return message(429, "Rate Exceeded.")
        except (InvocationFailed, MalformedResult) as error:
            if not isinstance(error, HandlerRaised):
                self._log(pool.spec.name, f"RequestId: {request_id} Error: {error}")
            return message(502, "Internal Server Error")

    async def _event(self, function: str, request: web.BaseRequest, request_id: str) -> bytes | None:
        """The event as JSON, or None when it is larger than Lambda takes."""
        if request.headers.get("expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        body = await _read(request)
        if body is None:
            return None
        given = HttpRequest(
            method=request.method,
            path=request.rel_url.raw_path,
            query=request.rel_url.raw_query_string,
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers],
            body=body,
            source_ip=request.remote or self._host,
            port=self._port,
        )
        event = function_url_event(given, function=function, request_id=request_id, now=datetime.now(UTC))
        encoded = json.dumps(event).encode()
        return encoded if len(encoded) <= PAYLOAD_LIMIT else None


async def _read(request: web.BaseRequest) -> bytes | None:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > PAYLOAD_LIMIT:
            return None
    return bytes(body)
