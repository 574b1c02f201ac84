"""A stand-in for QStash at the HTTP boundary: takes messages, remembers them, and misbehaves as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """One HTTP request, header names in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Message:
    """A message that was accepted, published alone or in a batch; header names in lower case."""

    message_id: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def deduplication_id(self) -> str:
        return self.headers["upstash-deduplication-id"]

    @property
    def envelope(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


Reply = tuple[int, bytes]


class Drop(Exception):
    """Close the connection without an answer."""


class QStashStandIn:
    """Accepts `/v2/publish`, `/v2/batch`, `/v2/messages`, `/v2/dlq` and `/v2/schedules`, with deduplication."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.messages: list[Message] = []
        self.gone: set[str] = set()
        """Ids of messages that it holds no more."""
        self.cancelled: list[str] = []
        self.dead_letters: list[dict[str, Any]] = []
        self.schedules: dict[str, Request] = {}
        self.refused_slot: Callable[[Mapping[str, Any]], bool] = lambda _message: False
        """Which messages of a batch are answered with an error."""
        self.on_accept: Callable[[], None] = lambda: None
        """Called when a message was accepted, before the answer."""
        self._fault: Callable[[], Reply | None] = lambda: None
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stand_in = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="qstash-stand-in", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def works(self) -> None:
        """Behave again."""
        self._fault = lambda: None

    def answers(self, status: int, body: bytes = b'{"error": "no"}') -> None:
        """Answer every request so, and accept nothing."""
        self._fault = lambda: (status, body)

    def hangs(self) -> None:
        """Take every request and answer none, until the test has ended."""

        def hang() -> Reply | None:
            self._released.wait(60)
            raise Drop

        self._fault = hang

    def drops(self) -> None:
        """Close every connection without an answer."""

        def drop() -> Reply | None:
            raise Drop

        self._fault = drop

    def loses_its_answer(self) -> None:
        """Accept a message, and close the connection without an answer, once."""

        def drop() -> None:
            self.on_accept = lambda: None
            raise Drop

        self.on_accept = drop

    def sent_to(self, path: str) -> list[Request]:
        """The requests to paths that begin so."""
        return [request for request in self.requests if request.path.startswith(path)]

    def answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
        if (fault := self._fault()) is not None:
            return fault
        with self._lock:
            return self._take(request)

    def _take(self, request: Request) -> Reply:
        kind, _, rest = request.path.removeprefix("/v2/").partition("/")
        match request.method, kind:
            case "POST", "publish":
                return _json(201, self._accept(rest, request.headers, request.body))
            case "POST", "batch":
                return _json(200, [self._slot(message) for message in json.loads(request.body)])
            case "GET", "messages" if rest in {message.message_id for message in self.messages} - self.gone:
                return _json(200, _described(rest))
            case "DELETE", "messages" if rest in {message.message_id for message in self.messages} - self.gone:
                self.gone.add(rest)
                self.cancelled.append(rest)
                return _json(202, {})
            case "GET", "dlq":
                return self._page(request)
            case "POST", "schedules":
                schedule_id = request.headers["upstash-schedule-id"]
                self.schedules[schedule_id] = request
                return _json(200, {"scheduleId": schedule_id})
            case _:
                return _json(404, {"error": "not found"})

    def _slot(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if self.refused_slot(message):
            return {"error": "this one is refused"}
        headers = {name.lower(): value for name, value in message["headers"].items()}
        return self._accept(message["destination"], headers, message["body"].encode())

    def _accept(self, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        key = headers.get("upstash-deduplication-id")
        for known in self.messages:
            if key is not None and known.headers.get("upstash-deduplication-id") == key:
                return {"messageId": known.message_id, "deduplicated": True}
        message = Message(f"msg_{len(self.messages) + 1}", url, headers, body)
        self.messages.append(message)
        self.on_accept()
        return {"messageId": message.message_id}

    def _page(self, request: Request) -> Reply:
        """Pages of two entries, so that whoever reads them must follow the cursor."""
        start = int(request.query.get("cursor", ["0"])[0])
        page: dict[str, Any] = {"messages": self.dead_letters[start : start + 2]}
        if start + 2 < len(self.dead_letters):
            page["cursor"] = str(start + 2)
        return _json(200, page)


def dead_letter(message: Message, dlq_id: str) -> dict[str, Any]:
    """A message as it stands in the dead letter queue."""
    return _described(message.message_id) | {
        "dlqId": dlq_id,
        "url": message.url,
        "body": message.body.decode(),
        "responseStatus": 502,
        "label": message.headers.get("upstash-label"),
    }


def _described(message_id: str) -> dict[str, Any]:
    return {
        "messageId": message_id,
        "url": "http://127.0.0.1:9/probe",
        "method": "POST",
        "maxRetries": 3,
        "notBefore": 0,
        "createdAt": 0,
    }


def _json(status: int, document: object) -> Reply:
    return status, json.dumps(document).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    stand_in: QStashStandIn


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=parts.path,
            query=parse_qs(parts.query),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("content-length", 0))),
        )
        try:
            status, body = self.server.stand_in.answer(request)
        except Drop:
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815  # the names that http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Tests read `requests` instead."""
