"""QStash or Postgres away: an outage is a delay, and the caller hears of it in the log alone."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from qstash_jobs import relay
from qstash_jobs.dispatch import enqueue, enqueue_many, requeue_many
from qstash_jobs.errors import ConfigurationError, PublishFailed
from qstash_jobs.executions.outbox import due
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.qstash import QStash
from qstash_jobs.settings import settings
from tests.integration.dispatch.conftest import await_that, published, reread
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.serving.conftest import Record

FAULTS: dict[str, tuple[Callable[[QStashStandIn], None], str]] = {
    "500": (lambda qstash: qstash.answers(500), "QStash answered 500"),
    "429": (lambda qstash: qstash.answers(429), "QStash answered 429"),
    "400": (lambda qstash: qstash.answers(400, b'{"error": "max retries exceeded"}'), "max retries exceeded"),
    "401": (lambda qstash: qstash.answers(401), "QStash answered 401"),
    "no JSON": (lambda qstash: qstash.answers(200, b"<html>a proxy's page</html>"), "no JSON"),
    "no object": (lambda qstash: qstash.answers(200, b'"ok"'), "QStash answered"),
    "no id": (lambda qstash: qstash.answers(201, b"{}"), "QStash answered"),
    "null": (lambda qstash: qstash.answers(200, b"null"), "QStash answered"),
    "a group": (lambda qstash: qstash.answers(200, b"[]"), "QStash answered"),
    "binary": (lambda qstash: qstash.answers(200, b"\xe9\x00"), "QStash answered"),
    "drops": (lambda qstash: qstash.drops(), "QStash did not answer"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("jobs", [1, 2], ids=["one", "batch"])
def test_the_job_waits_in_its_row(
    hurried: None, qstash: QStashStandIn, record: Record, caplog: pytest.LogCaptureFixture, fault: str, jobs: int
) -> None:
    """The caller gets its ids, the log a warning, the row the reason; the relay publishes when QStash is back."""
    strike, reason = FAULTS[fault]
    strike(qstash)
    answers = enqueue_many([Probe()] * jobs)
    warnings = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]
    for answer in answers:
        row = record.row(answer.job_id)
        assert (row["status"], row["published_at"]) == ("pending", None)
        assert reason in row["publish_error"]
        assert (answer.published, answer.error) == (False, row["publish_error"])
        assert any(str(answer.job_id) in line and "the relay will do it" in line for line in warnings)
    qstash.works()
    found: list[relay.Sent] = []

    def all_found() -> bool:
        found.extend(relay.publish_due(record.database.run_pooled))
        return len(found) == jobs

    await_that(all_found, "the relay finds them")
    assert sorted(m.deduplication_id for m in qstash.messages) == sorted(f"{a.job_id}-1-1" for a in answers)
    for answer in answers:
        row = record.row(answer.job_id)
        assert (row["published_at"] is None, row["publish_error"]) == (False, None)


@pytest.mark.parametrize("token", ["hush-hush\n", "hush-h\xfcsh", "hush-\ud800"])
def test_what_cannot_be_sent_is_never_said(qstash: QStashStandIn, token: str) -> None:
    """A token that no header can carry is in no error, nor in what a traceback shows with it."""
    client = QStash(lambda: token, qstash.url, timedelta(seconds=1))
    with pytest.raises(PublishFailed, match=r"QStash cannot be asked this.*QSTASH_TOKEN") as caught:
        client.signing_keys()
    client.close()
    assert "hush" not in "".join(traceback.format_exception(caught.value))
    assert "\\xfc" not in str(caught.value)
    assert qstash.requests == []


@pytest.mark.parametrize("how", ["hangs", "nobody listens", "never accepts"])
def test_the_caller_waits_no_longer_than_five_seconds(
    environment: pytest.MonkeyPatch, qstash: QStashStandIn, record: Record, how: str
) -> None:
    """With the default timeout, whether QStash takes the request and says nothing, or cannot be reached."""
    qstash.hangs()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        if how != "hangs":
            environment.setenv("QSTASH_URL", f"http://127.0.0.1:{full.getsockname()[1]}")
            reread()
        crowd = [_connecting(full) for _ in range(3)] if how == "never accepts" else []
        if how == "nobody listens":
            full.close()
        begun = time.monotonic()
        job_id = enqueue(Probe())
        took_seconds = time.monotonic() - begun
        for one in crowd:
            one.close()
    assert took_seconds < 5
    row = record.row(job_id)
    assert row["status"] == "pending"
    assert "QStash did not answer" in row["publish_error"]


def _connecting(server: socket.socket) -> socket.socket:
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(server.getsockname())
    return one


def test_many_jobs_wait_for_qstash_no_longer_than_one(qstash: QStashStandIn, record: Record) -> None:
    """Once a batch went unanswered the others are not tried: they are left to the relay too."""
    qstash.hangs()
    begun = time.monotonic()
    answers = enqueue_many([Probe()] * 350)
    assert time.monotonic() - begun < 5
    assert len(qstash.sent_to("/v2/batch")) == 1
    assert all(not answer.published and answer.error and "did not answer" in answer.error for answer in answers)
    assert record.run("SELECT count(*) FROM job_executions WHERE published_at IS NULL")[0][0] == 350


def test_a_refused_batch_stops_no_other(qstash: QStashStandIn, record: Record) -> None:
    """What QStash has against one batch (400) says nothing about the next."""
    qstash.answers(400)
    enqueue_many([Probe()] * 250)
    assert len(qstash.sent_to("/v2/batch")) == 3


def test_an_outage_after_a_commit_is_the_publishers_alone(
    psycopg_app: Engine, qstash: QStashStandIn, record: Record
) -> None:
    """The caller's commit goes through whatever QStash says."""
    qstash.answers(500)
    with psycopg_app.begin() as connection:
        job_id = enqueue(Probe(), connection=connection)
    published()
    assert "QStash answered 500" in record.row(job_id)["publish_error"]


