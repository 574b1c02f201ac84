"""What people do to jobs: cancel, requeue, schedule."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from qstash_jobs import dispatch
from qstash_jobs.dispatch import enqueue, enqueue_many, requeue, requeue_many, schedule, uuid7
from qstash_jobs.errors import ConfigurationError, InvalidJob, InvalidMove, JobNotFound, PublishFailed
from qstash_jobs.executions.state import ENDED, MOVES, Status, Verb
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.jobs.probe import Probe
from tests.integration.dispatch.conftest import await_that, reread
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.serving.conftest import Function, Record

CLEANUP = CleanupOldData(cleanup_type="logs", days_old=30)


def job_in(status: Status, record: Record) -> UUID:
    """A published job whose row stands so."""
    job_id = enqueue(Probe(), retries=2)
    changes = {
        Status.PENDING: "attempts = 0",
        Status.PROCESSING: "attempts = 1, lease_owner = gen_random_uuid(), lease_until = now() + interval '1 minute'",
        Status.RETRYING: "attempts = 1",
        Status.COMPLETED: "attempts = 1, completed_at = now()",
        Status.FAILED: "attempts = 3, completed_at = now(), error = 'no', error_type = 'E', notified_at = now()",
        Status.CANCELLED: "attempts = 1, completed_at = now(), cancel_requested_at = now()",
    }[status]
    record.run(f"""
        ALTER TABLE job_executions DISABLE TRIGGER job_executions_guard;
        UPDATE job_executions SET status = '{status}', {changes} WHERE job_id = '{job_id}';
        ALTER TABLE job_executions ENABLE TRIGGER job_executions_guard""")
    return job_id


def actions(record: Record, job_id: UUID) -> list[tuple[Any, ...]]:
    rows = record.run(f"""
        SELECT action, actor, generation FROM job_actions WHERE job_id = '{job_id}' ORDER BY action_id""")
    return [tuple(row) for row in rows]


class TestCancel:
    """`cancel`."""

    @pytest.mark.parametrize("status", [Status.PENDING, Status.RETRYING])
    def test_a_waiting_job_ends_at_once(self, qstash: QStashStandIn, record: Record, status: Status) -> None:
        """Its row first, then its message; the audit says who asked."""
        job_id = job_in(status, record)
        assert dispatch.cancel(job_id, by="ada") is Status.CANCELLED
        row = record.row(job_id)
        assert (row["status"], row["completed_at"] is None) == ("cancelled", False)
        assert qstash.cancelled == [row["message_id"]]
        assert actions(record, job_id) == [("cancel", "ada", 1)]

    def test_a_running_job_is_asked_to_end(self, qstash: QStashStandIn, record: Record) -> None:
        """It stays `processing` until its next report, and its message is left to it."""
        job_id = job_in(Status.PROCESSING, record)
        assert dispatch.cancel(job_id, by="ada") is Status.PROCESSING
        row = record.row(job_id)
        assert (row["status"], row["cancel_requested_at"] is None) == ("processing", False)
        assert qstash.cancelled == []
        assert actions(record, job_id) == [("cancel", "ada", 1)]

    def test_a_job_whose_lease_has_ended_is_not_running(self, record: Record) -> None:
        """Nobody would report: it ends at once."""
        job_id = job_in(Status.PROCESSING, record)
        record.end_lease(job_id)
        assert dispatch.cancel(job_id) is Status.CANCELLED

    @pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED])
    def test_a_job_that_has_ended_cannot_be_cancelled(self, record: Record, status: Status) -> None:
        """The error says where it stands; nothing is changed, and nothing audited."""
        job_id = job_in(status, record)
        before = record.row(job_id)
        with pytest.raises(InvalidMove, match=f"cannot cancel job {job_id}: it is {status}"):
            dispatch.cancel(job_id)
        assert record.row(job_id) == before
        assert actions(record, job_id) == []

    def test_twice_is_once(self, record: Record) -> None:
        """The second finds it done."""
        job_id = enqueue(Probe(), publish="relay")
        assert [dispatch.cancel(job_id) for _ in range(2)] == [Status.CANCELLED] * 2
        assert len(actions(record, job_id)) == 1

    def test_an_unknown_job(self, record: Record) -> None:
        """There is no such row."""
        with pytest.raises(JobNotFound):
            dispatch.cancel(uuid7())

    @pytest.mark.parametrize("fault", ["gone", "500", "drops"])
    def test_qstashs_part_is_best_effort(
        self, qstash: QStashStandIn, record: Record, caplog: pytest.LogCaptureFixture, fault: str
    ) -> None:
        """A message that is not there, or a QStash that is away, changes nothing: its delivery finds the job
        cancelled."""
        job_id = job_in(Status.PENDING, record)
        {
            "gone": lambda: qstash.gone.add(qstash.messages[0].message_id),
            "500": lambda: qstash.answers(500),
            "drops": qstash.drops,
        }[fault]()
        assert dispatch.cancel(job_id) is Status.CANCELLED
        assert ("Message of a cancelled job not cancelled" in caplog.text) == (fault != "gone")

    def test_without_a_token_the_row_is_cancelled_all_the_same(
        self, environment: pytest.MonkeyPatch, record: Record, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What was done is not reported as an error."""
        job_id = job_in(Status.PENDING, record)
        environment.delenv("QSTASH_TOKEN")
        reread()
        assert dispatch.cancel(job_id) is Status.CANCELLED
        assert "Message of a cancelled job not cancelled" in caplog.text

    def test_a_report_that_comes_in_between_decides(self, record: Record, psycopg_app: Engine) -> None:
        """While the cancel waits for the row, its attempt completes: the error says `completed`, not what the
        statement had seen before."""
        job_id = job_in(Status.PROCESSING, record)
        with ThreadPoolExecutor(1) as other, psycopg_app.connect() as attempt:
            attempt.execute(
                text("UPDATE job_executions SET status = 'completed', completed_at = now(), lease_until = NULL")
            )
            cancelling = other.submit(dispatch.cancel, job_id)
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            await_that(lambda: record.run(waiting), "the cancel waits for the row")
            attempt.commit()
            with pytest.raises(InvalidMove, match="it is completed"):
                cancelling.result(timeout=20)

    def test_a_message_id_is_no_path(self, qstash: QStashStandIn, record: Record) -> None:
        """An id that a header brought is escaped, so that it can only ever name a message."""
        job_id = job_in(Status.PENDING, record)
        record.run(f"UPDATE job_executions SET message_id = '../schedules/nightly?x=1' WHERE job_id = '{job_id}'")
        dispatch.cancel(job_id)
        assert [request.path for request in qstash.requests if request.method == "DELETE"] == [
            "/v2/messages/..%2Fschedules%2Fnightly%3Fx%3D1"
        ]


