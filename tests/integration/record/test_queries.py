"""What people read of the record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection

from qstash_jobs.database import Database
from qstash_jobs.dispatch import cancel, enqueue, enqueue_many, uuid7
from qstash_jobs.executions import queries, store
from qstash_jobs.executions.queries import REDACTED, Health, Page
from qstash_jobs.executions.state import Outcome, Status
from qstash_jobs.job import Job, JobOptions, registry
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from tests.integration.serving.conftest import Function, Record

WEBHOOK = ProcessWebhook(source="custom", name="crm", event="e", data={"secret": "word"})


def start(record: Record, job_id: UUID, lease: timedelta) -> None:
    """An attempt that has not reported yet."""
    arrival = store.Arrival(
        job_id=job_id,
        job_types=("probe",),
        generation=1,
        publication=1,
        lease_owner=uuid4(),
        lease=lease,
        message_id="msg_1",
        request_id="request-1",
        cold_start=True,
        new=None,
    )
    assert store.start(record.database.run_pooled, arrival) is not None


def of(page: Page) -> list[UUID]:
    return [execution.job_id for execution in page.executions]


class TestGet:
    """One execution."""

    def test_all_that_people_need(self, connection: Connection, function: Function) -> None:
        """What was asked for, what became of it, and when."""
        job_id = enqueue(
            Probe(seconds=0.5), user_id=7, organization_id=8, idempotency_key="k", headers={"X-A": "1"}, publish="relay"
        )
        function.does = lambda _payload, _run: {"sent": [1, 2]}
        function.deliver(job_id, message_id="msg_9")
        execution = queries.get(connection, job_id)
        assert execution is not None
        assert (execution.job_id, execution.job_type, execution.status) == (job_id, "probe", Status.COMPLETED)
        assert execution.payload == {"mode": "succeed", "seconds": 0.5}
        assert (execution.result, execution.attempts, execution.max_attempts) == ({"sent": [1, 2]}, 1, 3)
        assert (execution.user_id, execution.organization_id, execution.idempotency_key) == (7, 8, "k")
        assert (execution.headers, execution.message_id) == ({"X-A": "1"}, "msg_9")
        assert execution.started_at is not None
        assert execution.completed_at is not None
        assert execution.created_at <= execution.started_at <= execution.completed_at <= datetime.now(UTC)

    def test_an_unknown_job(self, connection: Connection) -> None:
        """Is None."""
        assert queries.get(connection, uuid7()) is None

    def test_a_sensitive_payload_is_redacted(self, connection: Connection, database: Database) -> None:
        """For one execution and in a list; the rest of it is shown."""
        job_id = enqueue(WEBHOOK, publish="relay")
        execution = queries.get(connection, job_id)
        assert execution is not None
        assert execution.payload == REDACTED == {"redacted": True}
        assert "word" not in repr(queries.search(connection))

    def test_a_job_type_that_is_known_no_more_is_redacted(self, connection: Connection, record: Record) -> None:
        """Nobody is left to say that it is not sensitive."""
        job_id = enqueue(Probe(), publish="relay")
        record.run(f"UPDATE job_executions SET job_type = 'gone' WHERE job_id = '{job_id}'")
        execution = queries.get(connection, job_id)
        assert execution is not None
        assert (execution.job_type, execution.payload) == ("gone", REDACTED)

    def test_a_former_name_is_as_sensitive_as_the_present_one(
        self, connection: Connection, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rows from before a job type was renamed."""
        monkeypatch.setattr(registry, "_types", {name: registry.get(name) for name in ("probe", "process-webhook")})

        class Renamed(Job):
            options = JobOptions(name="renamed-job", aliases=("former-job",), sensitive=False)

        job_id = enqueue(Renamed(), publish="relay")
        record.run(f"UPDATE job_executions SET job_type = 'former-job' WHERE job_id = '{job_id}'")
        execution = queries.get(connection, job_id)
        assert execution is not None
        assert execution.payload == {}


