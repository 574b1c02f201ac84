"""Attacks on the promises: what must not move a job, what must not stop a pass, what must still be recorded."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import field_validator
from sqlalchemy import text as sql

from functions.failure_callback.handler import handler as failure_callback
from functions.reconcile_jobs.handler import handler as reconcile_jobs
from qstash_jobs import relay
from qstash_jobs.database import Database
from qstash_jobs.dispatch import enqueue, requeue
from qstash_jobs.envelope import Envelope
from qstash_jobs.errors import DatabaseUnreachable, InvalidMove, JobsError, Retry
from qstash_jobs.executions import outbox, store, upkeep
from qstash_jobs.executions.state import Outcome, Verb
from qstash_jobs.executions.store import Arrival, Finish
from qstash_jobs.executions.upkeep import Carrier
from qstash_jobs.job import Job, JobOptions
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.jobs.reconcile_jobs import ReconcileJobs
from qstash_jobs.recovery import GivenUp, message_lost, reconcile, tell
from qstash_jobs.run import Done, Run
from qstash_jobs.run import Outcome as Returned
from qstash_jobs.serving import serve
from qstash_jobs.settings import FAILURE_CALLBACK, settings
from qstash_jobs.telemetry import Telemetry
from qstash_jobs.testing import Context, create_test_job, function_url_event, sign, signed_event
from tests.integration.dispatch.standin import QStashStandIn, dead_letter
from tests.integration.serving.conftest import Answer, Function, Record

NOW = timedelta(0)
FAILED = Finish(verb=Verb.FAIL, outcome=Outcome.FAILED, error="no", error_type="E")


def started(record: Record, job_id: UUID, lease: timedelta = NOW) -> UUID:
    """The owner of an attempt that has started, and not reported."""
    owner = uuid4()
    arrival = Arrival(
        job_id=job_id,
        job_types=("probe",),
        generation=1,
        publication=1,
        lease_owner=owner,
        lease=lease,
        message_id="msg_1",
        request_id=None,
        cold_start=False,
        new=None,
    )
    assert store.start(record.database.run_pooled, arrival) is not None
    return owner


def given_up(body: bytes, message_id: str) -> dict[str, Any]:
    """QStash's failure callback for a message with this body."""
    url = settings().url("failure-callback")
    told = json.dumps(
        {"sourceMessageId": message_id, "sourceBody": base64.b64encode(body).decode(), "dlqId": "dlq_1", "status": 489}
    ).encode()
    signature = sign(told, url, settings().signing_keys[0])
    return function_url_event(url, told, {"upstash-signature": signature, "upstash-message-id": "msg_callback"})


def seconds_until(record: Record, job_id: UUID, column: str) -> float:
    """How far a time of the row lies ahead, by the database's clock."""
    [[seconds]] = record.run(
        f"SELECT extract(epoch FROM {column} - clock_timestamp())::float FROM job_executions WHERE job_id = '{job_id}'"
    )
    return float(seconds)


class TestCarriers:
    """News of dead messages, true and false."""

    def test_the_death_of_a_foreign_message_changes_nothing(
        self, qstash: QStashStandIn, function: Function, record: Record
    ) -> None:
        """A message that was refused as a conflict dies; the job that it named, which waits for days, is untouched."""
        job_id = enqueue(Probe(), delay=timedelta(days=3))
        before = record.row(job_id)
        event = signed_event(Probe(seconds=1), job_id=job_id, message_id="msg_foreign")
        assert function.answer(event).outcome == "conflict"
        answer = Answer(
            failure_callback(given_up(event["body"].encode(), "msg_foreign"), Context(timedelta(seconds=9)))
        )
        assert answer.status == 200
        assert before == record.row(job_id)

    def test_a_dead_carrier_does_not_hurry_the_job(self, function: Function, record: Record, job_id: UUID) -> None:
        """The handler asked for an attempt in 20 hours, on the last delivery that its message had: it waits so long."""
        function.raises(Retry(timedelta(hours=20)))
        assert function.deliver(job_id).status == 503
        carrier = Carrier(job_id=job_id, generation=1, publication=1)
        assert message_lost(record.database.run_pooled, GivenUp(carrier=carrier, dlq_id=None), settings())
        assert seconds_until(record, job_id, "available_at") > 19 * 3600

    def test_a_firing_that_never_reached_its_function_is_not_lost(self, qstash: QStashStandIn, record: Record) -> None:
        """Its function was throttled until QStash gave up: there is no row yet, and its failure callback brings all
        that is needed to make one."""
        body = Envelope(type="probe", payload=Probe().wire()).encode()
        assert Answer(failure_callback(given_up(body, "msg_firing"), Context(timedelta(seconds=9)))).status == 200
        assert [row[0] for row in record.run("SELECT status FROM job_executions")] == ["pending"]

    @pytest.mark.parametrize("reads", ["callback", "pass"])
    def test_a_foreign_message_with_the_highest_number_stops_nobody(
        self, qstash: QStashStandIn, function: Function, record: Record, telemetry: Telemetry, reads: str
    ) -> None:
        """Its publication cannot be raised; the function that hears of its death, and the pass, do their work."""
        job_id, most = uuid4(), 2**31 - 1
        function.raises(RuntimeError("no"))
        body = json.dumps({"jobId": str(job_id), "type": "probe", "publication": most, "payload": Probe().wire()})
        event = signed_event(body.encode(), url=settings().url("probe"), message_id="msg_foreign")
        if function.answer(event).status == 489:
            return  # it may as well be refused
        if reads == "callback":
            failure_callback(given_up(event["body"].encode(), "msg_foreign"), Context(timedelta(seconds=9)))
            return
        record.run(f"""UPDATE job_executions SET available_at = '2020-01-01', published_at = '2020-01-01'
            WHERE job_id = '{job_id}'""")
        reconcile(record.database.run_pooled, settings(), telemetry)