class TestRequeue:
    """`requeue` and `requeue_many`."""

    @pytest.mark.parametrize("status", MOVES[Verb.REQUEUE].sources)
    def test_a_job_goes_round_again(self, qstash: QStashStandIn, record: Record, status: Status) -> None:
        """As the next generation, with as many attempts as at first, under a message of its own."""
        job_id = job_in(status, record)
        attempts = record.row(job_id)["attempts"]
        requeue(job_id, by="ada")
        row = record.row(job_id)
        expected = {
            "status": "pending",
            "generation": 2,
            "publication": 1,
            "undelivered": 0,
            "attempts": attempts,
            "max_attempts": attempts + 3,
            "completed_at": None,
            "cancel_requested_at": None,
            "notified_at": None,
            "message_id": qstash.messages[-1].message_id,
        }
        assert expected == {name: row[name] for name in expected}
        assert [m.deduplication_id for m in qstash.messages] == [f"{job_id}-1-1", f"{job_id}-2-1"]
        assert (qstash.messages[-1].envelope["generation"], qstash.messages[-1].headers["upstash-retries"]) == (2, "4")
        assert actions(record, job_id) == [("requeue", "ada", 2)]

    @pytest.mark.parametrize("status", sorted(set(Status) - set(MOVES[Verb.REQUEUE].sources)))
    def test_a_job_that_lives_or_is_done_cannot_be_requeued(
        self, qstash: QStashStandIn, record: Record, status: Status
    ) -> None:
        """The error says where it stands; no message goes out."""
        job_id = job_in(status, record)
        before = record.row(job_id)
        with pytest.raises(InvalidMove, match=f"cannot requeue job {job_id}: it is {status}"):
            requeue(job_id)
        assert record.row(job_id) == before
        assert (len(qstash.messages), actions(record, job_id)) == (1, [])

    def test_an_unknown_job(self, record: Record) -> None:
        """There is no such row."""
        with pytest.raises(JobNotFound):
            requeue(uuid7())

    def test_many_at_once(self, qstash: QStashStandIn, record: Record) -> None:
        """Each is answered with where it was found; those that can be are moved, and published as a batch."""
        jobs = {status: job_in(status, record) for status in Status}
        before = len(qstash.requests)
        unknown = uuid7()
        found = requeue_many([*jobs.values(), unknown], by="ada")
        assert found == {job_id: status for status, job_id in jobs.items()}
        moved = {jobs[status] for status in MOVES[Verb.REQUEUE].sources}
        assert [request.path for request in qstash.requests[before:]] == ["/v2/batch"]
        assert {m.envelope["jobId"] for m in qstash.messages if m.envelope["generation"] == 2} == set(map(str, moved))
        assert all(actions(record, job_id) == [("requeue", "ada", 2)] for job_id in moved)

    def test_none_at_all(self, qstash: QStashStandIn, record: Record) -> None:
        """An empty list is no statement."""
        assert requeue_many([], by="ada") == {}
        assert qstash.requests == []

    def test_twice_at_the_same_time_is_once(self, qstash: QStashStandIn, record: Record) -> None:
        """Of eight who requeue the same job at once, one does."""
        job_id = job_in(Status.FAILED, record)
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda n: requeue_many([job_id], by=str(n))[job_id], range(8)))
        assert sorted(found) == sorted([Status.FAILED] + [Status.PENDING] * 7)
        assert (record.row(job_id)["generation"], len(actions(record, job_id))) == (2, 1)
        assert len(qstash.messages) == 2

    def test_qstash_away(self, qstash: QStashStandIn, record: Record) -> None:
        """The job is requeued, and waits for the relay."""
        job_id = job_in(Status.FAILED, record)
        qstash.answers(500)
        requeue(job_id)
        row = record.row(job_id)
        assert (row["status"], row["published_at"]) == ("pending", None)
        assert "QStash answered 500" in row["publish_error"]

    def test_a_fresh_budget_can_be_spent(self, function: Function, record: Record) -> None:
        """A job with one attempt fails, is requeued, and fails once more after one."""
        job_id = enqueue(Probe(), retries=0)
        function.raises(RuntimeError("no"))
        assert function.deliver(job_id).status == 489
        requeue(job_id)
        assert function.deliver(job_id).outcome == "stale"
        assert function.deliver(job_id, generation=2).status == 489
        assert (record.status(job_id), record.outcomes(job_id)) == ("failed", ["failed", "failed"])

    def test_statuses_that_end_are_those_that_cannot_be_left_otherwise(self) -> None:
        """Only a requeue leads out of a status in which a job has ended."""
        leaving = {verb for verb, move in MOVES.items() if set(move.sources) & ENDED}
        assert leaving == {Verb.REQUEUE}


