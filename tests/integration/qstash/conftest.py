"""A destination that records what it is sent, and servers to send it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message as HttpHeaders
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from qstash import QStash, Receiver
from qstash.dlq import DlqMessage

from infra.local.qstash import QStashServer

PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Arrival:
    """One request that reached the destination."""

    method: str
    target: str
    """Path and query, byte for byte."""
    headers: HttpHeaders
    body: bytes
    time: float
    """On the monotonic clock."""
    wall: float

    @property
    def message_id(self) -> str:
        return self.headers["Upstash-Message-Id"]

    @property
    def retried(self) -> int:
        return int(self.headers["Upstash-Retried"])


Answer = tuple[int, dict[str, str], bytes]
OK: Answer = (200, {}, b"ok")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1_024  # a hundred attempts may connect at once


class Destination:
    """An HTTP server on a thread. `answer` decides what each request is answered; it may block."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.answer: Callable[[Arrival], Answer] = lambda arrival: OK
        self._changed = threading.Condition()
        destination = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                target = self.raw_requestline.split()[1].decode()  # `self.path` has lost slashes
                arrival = Arrival(self.command, target, self.headers, body, time.monotonic(), time.time())
                destination.record(arrival)
                status, headers, content = destination.answer(arrival)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def record(self, arrival: Arrival) -> None:
        with self._changed:
            self.arrivals.append(arrival)
            self._changed.notify_all()

    def wait(self, count: int = 1, *, path: str = "/", timeout: float = PATIENCE_SECONDS) -> list[Arrival]:
        """The arrivals below `path`, once there are `count`."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.below(path)) >= count, timeout), (
                f"{len(self.below(path))} of {count} requests arrived at {path}"
            )
            return self.below(path)

    def below(self, path: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.target.startswith(path)]

    def fail(self, times: int, status: int = 500, headers: dict[str, str] | None = None, body: bytes = b"no") -> None:
        """Answer with this so many times, then 200."""
        remaining = iter(range(times))

        def answer(_: Arrival) -> Answer:
            return OK if next(remaining, None) is None else (status, headers or {}, body)

        self.answer = answer

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def until(condition: Callable[[], Any], *, timeout: float = PATIENCE_SECONDS) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value


@dataclass
class Desk:
    """A server with an official client and a raw one."""

    server: QStashServer
    sdk: QStash
    http: httpx.Client
    receiver: Receiver

    def events(self, message_id: str) -> list[dict[str, Any]]:
        """What happened to a message, the oldest first."""
        return self.http.get("/v2/events", params={"messageId": message_id}).json()["events"][::-1]

    def states(self, message_id: str) -> list[str]:
        return [event["state"] for event in self.events(message_id)]

    def dead_letter(self, message_id: str) -> DlqMessage:
        """The dead letter of a message, once there is one."""
        return until(lambda: self.sdk.dlq.list(filter={"message_id": message_id}).messages)[0]

    def close(self) -> None:
        self.http.close()
        self.sdk.http._client.close()
        self.server.stop()

    def until_state(self, message_id: str, state: str) -> None:
        until(lambda: state in self.states(message_id))

    def publish(self, destination: str, body: bytes | str = b"", **headers: str) -> httpx.Response:
        """Publish as no SDK does; `Upstash_Delay="1s"` is the header Upstash-Delay."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(f"/v2/publish/{destination}", content=body, headers=named)


@pytest.fixture
def destination() -> Iterator[Destination]:
    """A place to deliver to."""
    with_server = Destination()
    yield with_server
    with_server.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Desk]]:
    """Starts servers of the test's own; the arguments are fields of Settings."""
    desks: list[Desk] = []

    def start(**options: Any) -> Desk:
        desk = connect(QStashServer(**options))
        desks.append(desk)
        return desk

    yield start
    for desk in desks:
        desk.close()


def connect(server: QStashServer) -> Desk:
    server.start()
    return Desk(
        server=server,
        sdk=QStash(server.token, base_url=server.url),
        http=httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=30),
        receiver=Receiver(server.current_signing_key, server.next_signing_key),
    )


@pytest.fixture(scope="session")
def desk() -> Iterator[Desk]:
    """A server with everything at its default, in real time, shared by many tests."""
    shared = connect(QStashServer())
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def fast_desk() -> Iterator[Desk]:
    """A server whose waits pass a thousand times faster, shared by many tests."""
    shared = connect(QStashServer(time_scale=1_000))
    yield shared
    shared.close()