def test_a_lost_answer_makes_no_second_message(hurried: None, qstash: QStashStandIn, record: Record) -> None:
    """QStash took the message and its answer was lost: the relay sends the same deduplication id again, and the row
    learns the first message's id."""
    qstash.loses_its_answer()
    job_id = enqueue(Probe())
    assert "QStash did not answer" in record.row(job_id)["publish_error"]
    await_that(lambda: relay.publish_due(record.database.run_pooled), "the relay finds it")
    assert [message.deduplication_id for message in qstash.messages] == [f"{job_id}-1-1"]
    assert len(qstash.sent_to("/v2/publish")) == 2
    assert record.row(job_id)["message_id"] == "msg_1"


def test_a_lost_confirmation_makes_no_second_message(
    hurried: None, qstash: QStashStandIn, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    """Postgres goes away between publish and confirm: the caller has its id, and the same message is sent again."""
    qstash.on_accept = lambda: kill_backends(record)
    job_id = enqueue(Probe())
    assert "Publication not noted; the relay will repeat it" in caplog.text
    assert record.row(job_id)["published_at"] is None
    await_that(lambda: relay.publish_due(record.database.run_pooled), "the relay finds it")
    assert [message.deduplication_id for message in qstash.messages] == [f"{job_id}-1-1"]
    assert record.row(job_id)["message_id"] == "msg_1"


def kill_backends(record: Record) -> None:
    """As if Postgres had been restarted: every connection of this process is dead, though it does not know."""
    engine = record.database.engine
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'qstash-jobs' AND pid <> pg_backend_pid()"
        )
    engine.dispose()


def test_a_connection_that_died_idle_costs_nothing(qstash: QStashStandIn, record: Record) -> None:
    """The pool's connection was reset since the last job: the next one takes another."""
    enqueue(Probe())
    kill_backends(record)
    job_id = enqueue(Probe())
    assert record.row(job_id)["message_id"] == "msg_2"


def test_a_connection_that_died_idle_costs_the_publisher_nothing(
    psycopg_app: Engine, qstash: QStashStandIn, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    """In Lambda the environment was frozen meanwhile: what a transaction enqueued is published all the same."""
    for number in (1, 2):
        with psycopg_app.begin() as connection:
            enqueue(Probe(), connection=connection)
        published()
        assert len(qstash.messages) == number
        kill_backends(record)
    assert "Publisher failed" not in caplog.text


def test_the_relay_leaves_alone_what_somebody_is_sending(qstash: QStashStandIn, record: Record) -> None:
    """A row touched within the last two seconds is being published just now; one refused waits longer, and is last."""
    fresh, refused, old = (enqueue(Probe(), publish="relay") for _ in range(3))
    quiet = timedelta(seconds=20)
    record.run(f"""
        ALTER TABLE job_executions DISABLE TRIGGER job_executions_guard;
        UPDATE job_executions SET updated_at = clock_timestamp() - interval '60 s' WHERE job_id <> '{fresh}';
        UPDATE job_executions SET publish_error = 'no' WHERE job_id = '{refused}'""")
    run = record.database.run_pooled
    assert [one.job_id for one in due(run, timedelta(0), quiet, 10)] == [old]
    assert [one.job_id for one in due(run, timedelta(0), timedelta(seconds=3), 10)] == [old, refused]
    record.run("ALTER TABLE job_executions ENABLE TRIGGER job_executions_guard")


def test_the_relay_takes_the_oldest_first_and_not_all_at_once(
    hurried: None, qstash: QStashStandIn, record: Record
) -> None:
    """A limit of two: the two oldest, then the next."""
    job_ids = [enqueue(Probe(), publish="relay") for _ in range(3)]
    run = record.database.run_pooled
    await_that(lambda: len(due(run, timedelta(0), settings().scaled(relay.QUIET), 10)) == 3, "all are due")
    assert [one.job_id for one in relay.publish_due(run, limit=2)] == job_ids[:2]
    assert [one.job_id for one in relay.publish_due(run, limit=2)] == job_ids[2:]


def test_a_job_type_that_is_known_no_more_stops_no_other(hurried: None, qstash: QStashStandIn, record: Record) -> None:
    """A row without a contract keeps its reason; the others of its batch are sent."""
    unknown, known = (enqueue(Probe(), publish="relay") for _ in range(2))
    record.run(f"UPDATE job_executions SET job_type = 'gone' WHERE job_id = '{unknown}'")

    def noted() -> bool:
        relay.publish_due(record.database.run_pooled)
        return bool(record.row(known)["published_at"] and record.row(unknown)["publish_error"])

    await_that(noted, "the known one is sent, and the unknown one noted")
    assert "unknown job type 'gone'" in record.row(unknown)["publish_error"]
    assert [message.envelope["jobId"] for message in qstash.messages] == [str(known)]


def test_a_missing_token_is_heard_of_before_a_job_is_requeued(environment: pytest.MonkeyPatch, record: Record) -> None:
    """What cannot be published is not sent round again."""
    job_id = enqueue(Probe(), publish="relay")
    record.run(f"UPDATE job_executions SET status = 'failed', completed_at = now() WHERE job_id = '{job_id}'")
    environment.delenv("QSTASH_TOKEN")
    reread()
    with pytest.raises(ConfigurationError, match="QSTASH_TOKEN"):
        requeue_many([job_id], by="test")
    assert record.status(job_id) == "failed"