class TestLateReports:
    """What an attempt says when nobody waits for it any more."""

    def test_a_report_from_before_a_requeue_changes_nothing(self, record: Record, job_id: UUID) -> None:
        """The attempt was given up for dead, the job requeued; then the attempt says that it failed."""
        owner = started(record, job_id)
        assert store.cancel(record.database.run_pooled, job_id, "a test") is not None
        assert store.requeue(record.database.run_pooled, [job_id], "a test")
        before = record.row(job_id)
        finished = store.finish(record.database.run_pooled, job_id, 1, owner, FAILED)
        assert before == record.row(job_id)
        assert not finished.moved

    def test_progress_after_the_lease_was_freed_cancels_nothing(
        self, function: Function, record: Record, job_id: UUID
    ) -> None:
        """Nobody asked for a cancel: the job waits for its next attempt, or this one completes it."""

        def outlives_its_lease(_payload: Probe, run: Run) -> Returned:
            record.end_lease(run.job_id)
            assert upkeep.reap(record.database.run_pooled, NOW, 10)
            run.progress(0.5)
            return None

        function.does = outlives_its_lease
        function.deliver(job_id)
        assert record.status(job_id) in {"retrying", "completed"}


class TestEndings:
    """However a handler ends, its attempt is recorded."""

    @pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), GeneratorExit()], ids=repr)
    def test_whatever_it_raises(self, function: Function, record: Record, job_id: UUID, error: BaseException) -> None:
        """Also what is no `Exception`: a library may call `sys.exit`, and asyncio cancels."""
        function.raises(error)
        with suppress(BaseException):
            assert function.deliver(job_id).status == 500
        assert record.outcomes(job_id) == ["retried"]

    def test_a_generator_that_is_left_within_a_transaction(
        self, function: Function, record: Record, job_id: UUID
    ) -> None:
        """The handler reads rows through a generator, and fails at the first: the error keeps the generator alive,
        and the generator its transaction."""

        def rows(run: Run) -> Iterator[int]:
            with run.connection() as connection:
                for row in connection.execute(sql("SELECT generate_series(1, 3)")):
                    yield row[0]

        def fails_at_the_first(_payload: Probe, run: Run) -> Returned:
            found = rows(run)
            raise ValueError(f"row {next(found)} is bad")

        function.does = fails_at_the_first
        assert function.deliver(job_id).status == 500
        assert record.outcomes(job_id) == ["retried"]
        assert record.row(job_id)["error"] == "row 1 is bad"

    def test_a_transaction_that_was_never_closed(self, function: Function, record: Record, job_id: UUID) -> None:
        """The handler entered it by hand and returned."""
        kept = []

        def forgets(_payload: Probe, run: Run) -> Returned:
            kept.append(run.connection())
            kept[-1].__enter__().execute(sql("SELECT 1"))
            return None

        function.does = forgets
        assert function.deliver(job_id).status == 200
        assert record.status(job_id) == "completed"

    @pytest.mark.parametrize(
        "follow_up",
        [
            pytest.param("not a job", id="no job"),
            pytest.param(ProcessWebhook(source="custom", name="crm", event="e", data={"word": "a\0b"}), id="NUL"),
        ],
    )
    def test_a_follow_up_that_cannot_be_enqueued(
        self, function: Function, record: Record, job_id: UUID, follow_up: Any
    ) -> None:
        """It is the handler's mistake, and recorded as such."""
        function.does = lambda _payload, _run: Done(None, then=[follow_up])
        assert function.deliver(job_id).status in {500, 489}
        assert record.outcomes(job_id) in (["retried"], ["failed"])

    def test_follow_ups_do_not_take_the_time_to_answer(
        self, qstash: QStashStandIn, function: Function, record: Record, job_id: UUID
    ) -> None:
        """QStash hangs while they are published: the answer is out before Lambda's deadline, the relay sends them."""
        qstash.hangs()
        function.does = lambda _payload, _run: Done(None, then=[Probe()])
        function.remaining = timedelta(seconds=1.5)
        began = time.monotonic()
        assert function.deliver(job_id).outcome == "completed"
        assert time.monotonic() - began < 1.5

    def test_a_validator_that_raises_something_else(self, database: Database, record: Record) -> None:
        """A contract's mistake ends in the record, not in a crash that says nothing."""

        class Fragile(Job):
            """Its validator looks something up."""

            options = JobOptions(name="fragile", retries=0)
            word: str

            @field_validator("word")
            @classmethod
            def known(cls, word: str) -> str:
                return {"good": word}[word]

        job_id = create_test_job(Fragile(word="good"))
        record.run(f"""UPDATE job_executions SET payload = '{{"word": "bad"}}' WHERE job_id = '{job_id}'""")
        handler = serve(Fragile, lambda _payload, _run: None)
        event = signed_event(Fragile(word="good"), job_id=job_id, by_reference=True)
        assert Answer(handler(event, Context(timedelta(seconds=30)))).status == 489
        assert record.outcomes(job_id) == ["failed"]

    def test_an_asynchronous_handler_is_not_taken_for_done(self, environment: pytest.MonkeyPatch) -> None:
        """Calling it runs nothing: it is refused when the function is loaded."""

        async def send(_payload: Probe, _run: Run) -> None:
            raise AssertionError("nobody awaits this")

        with pytest.raises(TypeError):
            serve(Probe, send)  # type: ignore[arg-type]

    def test_a_thread_of_the_handler_may_still_report_progress(
        self, function: Function, record: Record, telemetry: Telemetry
    ) -> None:
        """While the end of the attempt is recorded: each statement gets its own answer."""
        threads: list[threading.Thread] = []

        def reports(run: Run) -> None:
            with suppress(JobsError):
                while True:
                    run.progress(1.0)

        def works(_payload: Probe, run: Run) -> Returned:
            threads.append(threading.Thread(target=reports, args=(run,), daemon=True))
            threads[-1].start()
            time.sleep(0.01)
            return None

        function.does = works
        job_ids = [create_test_job(Probe()) for _ in range(20)]
        assert [function.deliver(job_id).status for job_id in job_ids] == [200] * 20
        for thread in threads:
            thread.join(20)
        assert {record.status(job_id) for job_id in job_ids} == {"completed"}

    def test_a_statement_of_the_handler_may_take_as_long_as_the_handler(
        self, environment: pytest.MonkeyPatch, function: Function, record: Record, job_id: UUID
    ) -> None:
        """The record's own limit is for the record's own statements."""
        record.database._limit = "SET LOCAL statement_timeout = 100;"
        record.database._timeout_seconds = 1.1
        record.database.discard()

        def reports(_payload: Probe, run: Run) -> Returned:
            with run.connection() as connection:
                connection.execute(sql("SELECT pg_sleep(2)"))
            return None

        function.does = reports
        assert function.deliver(job_id).status == 200


