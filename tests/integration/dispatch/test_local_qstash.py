"""Our side of QStash's protocol, against the local QStash server: what we send is taken, delivered and answered."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import pytest

from infra.local.qstash import QStashServer
from qstash_jobs import dispatch, relay
from qstash_jobs.dispatch import enqueue, enqueue_many, schedule
from qstash_jobs.errors import PublishFailed
from qstash_jobs.executions import outbox
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.recovery import from_callback, from_dead_letter, reconcile
from qstash_jobs.settings import settings
from qstash_jobs.telemetry import Telemetry
from tests.integration.dispatch.conftest import await_that, reread
from tests.integration.serving.conftest import Record


class Functions:
    """Every function's URL: remembers what arrives, and answers as told."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        functions = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                functions.arrived.append((self.path, headers, body))
                self.send_response(functions.status if self.path == "/probe" else 200)
                self.send_header("Content-Length", "0")
                self.send_header("Upstash-NonRetryable-Error", "true")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests read `arrived` instead."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def at(self, path: str) -> list[tuple[dict[str, str], bytes]]:
        return [(headers, body) for place, headers, body in self.arrived if place == path]


@pytest.fixture
def functions() -> Iterator[Functions]:
    served = Functions()
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture(autouse=True)
def local(environment: pytest.MonkeyPatch, functions: Functions) -> Iterator[QStashServer]:
    """The local server, and functions to deliver to."""
    with QStashServer() as server:
        environment.setenv("QSTASH_URL", server.url)
        environment.setenv("QSTASH_TOKEN", server.token)
        environment.setenv("JOBS_BASE_URL", functions.url)
        reread()
        yield server
        reread()


@pytest.mark.parametrize("jobs", [1, 3], ids=["one", "batch"])
def test_what_is_published_is_delivered(functions: Functions, record: Record, jobs: int) -> None:
    """The body by reference, the forwarded header, a signature; the row knows the message's id."""
    answers = enqueue_many([Probe()] * jobs, headers={"X-Tenant": "acme"}, user_id=7)
    assert all(answer.published for answer in answers)
    await_that(lambda: len(functions.at("/probe")) == jobs, "all are delivered")
    for headers, body in functions.at("/probe"):
        envelope = json.loads(body)
        assert (headers["x-tenant"], headers["content-type"]) == ("acme", "application/json")
        assert headers["upstash-signature"]
        assert headers["upstash-message-id"] == record.row(UUID(envelope["jobId"]))["message_id"]
        assert (envelope["type"], envelope["metadata"]["userId"], "payload" in envelope) == ("probe", 7, False)


def test_a_repetition_is_the_same_message(functions: Functions, record: Record) -> None:
    """Published again, as after a lost confirmation: one delivery, and the first message's id."""
    job_id = enqueue(Probe())
    first = record.row(job_id)["message_id"]
    record.run(f"UPDATE job_executions SET published_at = NULL, message_id = NULL WHERE job_id = '{job_id}'")
    run = record.database.run_pooled
    relay.publish_now(run, outbox.unpublished(run, [job_id], timedelta(0)))
    assert record.row(job_id)["message_id"] == first
    enqueue(Probe())
    await_that(lambda: len({body for _headers, body in functions.at("/probe")}) == 2, "both jobs are delivered")
    assert len(functions.at("/probe")) == 2


def test_a_delayed_message_is_held_until_it_is_cancelled(functions: Functions, record: Record) -> None:
    """`holds` says so, and says when it is no more; cancelling twice is no error."""
    job_id = enqueue(Probe(), delay=timedelta(hours=1))
    message_id = record.row(job_id)["message_id"]
    qstash = relay.qstash()
    assert qstash.holds(message_id)
    dispatch.cancel(job_id)
    assert not qstash.holds(message_id)
    qstash.cancel(message_id)
    assert functions.arrived == []


def test_a_message_that_is_given_up(functions: Functions, record: Record, telemetry: Telemetry) -> None:
    """489 ends it: the failure callback and the dead letter queue both name the job, and either alone is enough."""
    functions.status = 489
    job_id = enqueue(Probe())
    await_that(lambda: functions.at("/failure-callback"), "QStash calls back")
    [(_headers, body)] = functions.at("/failure-callback")
    told = from_callback(body)
    [[letter]] = relay.qstash().dead_letters(datetime.now(UTC) - timedelta(hours=1))
    found = from_dead_letter(letter, settings())
    assert told is not None
    assert told == found
    assert (told.carrier.job_id, told.carrier.message_id) == (job_id, record.row(job_id)["message_id"])
    report = reconcile(record.database.run_pooled, settings(), telemetry)
    assert (report.dead_letters, report.lost) == (1, 1)
    assert (record.row(job_id)["publication"], record.row(job_id)["dlq_id"]) == (2, told.dlq_id)


def test_schedules(record: Record) -> None:
    """Created, replaced under the same id, listed, deleted; deleting twice is no error."""
    cleanup = CleanupOldData(cleanup_type="logs", days_old=30)
    assert schedule(cleanup, "0 3 * * *", id="nightly") == "nightly"
    assert schedule(cleanup, "0 4 * * *", id="nightly", timezone="Europe/Berlin") == "nightly"
    qstash = relay.qstash()
    assert [(one.id, one.facts["cron"]) for one in qstash.schedules()] == [
        ("nightly", "CRON_TZ=Europe/Berlin 0 4 * * *")
    ]
    for _ in range(2):
        qstash.delete_schedule("nightly")
    assert qstash.schedules() == []
    with pytest.raises(PublishFailed):
        schedule(cleanup, "every now and then")


def test_signing_keys(local: QStashServer) -> None:
    """As deliveries are signed with."""
    assert relay.qstash().signing_keys() == (local.current_signing_key, local.next_signing_key)