class TestSchedule:
    """`schedule`."""

    def test_what_qstash_is_told(self, qstash: QStashStandIn, record: Record) -> None:
        """Cron in UTC, the payload itself (each firing is a job without a row), and the options of the job type."""
        schedule_id = schedule(CLEANUP, " 0 3 * * * ", id="nightly")
        request = qstash.schedules["nightly"]
        assert (schedule_id, request.path) == ("nightly", "/v2/schedules/http://127.0.0.1:9/cleanup-old-data")
        expected = {
            "upstash-cron": "0 3 * * *",
            "content-type": "application/json",
            "upstash-retries": "3",
            "upstash-timeout": "605s",
            "upstash-label": "cleanup-old-data",
            "upstash-flow-control-key": "cleanup-old-data",
            "upstash-failure-callback": "http://127.0.0.1:9/failure-callback",
        }
        assert expected == {name: request.headers.get(name) for name in expected}
        assert b'"jobId"' not in request.body
        assert b'"payload":{"cleanupType":"logs","daysOld":30,"dryRun":false}' in request.body
        assert record.run("SELECT count(*) FROM job_executions")[0][0] == 0

    def test_a_time_zone(self, qstash: QStashStandIn, record: Record) -> None:
        """QStash reads it from the cron expression."""
        schedule(CLEANUP, "0 3 * * *", id="nightly", timezone="Europe/Berlin")
        assert qstash.schedules["nightly"].headers["upstash-cron"] == "CRON_TZ=Europe/Berlin 0 3 * * *"

    def test_without_an_id_the_same_is_the_same(self, qstash: QStashStandIn, record: Record) -> None:
        """Job, times and zone make the id: declaring a schedule twice makes one."""
        first = schedule(CLEANUP, "0 3 * * *")
        others = {
            schedule(CLEANUP, "0 4 * * *"),
            schedule(CLEANUP, "0 3 * * *", timezone="Europe/Berlin"),
            schedule(CleanupOldData(cleanup_type="logs", days_old=31), "0 3 * * *"),
        }
        assert schedule(CLEANUP, "0 3 * * *") == first
        assert first.startswith("cleanup-old-data-")
        assert len(others | {first}) == len(qstash.schedules) == 4

    @pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "America", "UTC\r\nX: 1", "/etc/localtime"])
    def test_a_zone_that_is_none(self, qstash: QStashStandIn, record: Record, zone: str) -> None:
        """Refused before QStash is asked."""
        with pytest.raises(InvalidJob, match="time zone"):
            schedule(CLEANUP, "0 3 * * *", timezone=zone)
        assert qstash.requests == []

    @pytest.mark.parametrize("id_", ["a b", "a/b", "ü", "a\n", "x" * 201])
    def test_an_id_that_is_none(self, qstash: QStashStandIn, record: Record, id_: str) -> None:
        """An id stands in a path and in a header."""
        with pytest.raises(InvalidJob, match="schedule's id"):
            schedule(CLEANUP, "0 3 * * *", id=id_)
        assert qstash.requests == []

    @pytest.mark.parametrize("cron", ["0 3 * * *\r\nUpstash-Retries: 0", "0 3 * * ü"])
    def test_a_cron_expression_that_is_no_header(self, qstash: QStashStandIn, record: Record, cron: str) -> None:
        """It is not sent."""
        with pytest.raises(PublishFailed):
            schedule(CLEANUP, cron)
        assert qstash.requests == []

    def test_qstash_refuses(self, qstash: QStashStandIn, record: Record) -> None:
        """There is no row to wait in: the caller hears of it."""
        qstash.answers(400, b'{"error": "invalid cron"}')
        with pytest.raises(PublishFailed, match="invalid cron"):
            schedule(CLEANUP, "every now and then")

    def test_a_missing_token(self, environment: pytest.MonkeyPatch, record: Record) -> None:
        """Named."""
        environment.delenv("QSTASH_TOKEN")
        reread()
        with pytest.raises(ConfigurationError, match="QSTASH_TOKEN"):
            schedule(CLEANUP, "0 3 * * *")


def test_a_delayed_job_is_cancelled_before_its_time(qstash: QStashStandIn, record: Record) -> None:
    """Also one that waits in its row, without a message."""
    [delayed], [far] = (
        enqueue_many([Probe()], delay=timedelta(hours=1)),
        enqueue_many([Probe()], delay=timedelta(days=30)),
    )
    assert dispatch.cancel(delayed.job_id) is dispatch.cancel(far.job_id) is Status.CANCELLED
    assert qstash.cancelled == ["msg_1"]