class TestPasses:
    """A pass does what it can, whatever one row or one message is like."""

    def test_a_slow_qstash_does_not_keep_the_outbox_waiting(
        self, environment: pytest.MonkeyPatch, qstash: QStashStandIn, record: Record
    ) -> None:
        """It answers each question about an overdue message after a while, and the pass's time runs out: the outbox
        was emptied all the same."""
        for _ in range(40):
            enqueue(Probe())
        record.run("UPDATE job_executions SET available_at = '2020-01-01', published_at = '2020-01-01'")
        waiting = create_test_job(Probe())
        record.run("SET LOCAL session_replication_role = replica; UPDATE job_executions SET updated_at = '2020-01-01'")
        environment.setattr(qstash, "_fault", lambda: time.sleep(0.1))
        reconcile_jobs(signed_event(ReconcileJobs()), Context(timedelta(seconds=2)))
        assert record.row(waiting)["published_at"] is not None

    @pytest.mark.parametrize(
        "document",
        [{"sourceMessageId": 5, "sourceBody": base64.b64encode(b'{"type": "probe"}').decode()},
         {"sourceMessageId": "m", "sourceBody": base64.b64encode(b'{"type": "probe"}').decode(), "dlqId": 5}],
        ids=["message id", "DLQ id"],
    )  # fmt: skip
    def test_a_dead_letter_of_odd_shape_does_not_stop_it(
        self, qstash: QStashStandIn, record: Record, telemetry: Telemetry, document: dict[str, object]
    ) -> None:
        """Whoever may publish can put anything there."""
        waiting = create_test_job(Probe())
        record.run("SET LOCAL session_replication_role = replica; UPDATE job_executions SET updated_at = '2020-01-01'")
        enqueue(Probe())
        entry = dead_letter(qstash.messages[0], "dlq_1")
        entry |= {"url": settings().url(FAILURE_CALLBACK), "body": json.dumps(document)}
        qstash.dead_letters.append(entry)
        reconcile(record.database.run_pooled, settings(), telemetry)
        assert record.row(waiting)["published_at"] is not None

    def test_failures_that_cannot_be_told_do_not_stand_before_others(
        self, environment: pytest.MonkeyPatch, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """A callback address that QStash refuses for good fails again in every pass; the next one has its turn."""
        environment.setattr("qstash_jobs.recovery.BATCH", 3)
        for _ in range(3):
            enqueue(Probe(), publish="relay", failure_callback="https://refused.example.com/")
        record.run("UPDATE job_executions SET status = 'failed', completed_at = '2020-01-01'")
        told = create_test_job(Probe())
        record.run(f"""UPDATE job_executions SET status = 'failed', completed_at = clock_timestamp()
            WHERE job_id = '{told}'""")
        qstash.answers(400, b'{"error": "invalid destination url"}')
        for _ in range(3):
            tell(record.database.run_pooled, settings(), telemetry, [])
        assert record.row(told)["notified_at"] is not None

    def test_a_failure_that_cannot_be_told_is_given_up_some_time(
        self, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """QStash says 400: it will say so for ever, and nobody is served by hearing of the job every five minutes."""
        job_id = enqueue(Probe(), publish="relay", failure_callback="https://refused.example.com/")
        record.run("UPDATE job_executions SET status = 'failed', completed_at = '2020-01-01'")
        qstash.answers(400, b'{"error": "invalid destination url"}')
        for _ in range(50):
            tell(record.database.run_pooled, settings(), telemetry, [])
        assert record.row(job_id)["notified_at"] is not None

    def test_what_qstash_always_refuses_does_not_stand_before_others(
        self, qstash: QStashStandIn, record: Record
    ) -> None:
        """Where only the pass publishes, and it comes every five minutes, rows that were refused come after the rest."""
        for _ in range(3):
            enqueue(Probe(), publish="relay")
        record.run("""SET LOCAL session_replication_role = replica;
            UPDATE job_executions SET publish_error = 'refused', updated_at = '2020-01-01'""")
        fresh = create_test_job(Probe())
        record.run("SET LOCAL session_replication_role = replica; UPDATE job_executions SET updated_at = '2020-01-01'")
        due = outbox.due(record.database.run_pooled, NOW, timedelta(seconds=2), 3)
        assert fresh in {publication.job_id for publication in due}

    def test_the_depth_counts_what_qstash_holds(
        self, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """A job that waits at QStash behind others still waits, and as long as before the pass asked about it."""
        enqueue(Probe())
        record.run("UPDATE job_executions SET available_at = '2020-01-01', published_at = '2020-01-01'")
        before = upkeep.depth(record.database.run_pooled)
        reconcile(record.database.run_pooled, settings(), telemetry)
        after = upkeep.depth(record.database.run_pooled)
        assert (before.waiting, after.waiting) == (1, 1)
        assert after.oldest >= before.oldest


class TestCallers:
    """What an app service can run into."""

    def test_a_requeue_whose_reply_was_lost_has_happened(
        self, environment: pytest.MonkeyPatch, qstash: QStashStandIn, record: Record, job_id: UUID
    ) -> None:
        """The repetition finds the job pending, and that is what was asked for."""
        record.run(f"""UPDATE job_executions SET status = 'failed', completed_at = clock_timestamp()
            WHERE job_id = '{job_id}'""")
        run = record.database.run_pooled
        lost: list[str] = []

        def losing(statement: str) -> list[Any]:
            rows = run(statement)
            if not lost:
                lost.append(statement)
                raise DatabaseUnreachable("the reply was lost")
            return rows

        environment.setattr(record.database, "run_pooled", losing)
        try:
            requeue(job_id)
        except InvalidMove as error:
            pytest.fail(f"it was requeued, and the caller is told: {error}")
        assert (record.row(job_id)["status"], record.row(job_id)["generation"]) == ("pending", 2)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_fork_does_not_share_the_connection_to_qstash(self, qstash: QStashStandIn, record: Record) -> None:
        """Two processes that talk on one connection get each other's answers."""
        before = relay.qstash()
        pid = os.fork()
        if pid == 0:
            os._exit(0 if relay.qstash() is not before else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