class TestAttempts:
    """The history of a job."""

    def test_how_each_ended(self, connection: Connection, function: Function, record: Record) -> None:
        """With its traceback, its message and its Lambda request."""
        job_id = enqueue(Probe(), publish="relay")
        function.raises(RuntimeError("no"))
        function.deliver(job_id, message_id="msg_1")
        function.does = lambda _payload, _run: None
        function.deliver(job_id, message_id="msg_1")
        first, second = queries.attempts(connection, job_id)
        assert [(one.attempt, one.outcome) for one in (first, second)] == [
            (1, Outcome.RETRIED),
            (2, Outcome.COMPLETED),
        ]
        assert isinstance(first.outcome, Outcome)
        assert (first.error_type, first.message_id, first.generation) == ("RuntimeError", "msg_1", 1)
        assert "RuntimeError: no" in (first.error or "")
        assert (first.cold_start, second.cold_start) == (True, False)
        assert first.request_id != second.request_id
        assert first.finished_at is not None
        assert first.started_at <= first.finished_at <= second.started_at

    def test_one_that_has_not_reported_runs_while_the_job_is_processing_it(
        self, connection: Connection, record: Record
    ) -> None:
        """And is lost as soon as another has started, or the job has moved on."""
        job_id = enqueue(Probe(), publish="relay")
        start(record, job_id, timedelta(0))
        assert [one.outcome for one in queries.attempts(connection, job_id)] == ["running"]
        start(record, job_id, timedelta(minutes=1))
        assert [one.outcome for one in queries.attempts(connection, job_id)] == ["lost", "running"]
        record.end_lease(job_id)
        cancel(job_id)
        connection.rollback()
        assert [one.outcome for one in queries.attempts(connection, job_id)] == ["lost", "lost"]

    def test_none(self, connection: Connection) -> None:
        """A job that nobody has delivered, or that is not there."""
        assert queries.attempts(connection, enqueue(Probe(), publish="relay")) == []
        assert queries.attempts(connection, uuid7()) == []


def test_actions(connection: Connection, record: Record) -> None:
    """Who did what, in order; the generation is the one after it."""
    job_id = enqueue(Probe(), publish="relay")
    cancel(job_id, by="ada")
    store.requeue(record.database.run_pooled, [job_id], "bob")
    done = [(one.action, one.actor, one.generation) for one in queries.actions(connection, job_id)]
    assert done == [("cancel", "ada", 1), ("requeue", "bob", 2)]
    assert queries.actions(connection, uuid7()) == []


class TestSearch:
    """Lists."""

    def test_the_newest_first(self, connection: Connection, database: Database) -> None:
        """All of them, when there are few."""
        job_ids = [enqueue(Probe(), publish="relay") for _ in range(3)]
        page = queries.search(connection)
        assert (of(page), page.cursor) == (job_ids[::-1], None)

    def test_pages(self, connection: Connection, record: Record) -> None:
        """Each row stands on exactly one page, also when many were created in the same moment, and when new ones
        arrive meanwhile."""
        enqueue_many([Probe()] * 25, publish="relay")
        record.run("UPDATE job_executions SET created_at = '2026-01-01T00:00:00.123456Z'")
        expected = sorted((row[0] for row in record.run("SELECT job_id FROM job_executions")), reverse=True)
        found: list[UUID] = []
        page = queries.search(connection, limit=10)
        found += of(page)
        while page.cursor is not None:
            enqueue(Probe(), publish="relay")
            page = queries.search(connection, limit=10, cursor=page.cursor)
            found += of(page)
        assert found == expected

    def test_a_page_that_is_just_full_is_the_last(self, connection: Connection, database: Database) -> None:
        """No cursor leads to an empty page."""
        enqueue_many([Probe()] * 10, publish="relay")
        assert queries.search(connection, limit=10).cursor is None

    def test_filters(self, connection: Connection, function: Function, record: Record) -> None:
        """Each by itself, and all together."""
        mine = enqueue(Probe(), user_id=1, organization_id=10, publish="relay", retries=0)
        other = enqueue(WEBHOOK, user_id=2, publish="relay")
        function.raises(KeyError("x"))
        function.deliver(mine)
        everything = {
            "status": Status.FAILED,
            "job_type": "probe",
            "user_id": 1,
            "organization_id": 10,
            "error_type": "KeyError",
        }
        for name, value in everything.items():
            assert of(queries.search(connection, **{name: value})) == [mine]  # type: ignore[arg-type]
        assert of(queries.search(connection, **everything)) == [mine]  # type: ignore[arg-type]
        assert of(queries.search(connection, user_id=2)) == [other]
        assert of(queries.search(connection, user_id=2, status=Status.FAILED)) == []

    def test_a_span_of_time(self, connection: Connection, record: Record) -> None:
        """From its first moment on, up to and without its last."""
        job_ids = [enqueue(Probe(), publish="relay") for _ in range(3)]
        for day, job_id in enumerate(job_ids, 1):
            record.run(f"UPDATE job_executions SET created_at = '2026-01-0{day}Z' WHERE job_id = '{job_id}'")
        first, last = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
        assert of(queries.search(connection, since=first, until=last)) == [job_ids[1], job_ids[0]]
        assert of(queries.search(connection, since=last)) == [job_ids[2]]

    @pytest.mark.parametrize(
        "cursor", ["", "x", "%%%", "ü", "MjAyNi0wMS0wMSAx", "MjAyNi0wMS0wMSAwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDA="]
    )  # fmt: skip
    def test_a_cursor_that_no_page_gave(self, connection: Connection, cursor: str) -> None:
        """Refused, whatever it says."""
        with pytest.raises(ValueError, match="no cursor"):
            queries.search(connection, cursor=cursor)

    def test_an_empty_page_is_none(self, connection: Connection) -> None:
        """At least one execution."""
        with pytest.raises(ValueError, match="at least one"):
            queries.search(connection, limit=0)


