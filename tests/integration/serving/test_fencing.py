"""Attempts are fenced: whatever is delivered twice, reported late or repeated after a lost reply changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random
from uuid import UUID, uuid4

import pytest

from qstash_jobs.database import Database, Runner
from qstash_jobs.dispatch import requeue
from qstash_jobs.drivers import Row
from qstash_jobs.errors import DatabaseUnreachable, NonRetryable
from qstash_jobs.executions import store, upkeep
from qstash_jobs.executions.state import Outcome as Ending
from qstash_jobs.executions.state import Status, Verb
from qstash_jobs.executions.store import Arrival, Finish
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.run import Outcome, Run
from qstash_jobs.testing import create_test_job, deliver_twice, signed_event
from tests.integration.serving.conftest import Function, Record
from tests.waiting import until

COMPLETE = Finish(verb=Verb.COMPLETE, outcome=Ending.COMPLETED, result={"by": "first"})
FAIL = Finish(verb=Verb.FAIL, outcome=Ending.FAILED, error="no", error_type="RuntimeError")
RETRY = Finish(verb=Verb.RETRY, outcome=Ending.RETRIED, error="no", error_type="RuntimeError")


def arrival(job_id: UUID, lease: timedelta = timedelta(seconds=30), **changes: object) -> Arrival:
    """A delivery of a job by reference."""
    fields: dict[str, object] = {
        "job_id": job_id,
        "job_types": ("probe",),
        "generation": 1,
        "publication": 1,
        "lease_owner": uuid4(),
        "lease": lease,
        "message_id": "msg_1",
        "request_id": "request-1",
        "cold_start": False,
        "new": None,
    }
    return Arrival(**{**fields, **changes})  # type: ignore[arg-type]


class LosesReplies:
    """A connection whose replies get lost, each time it is told to: the statement was carried out all the same."""

    def __init__(self, run: Runner) -> None:
        self._run = run
        self.lose_next = 0

    def __call__(self, sql: str) -> list[Row]:
        rows = self._run(sql)
        if self.lose_next:
            self.lose_next -= 1
            raise DatabaseUnreachable("the reply was lost")
        return rows


def repeated(run: LosesReplies, step: Callable[[], object]) -> object:
    """The step, its reply lost, and the step again."""
    run.lose_next = 1
    with pytest.raises(DatabaseUnreachable):
        step()
    return step()


def test_of_simultaneous_deliveries_one_runs(database: Database, database_url: str, record: Record) -> None:
    """Eight threads start the same jobs at once: each job has one winner, the others are told that it is busy."""
    job_ids = [create_test_job(Probe()) for _ in range(20)]
    databases = [Database(database_url, timedelta(seconds=10)) for _ in range(8)]
    together = threading.Barrier(8)

    def start_all(mine: Database) -> list[UUID]:
        together.wait()
        return [job_id for job_id in job_ids if store.start(mine.run, arrival(job_id)) is not None]

    with ThreadPoolExecutor(8) as threads:
        winners = [job_id for won in threads.map(start_all, databases) for job_id in won]
    for one in databases:
        one.close()
    assert sorted(job_ids) == sorted(winners)
    assert [tuple(row) for row in record.run("SELECT count(*), sum(attempts) FROM job_executions")] == [(20, 20)]


def test_each_attempt_has_one_winner_when_leases_are_short_and_half_of_them_die(
    database: Database, database_url: str, record: Record
) -> None:
    """Eight threads, leases of 2 ms, half of the attempts never report: no attempt is won twice, one completes."""
    job_id = create_test_job(Probe(), retries=200)
    won: list[tuple[int, UUID]] = []
    completed: list[int] = []
    done = threading.Event()

    def work(seed: int) -> None:
        random = Random(seed)
        mine = Database(database_url, timedelta(seconds=10))
        while not done.is_set():
            delivery = arrival(job_id, timedelta(milliseconds=2))
            started = store.start(mine.run, delivery)
            if started is None:
                continue
            won.append((started.attempt, delivery.lease_owner))
            reports = started.attempt >= 100 and random.random() < 0.5
            if reports and store.finish(mine.run, job_id, started.attempt, delivery.lease_owner, COMPLETE).moved:
                completed.append(started.attempt)
                done.set()
        mine.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    attempts = [attempt for attempt, _ in won]
    assert len(attempts) == len(set(attempts))
    row = record.row(job_id)
    assert ("completed", max(attempts)) == (row["status"], row["attempts"])
    assert completed == [max(attempts)]


def test_a_repeated_start_is_the_same_attempt(database: Database, record: Record, job_id: UUID) -> None:
    """A start whose reply was lost is repeated by its own delivery and not counted twice."""
    run = LosesReplies(database.run)
    delivery = arrival(job_id)
    started = repeated(run, lambda: store.start(run, delivery))
    assert isinstance(started, store.Started)
    assert (started.attempt, len(record.attempts(job_id))) == (1, 1)
    assert store.start(database.run, arrival(job_id)) is None


def test_a_repeated_start_of_the_last_attempt_is_the_same_attempt(database: Database, record: Record) -> None:
    """Also when the first one used the budget up."""
    job_id = create_test_job(Probe(), retries=0)
    run = LosesReplies(database.run)
    delivery = arrival(job_id)
    assert repeated(run, lambda: store.start(run, delivery)) is not None
    assert record.row(job_id)["attempts"] == 1


@pytest.mark.parametrize(
    ("how", "status"),
    [(COMPLETE, "completed"), (FAIL, "failed"), (RETRY, "retrying")],
    ids=lambda value: str(value)[:9],
)
def test_a_repeated_finish_finds_itself_done(
    database: Database, record: Record, job_id: UUID, how: Finish, status: str
) -> None:
    """A finish whose reply was lost is repeated, is told that it moved the row, and changes nothing more."""
    run = LosesReplies(database.run)
    delivery = arrival(job_id)
    store.start(database.run, delivery)
    finished = repeated(run, lambda: store.finish(run, job_id, 1, delivery.lease_owner, how))
    assert store.Finished(moved=True, status=Status(status)) == finished
    assert len(record.attempts(job_id)) == 1


def test_a_repeated_finish_enqueues_its_follow_ups_once(function: Function, record: Record, database: Database) -> None:
    """They belong to the move, which happens once."""
    from qstash_jobs.dispatch import new_execution
    from qstash_jobs.executions.literals import text

    job_id = create_test_job(Probe())
    run = LosesReplies(database.run)
    delivery = arrival(job_id)
    store.start(database.run, delivery)
    how = Finish(verb=Verb.COMPLETE, outcome=Ending.COMPLETED, then=(new_execution(Probe(), {}),))
    repeated(run, lambda: store.finish(run, job_id, 1, delivery.lease_owner, how))
    assert [tuple(row) for row in record.run(f"SELECT count(*) FROM job_executions WHERE {text('a')} = 'a'")] == [(2,)]


def test_a_finish_that_waits_for_its_own_original_finds_itself_done(
    database: Database, database_url: str, record: Record, job_id: UUID
) -> None:
    """The reply was given up while the report was still committing: the repetition waits for it, and is a success."""
    mine = arrival(job_id)
    assert store.start(database.run, mine) is not None
    original = Database(database_url, timedelta(seconds=10))
    holding, go_on = threading.Event(), threading.Event()

    def hold(sql: str) -> list[Row]:
        with original.transaction() as connection:
            rows = [tuple(row) for row in connection.exec_driver_sql(sql, execution_options={"no_parameters": True})]
            holding.set()
            go_on.wait(20)
        return rows

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(store.finish, hold, job_id, 1, mine.lease_owner, RETRY)
        assert holding.wait(20)
        again = threads.submit(store.finish, database.run, job_id, 1, mine.lease_owner, RETRY)
        until(lambda: record.run("SELECT 1 FROM pg_locks WHERE NOT granted"))
        go_on.set()
        assert (first.result().moved, again.result().moved) == (True, True)
    original.close()
    assert (record.status(job_id), record.outcomes(job_id)) == ("retrying", ["retried"])


@pytest.mark.parametrize("how", [COMPLETE, FAIL, RETRY], ids=lambda how: how.verb)
def test_a_superseded_attempt_that_reports_late_changes_only_its_own_row(
    database: Database, record: Record, job_id: UUID, how: Finish
) -> None:
    """The attempt that took over decides; what the late one had to say is kept beside it."""
    late, current = arrival(job_id), arrival(job_id)
    store.start(database.run, late)
    record.end_lease(job_id)
    store.start(database.run, current)
    before = record.row(job_id)
    finished = store.finish(database.run, job_id, 1, late.lease_owner, how)
    assert store.Finished(moved=False, status=Status.PROCESSING) == finished
    assert before == record.row(job_id)
    assert [how.outcome, None] == record.outcomes(job_id)
    assert store.finish(database.run, job_id, 2, current.lease_owner, COMPLETE).moved


def test_a_late_failure_cannot_undo_a_completion(database: Database, record: Record, job_id: UUID) -> None:
    """No job goes from completed to failed."""
    late, current = arrival(job_id), arrival(job_id)
    store.start(database.run, late)
    record.end_lease(job_id)
    store.start(database.run, current)
    store.finish(database.run, job_id, 2, current.lease_owner, COMPLETE)
    before = record.row(job_id)
    assert not store.finish(database.run, job_id, 1, late.lease_owner, FAIL).moved
    assert before == record.row(job_id)


def test_an_attempt_whose_lease_has_ended_may_still_complete(database: Database, record: Record, job_id: UUID) -> None:
    """As long as no later attempt has started, also after its lease was freed."""

    delivery = arrival(job_id)
    store.start(database.run, delivery)
    record.end_lease(job_id)
    assert len(upkeep.reap(database.run, timedelta(0), 10)) == 1
    assert record.status(job_id) == "retrying"
    assert store.finish(database.run, job_id, 1, delivery.lease_owner, COMPLETE).moved
    assert record.status(job_id) == "completed"


def test_a_finish_by_a_stranger_changes_nothing(database: Database, record: Record, job_id: UUID) -> None:
    """The attempt's number alone does not do: the owner must be the one that started it."""
    store.start(database.run, arrival(job_id))
    before = (record.row(job_id), record.attempts(job_id))
    assert not store.finish(database.run, job_id, 1, uuid4(), COMPLETE).moved
    assert before == (record.row(job_id), record.attempts(job_id))


