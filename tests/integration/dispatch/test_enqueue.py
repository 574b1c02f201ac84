"""What `enqueue` stores, and what it puts on the wire."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from qstash_jobs import relay
from qstash_jobs.dispatch import enqueue, enqueue_many
from qstash_jobs.drivers import Row
from qstash_jobs.errors import DatabaseUnreachable
from qstash_jobs.executions import outbox
from qstash_jobs.jobs.generate_report import DateRange, GenerateReport
from qstash_jobs.jobs.probe import Probe, ProbeMode
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.settings import settings
from tests.integration.dispatch.conftest import await_that
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.serving.conftest import Record

WEBHOOK = ProcessWebhook(source="stripe", event="invoice.paid", data={"customer": "ada@example.com"})


def test_the_row_holds_all_that_was_said(qstash: QStashStandIn, record: Record) -> None:
    """Payload, owner, budget, headers, callbacks and key are in the row, with the message that carries it."""
    job_id = enqueue(
        Probe(mode=ProbeMode.FAIL_ONCE, seconds=1.5),
        user_id=7,
        organization_id=2**40,
        retries=4,
        idempotency_key="clé/€ '\\x",
        headers={"X-Tenant": "acme"},
        callback="https://example.com/each",
        failure_callback="https://example.com/failed",
    )
    row = record.row(job_id)
    expected = {
        "job_id": str(job_id),
        "job_type": "probe",
        "status": "pending",
        "payload": {"mode": "fail-once", "seconds": 1.5},
        "budget": 5,
        "max_attempts": 5,
        "attempts": 0,
        "generation": 1,
        "publication": 1,
        "undelivered": 0,
        "idempotency_key": "clé/€ '\\x",
        "headers": {"X-Tenant": "acme"},
        "callback": "https://example.com/each",
        "failure_callback": "https://example.com/failed",
        "user_id": 7,
        "organization_id": 2**40,
        "message_id": qstash.messages[0].message_id,
        "publish_error": None,
        "lease_until": None,
        "completed_at": None,
    }
    assert expected == {name: row[name] for name in expected}
    assert row["published_at"] is not None


def test_ids_sort_by_time(record: Record) -> None:
    """A job's id is a UUID of version 7: its first 48 bits are the milliseconds at which it was made."""
    before = time.time_ns() // 1_000_000
    job_id = enqueue(Probe(), publish="relay")
    assert (job_id.version, job_id.variant) == (7, "specified in RFC 4122")
    assert before <= job_id.int >> 80 <= time.time_ns() // 1_000_000


def test_the_message_carries_what_qstash_must_know(qstash: QStashStandIn, record: Record) -> None:
    """Deduplication id, retries, timeout, label, flow control, callbacks and forwarded headers are on the wire."""
    job_id = enqueue(WEBHOOK, headers={"X-Tenant": "acme"}, callback="https://example.com/each", retries=1)
    [message] = qstash.messages
    expected = {
        "authorization": "Bearer token",
        "content-type": "application/json",
        "upstash-deduplication-id": f"{job_id}-1-1",
        "upstash-retries": "3",
        "upstash-timeout": "65s",
        "upstash-label": "process-webhook",
        "upstash-flow-control-key": "process-webhook",
        "upstash-flow-control-value": "parallelism=10",
        "upstash-failure-callback": "http://127.0.0.1:9/failure-callback",
        "upstash-callback": "https://example.com/each",
        "upstash-forward-x-tenant": "acme",
    }
    assert expected == {name: message.headers[name] for name in expected}
    assert message.url == "http://127.0.0.1:9/process-webhook"
    assert "upstash-delay" not in message.headers


def test_no_payload_leaves_the_house(qstash: QStashStandIn, record: Record) -> None:
    """The message names the job and whose it is; what the job says stays in the row."""
    job_id = enqueue(WEBHOOK, user_id=7, idempotency_key="evt_1")
    [message] = qstash.messages
    metadata = message.envelope.pop("metadata")
    created = datetime.fromisoformat(metadata.pop("createdAt"))
    assert metadata == {"userId": 7, "idempotencyKey": "evt_1"}
    assert abs(created - datetime.now(UTC)) < timedelta(minutes=1)
    assert {"jobId": str(job_id), "type": "process-webhook", "generation": 1, "publication": 1} == {
        name: value for name, value in message.envelope.items() if name != "metadata"
    }
    assert "ada@example.com" not in str(qstash.requests)