def test_counts(connection: Connection, record: Record) -> None:
    """By type and status, and nothing that is zero."""
    assert queries.counts(connection) == {}
    connection.rollback()
    job_ids = [enqueue(Probe(), publish="relay") for _ in range(3)]
    enqueue(WEBHOOK, publish="relay")
    cancel(job_ids[0])
    assert queries.counts(connection) == {
        "probe": {Status.CANCELLED: 1, Status.PENDING: 2},
        "process-webhook": {Status.PENDING: 1},
    }


def test_health(connection: Connection, record: Record) -> None:
    """How much waits and for how long, what runs, what was left, and what nobody was told of."""
    nothing = Health(waiting=0, oldest=timedelta(0), processing=0, expired=0, unpublished=0, untold=0)
    assert queries.health(connection) == nothing
    connection.rollback()
    unpublished, published, retrying, running, expired, failed, cancelled, _later = (
        enqueue(Probe(), publish="relay", delay=timedelta(hours=number // 7)) for number in range(8)
    )
    start(record, running, timedelta(minutes=5))
    start(record, expired, timedelta(0))
    cancel(cancelled)
    for change in (
        f"available_at = now() - interval '90 s' WHERE job_id = '{unpublished}'",
        f"published_at = now() WHERE job_id IN ('{published}', '{retrying}')",
        f"available_at = now() - interval '30 s' WHERE job_id = '{published}'",
        f"status = 'processing', lease_owner = job_id, lease_until = now() WHERE job_id = '{retrying}'",
        f"status = 'retrying', lease_until = NULL WHERE job_id = '{retrying}'",
        f"status = 'failed', completed_at = now() WHERE job_id = '{failed}'",
    ):
        record.run(f"UPDATE job_executions SET {change}")
    health = queries.health(connection)
    assert (health.waiting, health.unpublished) == (3, 1)
    assert (health.processing, health.expired, health.untold) == (2, 1, 1)
    assert timedelta(seconds=90) <= health.oldest < timedelta(seconds=150)


@pytest.mark.parametrize("driver", ["pg8000", "psycopg"])
def test_either_driver(environment: pytest.MonkeyPatch, database_url: str, driver: str) -> None:
    """Every query means the same over both."""
    database = Database(database_url.replace("postgresql://", f"postgresql+{driver}://"), timedelta(seconds=5))
    job_id = enqueue(Probe(), publish="relay")
    with database.engine.connect() as connection:
        execution = queries.get(connection, job_id)
        assert execution is not None
        assert of(queries.search(connection, limit=1)) == [job_id]
        here = queries._cursor_at(execution.created_at, job_id)
        assert queries.search(connection, cursor=here).executions == ()
        assert queries.counts(connection) == {"probe": {Status.PENDING: 1}}
        assert (queries.health(connection).waiting, queries.attempts(connection, job_id)) == (1, [])
    database.close()
