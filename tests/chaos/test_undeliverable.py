"""A function that never takes its job, through the local QStash server, with the real failure callback and passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from uuid import UUID

import pytest

from functions.failure_callback.handler import handler as failure_callback
from infra.local.qstash import QStashServer
from qstash_jobs import relay
from qstash_jobs.dispatch import enqueue
from qstash_jobs.executions.outbox import UNDELIVERED_LIMIT
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.recovery import reconcile
from qstash_jobs.settings import settings
from qstash_jobs.telemetry import Telemetry
from qstash_jobs.testing import Context, function_url_event
from tests.conftest import forget
from tests.integration.serving.conftest import Record
from tests.waiting import until

TIME_SCALE = 6000.0
RETRIES = 0
DELIVERIES_OF_A_MESSAGE = RETRIES + relay.SPARE_RETRIES + 1


class Functions:
    """Answers every job's delivery with one status; failure callbacks go to the real function, one at a time."""

    def __init__(self, status: int, *, hears: bool) -> None:
        self.status = status
        self.hears = hears
        """Whether the failure callback works."""
        self.deliveries = 0
        self.errors: list[BaseException] = []
        self._one_at_a_time = threading.Lock()
        functions = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(functions.answer(self.path, headers, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """The test counts deliveries instead."""

        self.server: HTTPServer = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> int:
        with self._one_at_a_time:
            if path != "/failure-callback":
                self.deliveries += 1
                return self.status
            if not self.hears:
                return 502
            try:
                event = function_url_event(self.url + path, body, headers)
                return int(failure_callback(event, Context(timedelta(seconds=30)))["statusCode"])
            except Exception as error:  # noqa: BLE001  # the test's own thread raises it
                self.errors.append(error)
                return 502


@pytest.fixture(params=[429, 502])
def status(request: pytest.FixtureRequest) -> int:
    """What the function answers, whatever it is sent."""
    return int(request.param)


@pytest.fixture(params=[True, False], ids=["told by callback", "found by the pass"])
def functions(environment: pytest.MonkeyPatch, status: int, request: pytest.FixtureRequest) -> Iterator[Functions]:
    """The function's URL, and QStash, in compressed time."""
    served = Functions(status, hears=request.param)
    with QStashServer(time_scale=TIME_SCALE) as server:
        for name, value in {
            "QSTASH_URL": server.url,
            "QSTASH_TOKEN": server.token,
            "JOBS_BASE_URL": served.url,
            "JOBS_TIME_SCALE": str(TIME_SCALE),
            "JOBS_DELIVERY_GRACE": "0.5",
        }.items():
            environment.setenv(name, value)
        forget()
        yield served
        forget()
    served.server.shutdown()
    served.server.server_close()


def test_a_function_that_never_takes_its_job_ends_it_as_undeliverable(
    functions: Functions, record: Record, telemetry: Telemetry
) -> None:
    """No attempt, ten messages at most, each with its retries; then `failed`, and people are told."""
    job_id = enqueue(Probe(), retries=RETRIES)
    end = time.monotonic() + 100
    while record.status(job_id) != "failed":
        assert time.monotonic() < end, str(record.row(job_id))
        assert functions.errors == []
        reconcile(record.database.run_pooled, settings(), telemetry)
        time.sleep(0.1)
    row = record.row(job_id)
    assert (row["error_type"], row["undelivered"], row["attempts"]) == ("Undeliverable", UNDELIVERED_LIMIT, 0)
    assert row["publication"] == UNDELIVERED_LIMIT
    assert functions.deliveries <= UNDELIVERED_LIMIT * DELIVERIES_OF_A_MESSAGE
    until(lambda: _told(record, telemetry, job_id), timedelta(seconds=20))
    assert functions.errors == []


def _told(record: Record, telemetry: Telemetry, job_id: UUID) -> bool:
    reconcile(record.database.run_pooled, settings(), telemetry)
    return record.row(job_id)["notified_at"] is not None