@pytest.mark.parametrize(("retries", "asked_for"), [(0, "2"), (2, "4"), (3, "5"), (5, "5"), (500, "5")])
def test_qstash_is_asked_for_a_few_retries_more_within_the_plan(
    qstash: QStashStandIn, record: Record, retries: int, asked_for: str
) -> None:
    """Throttles and deploys eat QStash's retries, not the job's; the plan's limit is never passed."""
    job_id = enqueue(Probe(), retries=retries)
    assert qstash.messages[0].headers["upstash-retries"] == asked_for
    assert record.row(job_id)["max_attempts"] == retries + 1


def test_a_delay_is_qstashs_to_wait(qstash: QStashStandIn, record: Record) -> None:
    """The message goes out at once with its delay, rounded up to seconds."""
    job_id = enqueue(Probe(), delay=timedelta(milliseconds=90_500))
    assert qstash.messages[0].headers["upstash-delay"] == "91s"
    row = record.row(job_id)
    waits = datetime.fromisoformat(row["available_at"]) - datetime.fromisoformat(row["created_at"])
    assert timedelta(seconds=90.4) < waits <= timedelta(seconds=90.5)


def test_not_before_is_a_delay_until_then(qstash: QStashStandIn, record: Record) -> None:
    """A time of day with a zone, counted from now; one that has passed means at once."""
    enqueue(Probe(), not_before=datetime.now(UTC) + timedelta(hours=1))
    assert 3590 <= int(qstash.messages[0].headers["upstash-delay"].removesuffix("s")) <= 3600
    enqueue(Probe(), not_before=datetime.now(UTC) - timedelta(hours=1))
    assert "upstash-delay" not in qstash.messages[1].headers


def test_a_delay_beyond_the_plans_limit_waits_in_the_row(qstash: QStashStandIn, record: Record) -> None:
    """QStash would refuse it: the relay sends it once the rest is short enough."""
    job_id = enqueue(Probe(), delay=timedelta(days=8))
    assert qstash.requests == []
    assert (record.row(job_id)["published_at"], record.row(job_id)["publish_error"]) == (None, None)
    run, longest, now = record.database.run_pooled, settings().limits.delay, timedelta(0)
    assert outbox.due(run, longest, now, 10) == []
    record.run(f"UPDATE job_executions SET available_at = now() + interval '6.9 days' WHERE job_id = '{job_id}'")
    assert [one.job_id for one in relay.publish_now(run, outbox.due(run, longest, now, 10))] == [job_id]
    assert int(qstash.messages[0].headers["upstash-delay"].removesuffix("s")) <= longest.total_seconds()


def test_publish_relay_leaves_the_message_to_the_relay(qstash: QStashStandIn, record: Record) -> None:
    """For callers that cannot afford a call to QStash: the row alone."""
    job_id = enqueue(Probe(), publish="relay")
    assert qstash.requests == []
    assert record.row(job_id)["published_at"] is None


def test_any_text_arrives_unchanged_in_the_row(record: Record) -> None:
    """Quotes, backslashes, percent signs, placeholders of every driver, and characters beyond the first plane."""
    hostile = {"a": 'it\'s \\ "x" %s %(a)s %% :name $1 ? ; -- /* \n\t\u2028 😀 \u007f', "%s": [None, True, 1.5, -3]}
    job_id = enqueue(
        ProcessWebhook(source="custom", name="crm", event="'; DROP TABLE job_executions; --", data=hostile)
    )
    payload = record.row(job_id)["payload"]
    assert (payload["data"], payload["event"]) == (hostile, "'; DROP TABLE job_executions; --")


