"""Function URLs: HTTP in front of Lambda environments, each of which takes one request at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from uuid import uuid4

from infra.local.gateway.answer import Answer, MalformedResult, answer, message
from infra.local.gateway.environment import InvocationFailed
from infra.local.gateway.event import HttpRequest, function_url_event
from infra.local.gateway.spec import PAYLOAD_LIMIT
from tests.runtime.environment import RuntimeEnvironment

REGION = "us-east-1"


def domain(function: str) -> str:
    """Where AWS would have a function answer."""
    return f"{function}.lambda-url.{REGION}.on.aws"


class FunctionUrls:
    """One server on loopback for all of them: what AWS has at `https://<function>.lambda-url…/<path>` is here at
    `/<function>/<path>`. The events say what AWS's would say."""

    def __init__(self, environment_of: Callable[[str], RuntimeEnvironment]) -> None:
        self._environment_of = environment_of
        self._locks: dict[str, threading.Lock] = {}
        self.failures: list[str] = []
        """Why a request was answered 502."""
        urls = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                given = urls.take(self.command, self.path, list(self.headers.items()), body)
                self.send_response(given.status)
                for name, value in given.headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(given.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(given.body)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

            def log_message(self, *_args: object) -> None:
                """Nothing: the functions' own logs are kept."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()

    def take(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """One request, as AWS takes it: 429 while the function is busy, 502 when it gives no answer."""
        parts = urlsplit(target)
        function, _, path = parts.path.removeprefix("/").partition("/")
        event = function_url_event(
            HttpRequest(
                method=method,
                path=f"/{path}",
                query=parts.query,
                headers=[
                    *((name, value) for name, value in headers if name.lower() != "host"),
                    ("host", domain(function)),
                ],
                body=body,
                source_ip="127.0.0.1",
                port=443,
            ),
            function=function,
            request_id=str(uuid4()),
            now=datetime.now(UTC),
        )
        encoded = json.dumps(event).encode()
        if len(encoded) > PAYLOAD_LIMIT:
            return message(413, "Request Too Large")
        lock = self._locks.setdefault(function, threading.Lock())
        if not lock.acquire(blocking=False):
            return message(429, "Rate Exceeded.")
        try:
            return answer(self._environment_of(function).invoke(encoded))
        except (InvocationFailed, MalformedResult) as error:
            self.failures.append(f"{function}: {type(error).__name__}: {error}")
            return message(502, "Internal Server Error")
        finally:
            lock.release()