def test_a_lease_of_no_time_is_over_at_once(database: Database, job_id: UUID) -> None:
    """0 ms left means expired, never unknown."""
    assert store.start(database.run, arrival(job_id, timedelta(0))) is not None
    assert store.start(database.run, arrival(job_id)) is not None


def test_a_redelivery_after_completion_does_not_run(function: Function, record: Record, job_id: UUID) -> None:
    """QStash may deliver at any time again; the handler runs once."""
    first, second = deliver_twice(function.handler, signed_event(Probe(), job_id=job_id, by_reference=True))
    assert (first["statusCode"], second["statusCode"]) == (200, 200)
    assert len(function.runs) == 1


def test_an_older_generation_is_stale(function: Function, record: Record, job_id: UUID) -> None:
    """After a redrive, the message of before is answered 200 and does not run."""
    function.raises(NonRetryable("no"))
    function.deliver(job_id)
    requeue(job_id)
    before = record.row(job_id)
    function.does = lambda _payload, _run: None
    assert ((answer := function.deliver(job_id, generation=1)).status, answer.outcome) == (200, "stale")
    assert before == record.row(job_id)
    assert function.deliver(job_id, generation=2).status == 200
    assert ((row := record.row(job_id))["generation"], row["attempts"]) == (2, 2)