def test_a_payload_is_stored_as_on_the_wire(record: Record) -> None:
    """camelCase and ISO times, so that services in any language read the same."""
    period = DateRange(from_=datetime(2026, 1, 1, tzinfo=UTC), to=datetime(2026, 2, 1, tzinfo=UTC))
    report = GenerateReport(report_type="usage", date_range=period, recipients=["a@example.com"], format="pdf")
    assert record.row(enqueue(report))["payload"] == {
        "reportType": "usage",
        "name": None,
        "dateRange": {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"},
        "timeZone": "UTC",
        "organizationId": None,
        "recipients": ["a@example.com"],
        "format": "pdf",
    }


def test_the_same_key_is_the_same_job(qstash: QStashStandIn, record: Record) -> None:
    """The first job's id is returned, nothing of it changes, and no second message goes out."""
    first = enqueue(Probe(seconds=1), idempotency_key="order-1", user_id=1)
    before = record.row(first)
    assert enqueue(Probe(seconds=2), idempotency_key="order-1", user_id=2) == first
    assert record.row(first) == before
    assert len(qstash.messages) == 1


def test_keys_are_of_one_job_type(record: Record) -> None:
    """The same key for another job type is another job."""
    assert enqueue(Probe(), idempotency_key="k") != enqueue(WEBHOOK, idempotency_key="k")


def test_a_key_stays_taken_when_its_job_has_ended(record: Record) -> None:
    """A finished job is never run again under its key."""
    job_id = enqueue(Probe(), idempotency_key="k")
    record.run(f"""UPDATE job_executions SET status = 'cancelled', completed_at = now() WHERE job_id = '{job_id}'""")
    assert enqueue(Probe(), idempotency_key="k") == job_id


def test_concurrent_callers_with_one_key_make_one_job(qstash: QStashStandIn, record: Record) -> None:
    """Eight threads, ten keys each at the same moment: one row and one message a key, one id for all."""
    barrier = threading.Barrier(8)

    def caller(_number: int) -> list[UUID]:
        barrier.wait()
        return [enqueue(Probe(), idempotency_key=f"key-{number}") for number in range(10)]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(caller, range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert record.run("SELECT count(*) FROM job_executions")[0][0] == 10
    assert sorted(message.envelope["jobId"] for message in qstash.messages) == sorted(map(str, answers[0]))


def test_a_key_whose_job_is_deleted_meanwhile_is_free(
    record: Record, environment: pytest.MonkeyPatch, qstash: QStashStandIn
) -> None:
    """Between the insert that finds it taken and the read of its job: then this job is the first of its key."""
    first = enqueue(Probe(), idempotency_key="k", publish="relay")
    run = record.database.run_pooled

    def deletes_in_between(sql: str) -> Sequence[Row]:
        rows = run(sql)
        if "INSERT INTO job_executions" in sql:
            run(f"DELETE FROM job_executions WHERE job_id = '{first}'")
        return rows

    environment.setattr(record.database, "run_pooled", deletes_in_between)
    job_id = enqueue(Probe(), idempotency_key="k", publish="relay")
    assert job_id != first
    assert record.row(job_id)["idempotency_key"] == "k"


def test_an_insert_whose_reply_was_lost_is_published(
    record: Record, environment: pytest.MonkeyPatch, qstash: QStashStandIn
) -> None:
    """The repetition finds the row of the first try, and it is this caller's."""
    run = record.database.run_pooled
    losses = iter([DatabaseUnreachable("the reply was lost")])

    def loses_a_reply(sql: str) -> Sequence[Row]:
        rows = run(sql)
        if "INSERT INTO job_executions" in sql and (loss := next(losses, None)):
            raise loss
        return rows

    environment.setattr(record.database, "run_pooled", loses_a_reply)
    [answer] = enqueue_many([Probe()])
    assert (answer.new, answer.published) == (True, True)
    assert len(qstash.messages) == 1


def test_a_known_key_waits_for_no_lock_on_its_job(record: Record, psycopg_app: Engine) -> None:
    """Another transaction that holds the first job's row does not block who asks for the same key."""
    first = enqueue(Probe(), idempotency_key="k")
    with psycopg_app.begin() as holder, ThreadPoolExecutor(1) as other:
        holder.execute(text("SELECT FROM job_executions FOR UPDATE"))
        assert other.submit(enqueue, Probe(), idempotency_key="k").result(timeout=10) == first


def test_a_key_in_an_open_transaction_is_waited_for(record: Record, psycopg_app: Engine) -> None:
    """Whether the first job exists is not known before its transaction ends; rolled back, the second is the first."""
    with ThreadPoolExecutor(1) as other:
        with psycopg_app.connect() as connection:
            first = enqueue(Probe(), idempotency_key="k", connection=connection)
            second = other.submit(enqueue, Probe(), idempotency_key="k")
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            await_that(lambda: record.run(waiting), "the second caller waits for the first transaction")
            connection.rollback()
        assert second.result(timeout=10) != first
    assert record.run("SELECT count(*) FROM job_executions")[0][0] == 1


def test_a_job_says_that_it_was_enqueued(record: Record, caplog: pytest.LogCaptureFixture) -> None:
    """One line at INFO, with the id; a known key says nothing."""
    with caplog.at_level(logging.INFO, "qstash_jobs"):
        job_id = enqueue(Probe(), idempotency_key="k")
        enqueue(Probe(), idempotency_key="k")
    lines: list[Any] = [entry.getMessage() for entry in caplog.records if "enqueued" in entry.getMessage()]
    assert lines == [f"Job enqueued: probe (jobId: {job_id})"]
