"""The statements of upkeep: messages that died, attempts that never reported, failures that nobody heard of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from qstash_jobs.database import Runner
from qstash_jobs.executions.literals import integer, milliseconds, text, uuid
from qstash_jobs.executions.outbox import LOST, NOW, UNDELIVERABLE, UNDELIVERED_LIMIT, WAITING
from qstash_jobs.executions.state import Status


@dataclass(frozen=True, kw_only=True)
class Carrier:
    """A message that carries, or carried, a job."""

    job_id: UUID
    generation: int
    publication: int
    message_id: str | None = None
    certain: bool = False
    """Whether it is this job's only if the row names it; else also if the row names none, because the news of its
    publication got lost."""


def news(run: Runner, dead: Sequence[tuple[Carrier, str | None]]) -> list[bool]:
    """For each dead carrier and its place in the dead letter queue, whether that can change anything: most were heard
    of before, and are looked up together."""
    if not dead:
        return []
    values = ", ".join(
        f"({integer(number)}, {uuid(carrier.job_id)}, {integer(carrier.generation)}, {integer(carrier.publication)},"
        f" {text(dlq_id)}::text)"
        for number, (carrier, dlq_id) in enumerate(dead)
    )
    rows = run(f"""
        SELECT dead.number FROM (VALUES {values}) AS dead (number, job_id, generation, publication, dlq_id)
        LEFT JOIN job_executions AS e ON e.job_id = dead.job_id
        WHERE e.job_id IS NULL OR e.generation = dead.generation AND e.publication = dead.publication AND (
            e.status IN ('pending', 'retrying', 'processing')
            OR e.status = 'failed' AND e.dlq_id IS DISTINCT FROM dead.dlq_id)""")
    numbers = {row[0] for row in rows}
    return [number in numbers for number in range(len(dead))]


def lose(run: Runner, carrier: Carrier, delay: timedelta, longest: timedelta, dlq_id: str | None) -> Status | None:
    """A carrier is known dead: the job gets the next publication, after its lease and a delay that doubles with each
    message that brought no attempt; past `UNDELIVERED_LIMIT` of those the job fails as undeliverable.

    None, and nothing changed, when the job has ended or another publication carries it by now.
    """
    brought = """EXISTS (SELECT FROM job_attempts AS a WHERE a.job_id = e.job_id
        AND a.generation = e.generation AND a.publication = e.publication)"""
    over = f"NOT {brought} AND e.undelivered + 1 >= {UNDELIVERED_LIMIT} AND e.status <> 'processing'"
    message = f"{text(carrier.message_id)}::text"
    named = f"e.message_id = {message}" + ("" if carrier.certain else " OR e.message_id IS NULL")
    wait = f"least({milliseconds(delay)} * power(2, e.undelivered), {milliseconds(longest)})"
    rows = run(f"""
        UPDATE job_executions AS e SET
            status = CASE WHEN {over} THEN 'failed' ELSE status END,
            completed_at = CASE WHEN {over} THEN clock_timestamp() END,
            error = CASE WHEN {over} THEN 'no message reached the function' ELSE error END,
            error_type = CASE WHEN {over} THEN '{UNDELIVERABLE}' ELSE error_type END,
            undelivered = e.undelivered + (NOT {brought})::int,
            publication = e.publication + (NOT ({over}))::int, published_at = NULL, message_id = NULL,
            dlq_id = coalesce({text(dlq_id)}, e.dlq_id),
            available_at = greatest(e.lease_until, e.available_at, clock_timestamp() + {wait})
        WHERE e.job_id = {uuid(carrier.job_id)} AND e.generation = {integer(carrier.generation)}
            AND e.publication = {integer(carrier.publication)} AND e.status IN ('pending', 'retrying', 'processing')
            AND ({message} IS NULL OR {named})
        RETURNING status""")
    return Status(rows[0][0]) if rows else None


def note_dead_letter(run: Runner, carrier: Carrier, dlq_id: str) -> None:
    """Keep where QStash put the last message of a job that has ended, for people; an earlier message's place is no news."""
    run(f"""
        UPDATE job_executions SET dlq_id = {text(dlq_id)}
        WHERE job_id = {uuid(carrier.job_id)} AND generation = {integer(carrier.generation)}
            AND publication = {integer(carrier.publication)} AND status = 'failed'
            AND dlq_id IS DISTINCT FROM {text(dlq_id)}""")


def overdue(run: Runner, grace: timedelta, limit: int) -> list[Carrier]:
    """Published jobs whose delivery was expected `grace` ago and more, and which it is time to ask about, those first
    that nobody has asked about for the longest."""
    rows = run(f"""
        SELECT job_id, generation, publication, message_id FROM job_executions
        WHERE published_at IS NOT NULL AND {WAITING} AND available_at <= {NOW} - {milliseconds(grace)}
            AND published_at <= {NOW} - {milliseconds(grace)} AND (ask_after IS NULL OR ask_after <= {NOW})
        ORDER BY coalesce(ask_after, available_at) LIMIT {integer(limit)}""")
    return [Carrier(job_id=r[0], generation=r[1], publication=r[2], message_id=r[3]) for r in rows]


