"""The database's own guard: whatever SQL comes, a finished job is not taken back and no count goes down."""

from __future__ import annotations

from itertools import product
from uuid import UUID

import pytest

from qstash_jobs.dispatch import uuid7
from qstash_jobs.errors import StatementRefused
from qstash_jobs.executions.state import ENDED, MOVES, Status, Verb
from tests.integration.serving.conftest import Record

CHECK_VIOLATION = "23514"


def standing(status: Status) -> str:
    """What the other columns of a row in this status must say."""
    lease = (
        "lease_owner = gen_random_uuid(), lease_until = now()" if status is Status.PROCESSING else "lease_until = NULL"
    )
    return f"status = '{status}', {lease}, completed_at = {'now()' if status in ENDED else 'NULL'}"


def row_in(status: Status, record: Record) -> UUID:
    """A row that has come to stand so, on its second generation with two of five attempts made."""
    job_id = uuid7()
    record.run(f"""
        INSERT INTO job_executions (job_id, job_type, payload, attempts, budget, max_attempts, generation)
        VALUES ('{job_id}', 'probe', '{{}}', 2, 3, 5, 2);
        ALTER TABLE job_executions DISABLE TRIGGER job_executions_guard;
        UPDATE job_executions SET {standing(status)} WHERE job_id = '{job_id}';
        ALTER TABLE job_executions ENABLE TRIGGER job_executions_guard""")
    return job_id


def accepted(record: Record, job_id: UUID, change: str) -> bool:
    try:
        record.run(f"UPDATE job_executions SET {change} WHERE job_id = '{job_id}'")
    except StatementRefused as error:
        if error.sqlstate != CHECK_VIOLATION:
            raise
        return False
    return True


def test_the_guard_agrees_with_the_moves(record: Record) -> None:
    """Each of the 36 pairs of statuses: the database accepts exactly what `MOVES` names."""
    named = {(source, move.target) for move in MOVES.values() for source in move.sources}
    for source, target in product(Status, Status):
        job_id = row_in(source, record)
        anew = ", generation = generation + 1" if source in ENDED and target is Status.PENDING else ""
        expected = source is target or (source, target) in named
        assert accepted(record, job_id, standing(target) + anew) == expected, f"{source} -> {target}"
        assert record.status(job_id) == (target if expected else source)


@pytest.mark.parametrize("status", [*MOVES[Verb.REQUEUE].sources])
@pytest.mark.parametrize("generation", ["generation", "generation + 2", "generation - 1"])
def test_a_requeue_is_the_next_generation(record: Record, status: Status, generation: str) -> None:
    """Neither the same one, in which an old message would run, nor one that was left out."""
    job_id = row_in(status, record)
    assert not accepted(record, job_id, f"{standing(Status.PENDING)}, generation = {generation}")


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize(
    "change",
    [
        "attempts = attempts - 1",
        "generation = generation - 1",
        "max_attempts = max_attempts - 1",
        "attempts = max_attempts + 1",
        "publication = 0",
        "undelivered = -1",
        "budget = 0",
        "job_id = gen_random_uuid()",
        "status = 'unheard-of'",
    ],
)
def test_what_only_grows(record: Record, status: Status, change: str) -> None:
    """In every status."""
    job_id = row_in(status, record)
    before = record.row(job_id)
    assert not accepted(record, job_id, change)
    assert record.row(job_id) == before


@pytest.mark.parametrize("status", sorted(ENDED))
def test_a_job_that_has_ended_says_when(record: Record, status: Status) -> None:
    """And one that lives does not."""
    assert not accepted(record, row_in(status, record), "completed_at = NULL")
    assert not accepted(record, row_in(Status.PENDING, record), "completed_at = now()")


def test_a_lease_is_of_a_job_that_runs(record: Record) -> None:
    """Nobody else has one, and it has an owner."""
    assert not accepted(record, row_in(Status.PENDING, record), "lease_until = now()")
    assert not accepted(record, row_in(Status.PROCESSING, record), "lease_until = NULL")
    assert not accepted(record, row_in(Status.PROCESSING, record), "lease_owner = NULL")


def test_an_upsert_is_guarded_too(record: Record) -> None:
    """`ON CONFLICT DO UPDATE` takes no finished job back."""
    job_id = row_in(Status.COMPLETED, record)
    with pytest.raises(StatementRefused, match="cannot go from completed to pending"):
        record.run(f"""
            INSERT INTO job_executions (job_id, job_type, payload, budget, max_attempts)
            VALUES ('{job_id}', 'probe', '{{}}', 3, 3)
            ON CONFLICT (job_id) DO UPDATE SET status = 'pending', completed_at = NULL""")


def test_every_change_is_dated(record: Record) -> None:
    """By the database, whatever the statement says."""
    job_id = row_in(Status.PENDING, record)
    record.run(f"UPDATE job_executions SET updated_at = '2000-01-01Z' WHERE job_id = '{job_id}'")
    assert record.row(job_id)["updated_at"] > record.row(job_id)["created_at"]


def test_attempts_and_actions_go_with_their_job(record: Record) -> None:
    """A job that is cleaned away leaves nothing behind."""
    job_id = row_in(Status.COMPLETED, record)
    record.run(f"""
        INSERT INTO job_attempts (job_id, attempt, generation, publication, lease_owner, cold_start)
        VALUES ('{job_id}', 1, 1, 1, gen_random_uuid(), false);
        INSERT INTO job_actions (job_id, generation, action, actor) VALUES ('{job_id}', 1, 'cancel', 'ada');
        DELETE FROM job_executions""")
    assert record.run("SELECT (SELECT count(*) FROM job_attempts) + (SELECT count(*) FROM job_actions)")[0][0] == 0


def test_an_attempt_ends_in_a_way_that_is_known(record: Record) -> None:
    """And then it says when."""
    job_id = row_in(Status.PENDING, record)
    for outcome, finished in (("'unheard-of'", "now()"), ("'completed'", "NULL"), ("NULL", "now()")):
        with pytest.raises(StatementRefused):
            record.run(f"""
                INSERT INTO job_attempts (job_id, attempt, generation, publication, lease_owner, cold_start, outcome,
                    finished_at) VALUES ('{job_id}', 1, 1, 1, gen_random_uuid(), false, {outcome}, {finished})""")
