"""A server in AWS's place that refuses, is silent, or answers in its own time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.integration.conftest import Aws


class OddAws:
    """Stands in for Secrets Manager: `refuse(429, "RequestThrottled")`."""

    def __init__(self) -> None:
        self.requests = 0
        self.ended = threading.Event()
        self._status, self._body, self._pause_seconds = 200, b"", 0.0
        self._silent = False

    def refuse(self, status: int, code: str) -> None:
        """Say no."""
        self._status, self._pause_seconds = status, 0.0
        self._body = json.dumps({"__type": code, "message": "Not now."} if code else {}).encode()

    def answer(self, length: int, *, pause_seconds: float = 0) -> None:
        """Give a secret of this length, with a pause before each of its bytes."""
        self._status, self._pause_seconds = 200, pause_seconds
        self._body = json.dumps({"SecretString": "x" * length}).encode()

    def fall_silent(self) -> None:
        """Take requests, and never answer."""
        self._silent = True

    def reply(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        if self._silent:
            self.ended.wait()
            return
        handler.send_response(self._status)
        handler.send_header("Content-Length", str(len(self._body)))
        handler.end_headers()
        size = 1 if self._pause_seconds else len(self._body)
        for start in range(0, len(self._body), size):
            if self.ended.wait(self._pause_seconds):
                return
            handler.wfile.write(self._body[start : start + size])


@contextmanager
def in_the_place_of(aws: Aws) -> Iterator[OddAws]:
    """The server, while secrets are asked for there."""
    odd = OddAws()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            try:
                odd.reply(self)
            except OSError:  # the client has left
                self.close_connection = True

        def log_message(self, *_arguments: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    aws.environment.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"http://127.0.0.1:{server.server_port}")
    try:
        yield odd
    finally:
        odd.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
        aws.return_()
