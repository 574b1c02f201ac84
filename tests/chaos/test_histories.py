"""Generated histories: deliveries, duplicates, crashes, lost replies, late reports, cancels and redrives in any order,
on a real Postgres, and what must hold whatever happened.

HISTORIES=10000 in the environment runs that many instead of the few of an ordinary run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from qstash_jobs.database import Database
from qstash_jobs.dispatch import new_execution
from qstash_jobs.drivers import Row
from qstash_jobs.errors import DatabaseUnreachable
from qstash_jobs.executions import outbox, store, upkeep
from qstash_jobs.executions.outbox import UNDELIVERED_LIMIT
from qstash_jobs.executions.state import ENDED, MOVES, Outcome, Status, Verb
from qstash_jobs.executions.store import Arrival, Finish
from qstash_jobs.executions.upkeep import Carrier
from qstash_jobs.jobs.probe import Probe

NOW = timedelta(0)
LEASE = timedelta(hours=1)

ENDINGS = {
    "complete": Finish(verb=Verb.COMPLETE, outcome=Outcome.COMPLETED, result=1),
    "retry": Finish(verb=Verb.RETRY, outcome=Outcome.RETRIED, error="no", error_type="E"),
    "fail": Finish(verb=Verb.FAIL, outcome=Outcome.FAILED, error="no", error_type="E"),
    "cancel": Finish(verb=Verb.CANCEL, outcome=Outcome.CANCELLED, error="no", error_type="E"),
    "later": Finish(verb=Verb.RETRY, outcome=Outcome.RETRIED, error="no", error_type="E", wait=LEASE, held=True),
    "free": Finish(verb=Verb.RETRY, outcome=Outcome.RETRIED, error="no", error_type="E", free=True),
    "continue": Finish(verb=Verb.RETRY, outcome=Outcome.CONTINUED, checkpoint=1, next_publication=True, free=True),
}


@dataclass(frozen=True)
class Message:
    """What QStash holds, and may deliver at any time, also again."""

    job_id: UUID
    generation: int
    publication: int


@dataclass(frozen=True)
class Attempt:
    """A function that runs, or was given up for dead and runs all the same."""

    job_id: UUID
    number: int
    owner: UUID


@dataclass
class Seen:
    """What was seen of a job so far."""

    status: Status = Status.PENDING
    generation: int = 1
    completions: int = 0
    requeues: int = 0
    history: list[str] = field(default_factory=list)


class Histories(RuleBasedStateMachine):
    """The record, and a world that does to it what worlds do."""

    database: ClassVar[Database]
    counted: ClassVar[Counter[str]] = Counter()

    messages: Bundle[Message] = Bundle("messages")
    running: Bundle[Attempt] = Bundle("running")
    zombies: Bundle[Attempt] = Bundle("zombies")

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[UUID, Seen] = {}
        self.just_requeued: set[UUID] = set()

    @initialize(target=messages, retries=st.lists(st.integers(0, 3), min_size=1, max_size=3))
    def begin(self, retries: list[int]) -> Any:
        """A few jobs that QStash already has."""
        self.database.run("TRUNCATE job_executions CASCADE")
        for number in retries:
            self.enqueue(number)
        return self.publish(confirmed=True)

    @precondition(lambda self: len(self.jobs) < 4)
    @rule(retries=st.integers(0, 3))
    def enqueue_another(self, retries: int) -> None:
        self.enqueue(retries)

    def enqueue(self, retries: int) -> None:
        new = new_execution(Probe(), {"retries": retries})
        outbox.insert(self.database.run, [new])
        self.jobs[new.job_id] = Seen()

    @rule(target=messages, confirmed=st.booleans())
    def relay(self, confirmed: bool) -> Any:
        return self.publish(confirmed)

    def publish(self, confirmed: bool) -> Any:
        """The relay sends what is due, and is sometimes killed before it can say so."""
        due = outbox.due(self.database.run, timedelta(days=7), NOW, 10)
        if confirmed:
            outbox.confirm(self.database.run, [(publication, f"msg_{uuid4().hex}") for publication in due])
        return multiple(*(Message(one.job_id, one.generation, one.publication) for one in due))

    @rule(target=running, message=messages, reply_lost=st.booleans())
    def deliver(self, message: Message, reply_lost: bool) -> Any:
        """QStash delivers a message, perhaps for the second time, perhaps one of an older generation."""
        arrival = Arrival(
            job_id=message.job_id,
            job_types=("probe",),
            generation=message.generation,
            publication=message.publication,
            lease_owner=uuid4(),
            lease=LEASE,
            message_id="msg",
            request_id=None,
            cold_start=False,
            new=None,
        )
        before = self.row(message.job_id)
        started = self.perhaps_twice(lambda run: store.start(run, arrival), reply_lost)
        self.counted["started" if started else "turned away"] += 1
        if started is None:
            return multiple()
        assert (message.generation, message.publication) >= (before["generation"], before["publication"])
        assert started.attempt == before["attempts"] + 1
        if before["status"] != Status.PROCESSING and before["held_until"] is not None:
            early = datetime.fromisoformat(before["held_until"]) - datetime.now(UTC)
            assert early <= store.EARLY, "it was to wait"
        return Attempt(message.job_id, started.attempt, arrival.lease_owner)

    @rule(attempt=consumes(running), ending=st.sampled_from(sorted(ENDINGS)), reply_lost=st.booleans())
    def report(self, attempt: Attempt, ending: str, reply_lost: bool) -> None:
        self.finish(attempt, ending, reply_lost)

    @rule(target=zombies, attempt=consumes(running))
    def crash(self, attempt: Attempt) -> Attempt:
        """The function is killed, or its caller hangs up: nothing is reported for now."""
        self.counted["crashed"] += 1
        return attempt

    @rule(attempt=zombies, ending=st.sampled_from(sorted(ENDINGS)), reply_lost=st.booleans())
    def report_late(self, attempt: Attempt, ending: str, reply_lost: bool) -> None:
        """It was not dead after all; it may even say so twice."""
        self.counted["late reports"] += 1
        self.finish(attempt, ending, reply_lost)

    @rule(attempt=zombies)
    def lease_ends(self, attempt: Attempt) -> None:
        self.database.run(
            f"UPDATE job_executions SET lease_until = clock_timestamp() - interval '1 second' "
            f"WHERE job_id = '{attempt.job_id}' AND status = 'processing'"
        )

    @rule()
    def time_passes(self) -> None:
        """What waits is due."""
        self.database.run(
            "UPDATE job_executions SET available_at = clock_timestamp(), held_until = NULL "
            "WHERE status IN ('pending', 'retrying')"
        )

    @rule(for_good=st.sampled_from([False, False, False, True]))
    def refuse(self, for_good: bool) -> None:
        """QStash takes none of what is due: for now, or ever."""
        due = outbox.due(self.database.run, timedelta(days=7), NOW, 10)
        before = {one.job_id: self.row(one.job_id) for one in due}
        outbox.refuse(self.database.run, [(one, "no", for_good) for one in due], NOW, NOW)
        for job_id, was in before.items():
            row = self.row(job_id)
            assert row["undelivered"] == was["undelivered"] + for_good <= UNDELIVERED_LIMIT
            assert (row["status"] == "failed") == (for_good and row["undelivered"] == UNDELIVERED_LIMIT)
            self.counted["refused"] += 1

    @rule()
    def reap(self) -> None:
        upkeep.reap(self.database.run, NOW, 100)

    @rule(message=messages)
    def give_up(self, message: Message) -> None:
        """A delivery finds that the last attempt never reported."""
        store.give_up(self.database.run, message.job_id)

    @rule(message=messages)
    def lose(self, message: Message) -> None:
        """QStash says that it gave a message up: the present one, or one of long ago."""
        before = self.row(message.job_id)
        carrier = Carrier(job_id=message.job_id, generation=message.generation, publication=message.publication)
        status = upkeep.lose(self.database.run, carrier, NOW, NOW, "dlq-1")
        after = self.row(message.job_id)
        present = (message.generation, message.publication) == (before["generation"], before["publication"])
        assert (status is not None) == (present and Status(before["status"]) not in ENDED)
        if status is None:
            assert before == after
        assert after["undelivered"] <= UNDELIVERED_LIMIT

    @rule(message=messages)
    def cancel(self, message: Message) -> None:
        store.cancel(self.database.run, message.job_id, "a test")

    @rule(message=messages)
    def requeue(self, message: Message) -> None:
        found = store.requeue(self.database.run, [message.job_id], "a test")
        if found[message.job_id] in MOVES[Verb.REQUEUE].sources:
            self.just_requeued.add(message.job_id)
            self.counted["requeued"] += 1

    def finish(self, attempt: Attempt, ending: str, reply_lost: bool) -> None:
        how = replace(ENDINGS[ending], checkpoint=attempt.number)
        before = self.row(attempt.job_id)
        finished = self.perhaps_twice(
            lambda run: store.finish(run, attempt.job_id, attempt.number, attempt.owner, how), reply_lost
        )
        after = self.row(attempt.job_id)
        if attempt.number != before["attempts"]:
            assert before == after, "a superseded attempt changed the row"
            assert not finished.moved
        if finished.moved and ending == "complete":
            self.counted["completed"] += 1

    def perhaps_twice(self, step: Callable[[Any], Any], reply_lost: bool) -> Any:
        """The step; if its reply gets lost, once more, as the code does it."""
        if not reply_lost:
            return step(self.database.run)
        self.counted["lost replies"] += 1

        def losing(sql: str) -> list[Row]:
            self.database.run(sql)
            raise DatabaseUnreachable("the reply was lost")

        with pytest.raises(DatabaseUnreachable):
            step(losing)
        return step(self.database.run)

    def row(self, job_id: UUID) -> dict[str, Any]:
        found: dict[str, Any] = self.database.run(
            f"SELECT to_jsonb(e) - 'updated_at' FROM job_executions e WHERE job_id = '{job_id}'"
        )[0][0]
        return found

    @invariant()
    def the_record_holds(self) -> None:
        rows = self.database.run("""
            SELECT job_id, status, generation, attempts, max_attempts,
                (SELECT count(*) FROM job_attempts a WHERE a.job_id = e.job_id),
                published_at IS NULL
            FROM job_executions e""")
        for job_id, status_text, generation, attempts, max_attempts, history, _unpublished in rows:
            seen, status = self.jobs[job_id], Status(status_text)
            assert attempts == history, "an attempt was counted that is not in the history, or the reverse"
            assert attempts <= max_attempts
            requeued = job_id in self.just_requeued
            assert generation == seen.generation + requeued, "a generation without a requeue"
            if seen.status in ENDED and status != seen.status:
                assert requeued, f"{seen.status} became {status} without a requeue"
            assert not (seen.status is Status.COMPLETED and requeued), "a completed job was requeued"
            if status is Status.COMPLETED and seen.status is not Status.COMPLETED:
                seen.completions += 1
            assert seen.completions <= 1, "completed twice"
            seen.status, seen.generation = status, generation
        self.just_requeued.clear()

    def teardown(self) -> None:
        """Nothing is stuck: leases end, the relay publishes, QStash delivers, functions complete, and all have ended."""
        if not self.jobs:
            return
        self.counted["histories"] += 1
        run = self.database.run
        for _ in range(60):
            run("UPDATE job_executions SET lease_until = clock_timestamp() WHERE status = 'processing'")
            upkeep.reap(run, NOW, 100)
            self.time_passes()
            for carrier in upkeep.overdue(run, NOW, 100):
                upkeep.lose(run, carrier, NOW, NOW, None)
            for one in outbox.due(run, timedelta(days=7), NOW, 100):
                self.deliver_and_complete(one)
            if not run("SELECT 1 FROM job_executions WHERE status IN ('pending', 'processing', 'retrying')"):
                break
        stuck = run("SELECT to_jsonb(e) FROM job_executions e WHERE status IN ('pending', 'processing', 'retrying')")
        assert stuck == []
        self.the_record_holds()

    def deliver_and_complete(self, one: outbox.Publication) -> None:
        cancelled = self.row(one.job_id)["cancel_requested_at"]
        if cancelled:
            store.cancel(self.database.run, one.job_id, "a test")
            return
        owner = uuid4()
        started = store.start(
            self.database.run,
            Arrival(
                job_id=one.job_id,
                job_types=("probe",),
                generation=one.generation,
                publication=one.publication,
                lease_owner=owner,
                lease=LEASE,
                message_id="msg",
                request_id=None,
                cold_start=False,
                new=None,
            ),
        )
        if started is None:
            store.give_up(self.database.run, one.job_id)
        else:
            store.finish(self.database.run, one.job_id, started.attempt, owner, ENDINGS["complete"])


@pytest.mark.timeout(3600)
def test_whatever_happens_the_record_tells_the_truth(database: Database) -> None:
    """Terminal statuses change by requeue alone, a job completes once, the budget holds, and nothing is stuck."""
    Histories.database = database
    Histories.counted = Counter()
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=int(os.environ.get("HISTORIES", "150")),
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
    print("\n" + ", ".join(f"{count} {what}" for what, count in Histories.counted.most_common()))
