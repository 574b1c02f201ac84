"""A QStash that can misbehave: passes requests on to the local server, and lets a test tamper with each exchange."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


@dataclass
class Exchange:
    """One request, and what may become of it."""

    method: str
    path: str
    pass_on: Callable[[], httpx.Response]
    """Let the server do it; its answer."""


Answer = tuple[int, bytes]
Tamper = Callable[[Exchange], Answer | None]
"""The answer in the place of the server's; None cuts the connection without one."""


def honest(exchange: Exchange) -> Answer:
    """What the server says."""
    answer = exchange.pass_on()
    return answer.status_code, answer.content


class Between:
    """Stands between us and a server. `seen` has the requests, e.g. `DELETE /v2/schedules/x`."""

    def __init__(self, server_url: str) -> None:
        self.seen: list[str] = []
        self.tamper: Tamper = honest
        between = self

        class Handler(BaseHTTPRequestHandler):
            def _exchange(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                between.seen.append(f"{self.command} {self.path}")

                def pass_on() -> httpx.Response:
                    return httpx.request(
                        self.command, server_url + self.path, content=body, headers=headers, timeout=10
                    )

                answer = between.tamper(Exchange(self.command, self.path, pass_on))
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            do_GET = do_POST = do_PATCH = do_DELETE = _exchange  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests read `seen` instead."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop, and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