def test_an_older_publication_is_stale(function: Function, record: Record, job_id: UUID) -> None:
    """A message that was replaced does not run beside its successor."""
    record.run(f"UPDATE job_executions SET publication = 3 WHERE job_id = '{job_id}'")
    assert ((answer := function.deliver(job_id, publication=2)).status, answer.outcome) == (200, "stale")
    assert function.runs == []


@pytest.mark.parametrize(
    "result",
    [{"text": "a\0b"}, {"text": "\ud800"}, float("nan"), {"deep": [[[]]]}, {1, 2}, 10**2000, "x" * 400_000],
    ids=["nul", "surrogate", "nan", "deep", "set", "digits", "large"],
)
def test_a_result_that_cannot_be_stored_leaves_the_job_completed(
    function: Function, record: Record, job_id: UUID, result: object
) -> None:
    """What was done was done: the record says why the result is missing."""
    if result == {"deep": [[[]]]}:
        deep: list[object] = []
        for _ in range(500):
            deep = [deep]
        result = deep
    function.does = lambda _payload, _run: result  # type: ignore[assignment,return-value]
    assert function.deliver(job_id).status == 200
    row = record.row(job_id)
    assert row["status"] == "completed"
    assert row["result"]["omitted"].startswith("result_")


@pytest.mark.parametrize("message", ["a\0b", "\ud800 half", "x" * 100_000, ""], ids=["nul", "half", "long", "empty"])
def test_an_error_that_cannot_be_stored_is_cleaned(
    function: Function, record: Record, job_id: UUID, message: str
) -> None:
    """The failure is recorded, not mistaken for an outage."""
    function.raises(RuntimeError(message))
    assert function.deliver(job_id).status == 500
    assert ((row := record.row(job_id))["status"], row["error_type"]) == ("retrying", "RuntimeError")