def expect(run: Runner, carrier: Carrier, wait: timedelta) -> None:
    """QStash still has the message: ask about others first, and about this one not before `wait`."""
    run(f"""
        UPDATE job_executions SET ask_after = clock_timestamp() + {milliseconds(wait)}
        WHERE job_id = {uuid(carrier.job_id)} AND generation = {integer(carrier.generation)}
            AND publication = {integer(carrier.publication)} AND {WAITING}""")


@dataclass(frozen=True, kw_only=True)
class Reaped:
    """A job whose attempt never reported."""

    job_id: UUID
    job_type: str
    status: Status
    attempts: int


def reap(run: Runner, grace: timedelta, limit: int) -> list[Reaped]:
    """Free leases that ended `grace` ago: the job is retried while the budget lasts (by the delivery that QStash still
    owes), cancelled when that was asked for, else failed as lost."""
    target = """CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
        WHEN attempts < max_attempts THEN 'retrying' ELSE 'failed' END"""
    rows = run(f"""
        WITH ended AS (
            SELECT job_id, attempts, {target} AS target FROM job_executions
            WHERE status = 'processing' AND lease_until <= {NOW} - {milliseconds(grace)}
            ORDER BY lease_until LIMIT {integer(limit)} FOR UPDATE SKIP LOCKED
        )
        UPDATE job_executions AS e SET status = ended.target, lease_until = NULL,
            completed_at = CASE WHEN ended.target <> 'retrying' THEN clock_timestamp() END,
            available_at = clock_timestamp(),
            error = 'attempt ' || e.attempts || ' never reported', error_type = '{LOST}'
        FROM ended WHERE e.job_id = ended.job_id AND e.status = 'processing' AND e.attempts = ended.attempts
        RETURNING e.job_id, e.job_type, e.status, e.attempts""")
    return [Reaped(job_id=r[0], job_type=r[1], status=Status(r[2]), attempts=r[3]) for r in rows]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A job that has failed for good, as those who must know are told."""

    job_id: UUID
    job_type: str
    generation: int
    attempts: int
    error: str | None
    error_type: str | None
    completed_at: datetime
    failure_callback: str | None
    dlq_id: str | None


def unnotified(run: Runner, limit: int, job_id: UUID | None = None) -> list[Failure]:
    """Failures that nobody was told of yet, the oldest first."""
    only = "" if job_id is None else f" AND job_id = {uuid(job_id)}"
    rows = run(f"""
        SELECT job_id, job_type, generation, attempts, error, error_type, completed_at, failure_callback, dlq_id
        FROM job_executions WHERE status = 'failed' AND notified_at IS NULL{only}
        ORDER BY completed_at LIMIT {integer(limit)}""")
    return [Failure(**dict(zip(Failure.__dataclass_fields__, row, strict=True))) for row in rows]


def notified(run: Runner, failure: Failure) -> None:
    """Note that all who must know were told."""
    run(f"""
        UPDATE job_executions SET notified_at = clock_timestamp()
        WHERE job_id = {uuid(failure.job_id)} AND generation = {integer(failure.generation)} AND status = 'failed'""")


def enqueued(run: Runner, job_id: UUID) -> dict[str, int]:
    """How many jobs of each type were created between the starts of the job before this one of its type and of this
    one: counted so by each run of a schedule, no job is missed and none counted twice."""
    rows = run(f"""
        SELECT e.job_type, count(*) FROM job_executions AS this, job_executions AS e
        WHERE this.job_id = {uuid(job_id)} AND e.created_at < this.started_at AND e.created_at >= (
            SELECT max(before.started_at) FROM job_executions AS before
            WHERE before.job_type = this.job_type AND before.created_at < this.created_at
        ) GROUP BY e.job_type""")
    return {row[0]: row[1] for row in rows}


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How much waits."""

    waiting: int
    """Jobs that could run now."""
    oldest: timedelta
    """For how long the first of them could have."""


def depth(run: Runner) -> Depth:
    """How much waits, and for how long."""
    ready = f"FROM job_executions WHERE {WAITING} AND available_at <= {NOW}"
    unsent, sent = f"{ready} AND published_at IS NULL", f"{ready} AND published_at IS NOT NULL"  # an index for each
    waiting, oldest_ms = run(f"""
        SELECT (SELECT count(*) {unsent}) + (SELECT count(*) {sent}),
            coalesce((extract(epoch FROM {NOW}
                - least((SELECT min(available_at) {unsent}), (SELECT min(available_at) {sent}))) * 1000)::bigint, 0)
        """)[0]
    return Depth(waiting=waiting, oldest=timedelta(milliseconds=oldest_ms))