def test_the_interrupt_may_strike_inside_a_statement(function: Function, record: Record, job_id: UUID) -> None:
    """The connection that it struck is thrown away, and the finish goes over another."""

    def queries(_payload: Probe, run: Run) -> Outcome:
        from sqlalchemy import text

        with run.connection() as connection:
            connection.execute(text("SELECT pg_sleep(20)"))
        return None

    function.does = queries
    function.remaining = timedelta(seconds=1)
    began = time.monotonic()
    assert function.deliver(job_id).status == 500
    assert time.monotonic() - began < 10
    assert ((row := record.row(job_id))["status"], row["error_type"]) == ("retrying", "JobTimeout")
    function.does = lambda _payload, _run: None
    function.remaining = timedelta(seconds=30)
    assert function.deliver(job_id).status == 200


def test_a_handler_that_fails_in_its_transaction_leaves_nothing_of_it(
    function: Function, record: Record, job_id: UUID
) -> None:
    """`run.connection()` rolls back, and the attempt is recorded all the same."""

    def writes(_payload: Probe, run: Run) -> Outcome:
        from sqlalchemy import text

        with run.connection() as connection:
            connection.execute(text("CREATE TABLE written (id int)"))
            raise RuntimeError("no")

    function.does = writes
    assert function.deliver(job_id).status == 500
    assert [tuple(row) for row in record.run("SELECT to_regclass('written')::text")] == [(None,)]
    assert record.outcomes(job_id) == ["retried"]


def test_a_handler_may_write_and_report_progress_in_one_transaction(
    function: Function, record: Record, job_id: UUID
) -> None:
    """Progress is seen at once, although the handler's own transaction is still open."""
    seen = []

    def writes(_payload: Probe, run: Run) -> Outcome:
        from sqlalchemy import text

        with run.connection() as connection:
            connection.execute(text("CREATE TABLE written (id int)"))
            run.progress(0.5, "half")
            seen.append(record.row(run.job_id)["progress"])
        return None

    function.does = writes
    assert function.deliver(job_id).status == 200
    assert seen == [{"fraction": 0.5, "message": "half"}]
    assert [tuple(row) for row in record.run("SELECT to_regclass('written')::text")] == [("written",)]


def test_a_checkpoint_that_was_saved_is_where_the_next_attempt_begins(
    function: Function, record: Record, job_id: UUID
) -> None:
    """Though this one failed, and returned no `Continue`."""

    def does(_payload: Probe, run: Run) -> Outcome:
        if run.checkpoint is not None:
            return run.checkpoint
        run.save({"page": 1})
        run.save({"page": 2})
        raise RuntimeError("died over page 3")

    function.does = does
    assert [function.deliver(job_id).outcome for _ in range(2)] == ["failed_attempt", "completed"]
    assert record.row(job_id)["result"] == {"page": 2}


def test_a_checkpoint_is_committed_with_the_work_that_it_stands_for(
    function: Function, record: Record, job_id: UUID
) -> None:
    """Both, or neither: an attempt that dies before the commit leaves the work to be done once more, and once only."""
    record.run("CREATE TABLE pages (page int PRIMARY KEY)")

    def does(_payload: Probe, run: Run) -> Outcome:
        first = 1 if run.checkpoint is None else int(str(run.checkpoint)) + 1
        for page in range(first, 4):
            with run.connection() as connection:
                connection.exec_driver_sql(f"INSERT INTO pages VALUES ({page})")
                run.save(page, connection)
                if page == run.attempt + 1:
                    raise RuntimeError("died before the commit")
        return "all"

    function.does = does
    outcomes = [function.deliver(job_id).outcome for _ in range(3)]
    assert (outcomes, [run.checkpoint for run in function.runs]) == (
        ["failed_attempt", "failed_attempt", "completed"],
        [None, 1, 2],
    )
    assert [row[0] for row in record.run("SELECT page FROM pages ORDER BY page")] == [1, 2, 3]


def test_an_attempt_that_was_superseded_saves_nothing_and_its_work_is_undone(
    function: Function, database_url: str, record: Record, job_id: UUID
) -> None:
    """It learns so by `Retry`, which rolls its transaction back; the checkpoint of its successor stays."""
    record.run("CREATE TABLE pages (page int)")
    other = Database(database_url, timedelta(seconds=10))

    def does(_payload: Probe, run: Run) -> Outcome:
        record.end_lease(job_id)
        successor = arrival(job_id)
        started = store.start(other.run, successor)
        assert started is not None
        assert store.save(other.run, job_id, started.attempt, successor.lease_owner, "mine")
        with run.connection() as connection:
            connection.exec_driver_sql("INSERT INTO pages VALUES (1)")
            run.save("not mine any more", connection)
        return "all"

    function.does = does
    assert function.deliver(job_id).status == 409
    assert record.row(job_id)["checkpoint"] == "mine"
    assert record.run("SELECT page FROM pages") == []
    other.close()


def test_progress_within_a_transaction_that_saved_does_not_wait_for_it(
    function: Function, record: Record, job_id: UUID
) -> None:
    """The transaction holds the row: the report joins it, and a cancellation asked for before is heard."""

    def does(_payload: Probe, run: Run) -> Outcome:
        with run.connection() as connection:
            run.save(1, connection)
            run.progress(0.5, "half")
        return record.row(job_id)["progress"]

    function.does = does
    began = time.monotonic()
    function.deliver(job_id)
    assert record.row(job_id)["result"] == {"fraction": 0.5, "message": "half"}
    assert time.monotonic() - began < 4, "it did not wait for a statement to be given up"


def test_a_checkpoint_that_cannot_be_stored_fails_the_job(function: Function, record: Record, job_id: UUID) -> None:
    """At once, with the reason: another attempt would come to the same."""

    def does(_payload: Probe, run: Run) -> Outcome:
        run.save("a\0b")
        return None

    function.does = does
    assert function.deliver(job_id).status == 489
    assert record.row(job_id)["error"] == "the checkpoint cannot be stored: text with a NUL character"
