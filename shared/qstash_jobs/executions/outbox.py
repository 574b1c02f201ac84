"""The row as outbox: jobs enter it in the caller's transaction, and publications leave it for QStash.

A row whose `published_at` is empty waits for a message; whoever publishes it says so afterwards. Generation and
publication name the message, so that a confirmation, or the news of its death, can only ever mean the right one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import JsonValue

from qstash_jobs.database import Runner
from qstash_jobs.drivers import Row
from qstash_jobs.executions.literals import integer, jsonb, milliseconds, text, uuid
from qstash_jobs.executions.state import Status

UNDELIVERED_LIMIT = 10
"""Messages of one generation that may die without having brought the job to its function."""

UNDELIVERABLE = "Undeliverable"
LOST = "Lost"


@dataclass(frozen=True, kw_only=True)
class NewExecution:
    """A row to be."""

    job_id: UUID
    job_type: str
    payload: JsonValue
    budget: int
    """Attempts that may run, in each generation."""
    delay: timedelta = timedelta(0)
    idempotency_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    callback: str | None = None
    failure_callback: str | None = None
    schedule_id: str | None = None
    user_id: int | None = None
    organization_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What a message is made from."""

    job_id: UUID
    job_type: str
    generation: int
    publication: int
    attempts_left: int
    delay: timedelta
    created_at: datetime
    idempotency_key: str | None
    headers: dict[str, str]
    callback: str | None
    user_id: int | None
    organization_id: int | None


_COLUMNS = (
    "job_id, job_type, payload, budget, max_attempts, available_at, idempotency_key, headers, callback,"
    " failure_callback, schedule_id, user_id, organization_id"
)
_WAITING = "status IN ('pending', 'retrying')"
_NOW = "statement_timestamp()"
"""For what is looked up by time: Postgres uses no index with `clock_timestamp()`, which changes while it looks."""


def _values(new: NewExecution) -> str:
    return f"""({uuid(new.job_id)}, {text(new.job_type)}, {jsonb(new.payload)}, {integer(new.budget)},
        {integer(new.budget)}, clock_timestamp() + {milliseconds(new.delay)}, {text(new.idempotency_key)},
        {jsonb(dict(new.headers)) if new.headers else "NULL::jsonb"}, {text(new.callback)},
        {text(new.failure_callback)}, {text(new.schedule_id)}, {integer(new.user_id)}::bigint,
        {integer(new.organization_id)}::bigint)"""


def insert_sql(news: Sequence[NewExecution], condition: str = "true") -> str:
    """The statement that inserts rows and returns the ids of those that were not there: a job id or an idempotency
    key that is known already changes nothing and locks nothing."""
    return f"""
        INSERT INTO job_executions ({_COLUMNS})
        SELECT * FROM (VALUES {", ".join(_values(new) for new in news)}) AS new ({_COLUMNS}) WHERE {condition}
        ON CONFLICT DO NOTHING RETURNING job_id::text"""


def insert(run: Runner, news: Sequence[NewExecution]) -> set[UUID]:
    """Insert rows; the ids of those that are new."""
    return {UUID(row[0]) for row in run(insert_sql(news))} if news else set()


def by_idempotency_key(run: Runner, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], UUID]:
    """The jobs that have these (job type, idempotency key), each the first of its kind."""
    wanted = ", ".join(f"({text(job_type)}, {text(key)})" for job_type, key in keys)
    if not wanted:
        return {}
    rows = run(f"""
        SELECT job_type, idempotency_key, job_id::text FROM job_executions
        WHERE (job_type, idempotency_key) IN ({wanted})""")
    return {(row[0], row[1]): UUID(row[2]) for row in rows}


_PUBLICATION = """job_id, job_type, generation, publication, max_attempts - attempts,
    (extract(epoch FROM available_at - clock_timestamp()) * 1000)::bigint, created_at, idempotency_key, headers,
    callback, user_id, organization_id"""


def _publications(rows: Sequence[Row]) -> list[Publication]:
    return [_publication(*row) for row in rows]


def _publication(
    job_id: UUID,
    job_type: str,
    generation: int,
    publication: int,
    attempts_left: int,
    delay_ms: int,
    created_at: datetime,
    idempotency_key: str | None,
    headers: dict[str, str] | None,
    callback: str | None,
    user_id: int | None,
    organization_id: int | None,
) -> Publication:
    return Publication(
        job_id=job_id,
        job_type=job_type,
        generation=generation,
        publication=publication,
        attempts_left=attempts_left,
        delay=timedelta(milliseconds=max(0, delay_ms)),
        created_at=created_at,
        idempotency_key=idempotency_key,
        headers=headers or {},
        callback=callback,
        user_id=user_id,
        organization_id=organization_id,
    )


def unpublished(run: Runner, job_ids: Sequence[UUID], within: timedelta) -> list[Publication]:
    """Which of these jobs wait for a message that QStash would take now: due `within` its longest delay."""
    if not job_ids:
        return []
    ids = ", ".join(uuid(job_id) for job_id in job_ids)
    return _publications(
        run(f"""
        SELECT {_PUBLICATION} FROM job_executions
        WHERE job_id IN ({ids}) AND published_at IS NULL AND {_WAITING}
            AND available_at <= clock_timestamp() + {milliseconds(within)}""")
    )


def due(run: Runner, within: timedelta, quiet: timedelta, limit: int) -> list[Publication]:
    """Jobs that wait for a message, the oldest first.

    Leaves out what was touched in the last `quiet` (somebody is publishing it just now), and what QStash refused in
    the last sixteen times that; what it has refused comes last, so that jobs which it always refuses do not stand
    before the others.
    """
    return _publications(
        run(f"""
        SELECT {_PUBLICATION} FROM job_executions
        WHERE published_at IS NULL AND {_WAITING} AND available_at <= {_NOW} + {milliseconds(within)}
            AND updated_at <= {_NOW}
                - {milliseconds(quiet)} * CASE WHEN publish_error IS NULL THEN 1 ELSE 16 END
        ORDER BY publish_error IS NOT NULL, available_at LIMIT {integer(limit)}""")
    )


def confirm(run: Runner, published: Sequence[tuple[Publication, str]]) -> None:
    """Note which message (by id) carries each publication; a row that has moved on to another is left alone."""
    if not published:
        return
    values = ", ".join(
        f"({uuid(p.job_id)}, {integer(p.generation)}, {integer(p.publication)}, {text(message_id)})"
        for p, message_id in published
    )
    run(f"""
        UPDATE job_executions AS e
        SET published_at = clock_timestamp(), message_id = sent.message_id, publish_error = NULL, ask_after = NULL
        FROM (VALUES {values}) AS sent (job_id, generation, publication, message_id)
        WHERE e.job_id = sent.job_id AND e.generation = sent.generation AND e.publication = sent.publication
            AND e.published_at IS NULL""")


def refuse(run: Runner, refused: Sequence[tuple[Publication, str]]) -> None:
    """Note why QStash did not take each publication."""
    if not refused:
        return
    values = ", ".join(f"({uuid(p.job_id)}, {text(error)})" for p, error in refused)
    run(f"""
        UPDATE job_executions AS e SET publish_error = refused.error
        FROM (VALUES {values}) AS refused (job_id, error)
        WHERE e.job_id = refused.job_id AND e.published_at IS NULL""")


@dataclass(frozen=True, kw_only=True)
class Carrier:
    """A message that carries, or carried, a job."""

    job_id: UUID
    generation: int
    publication: int
    message_id: str | None = None


def lose(run: Runner, carrier: Carrier, delay: timedelta, longest: timedelta, dlq_id: str | None) -> Status | None:
    """A carrier is known dead: the job gets the next publication, after its lease and a delay that doubles with each
    message that brought no attempt; past `UNDELIVERED_LIMIT` of those the job fails as undeliverable.

    None, and nothing changed, when the job has ended or another publication carries it by now.
    """
    brought = """EXISTS (SELECT FROM job_attempts AS a WHERE a.job_id = e.job_id
        AND a.generation = e.generation AND a.publication = e.publication)"""
    over = f"NOT {brought} AND e.undelivered + 1 >= {UNDELIVERED_LIMIT} AND e.status <> 'processing'"
    message = f"{text(carrier.message_id)}::text"
    wait = f"least({milliseconds(delay)} * power(2, e.undelivered), {milliseconds(longest)})"
    rows = run(f"""
        UPDATE job_executions AS e SET
            status = CASE WHEN {over} THEN 'failed' ELSE status END,
            completed_at = CASE WHEN {over} THEN clock_timestamp() END,
            error = CASE WHEN {over} THEN 'no message reached the function' ELSE error END,
            error_type = CASE WHEN {over} THEN '{UNDELIVERABLE}' ELSE error_type END,
            undelivered = e.undelivered + (NOT {brought})::int,
            publication = e.publication + 1, published_at = NULL, message_id = NULL,
            dlq_id = coalesce({text(dlq_id)}, e.dlq_id),
            available_at = greatest(e.lease_until, e.available_at, clock_timestamp() + {wait})
        WHERE e.job_id = {uuid(carrier.job_id)} AND e.generation = {integer(carrier.generation)}
            AND e.publication = {integer(carrier.publication)} AND e.status IN ('pending', 'retrying', 'processing')
            AND (e.message_id IS NULL OR {message} IS NULL OR e.message_id = {message})
        RETURNING status""")
    return Status(rows[0][0]) if rows else None


def note_dead_letter(run: Runner, carrier: Carrier, dlq_id: str) -> None:
    """Keep where QStash put the last message of a job that has ended, for people."""
    run(f"""
        UPDATE job_executions SET dlq_id = {text(dlq_id)}
        WHERE job_id = {uuid(carrier.job_id)} AND generation = {integer(carrier.generation)} AND status = 'failed'
            AND dlq_id IS DISTINCT FROM {text(dlq_id)}""")


def overdue(run: Runner, grace: timedelta, limit: int) -> list[Carrier]:
    """Published jobs whose delivery was expected `grace` ago and more, and which it is time to ask about, those first
    that nobody has asked about for the longest."""
    rows = run(f"""
        SELECT job_id, generation, publication, message_id FROM job_executions
        WHERE published_at IS NOT NULL AND {_WAITING} AND available_at <= {_NOW} - {milliseconds(grace)}
            AND published_at <= {_NOW} - {milliseconds(grace)} AND (ask_after IS NULL OR ask_after <= {_NOW})
        ORDER BY coalesce(ask_after, available_at) LIMIT {integer(limit)}""")
    return [Carrier(job_id=r[0], generation=r[1], publication=r[2], message_id=r[3]) for r in rows]


def expect(run: Runner, carrier: Carrier, wait: timedelta) -> None:
    """QStash still has the message: ask about others first, and about this one not before `wait`."""
    run(f"""
        UPDATE job_executions SET ask_after = clock_timestamp() + {milliseconds(wait)}
        WHERE job_id = {uuid(carrier.job_id)} AND generation = {integer(carrier.generation)}
            AND publication = {integer(carrier.publication)} AND {_WAITING}""")


@dataclass(frozen=True, kw_only=True)
class Reaped:
    """A job whose attempt never reported."""

    job_id: UUID
    job_type: str
    status: Status
    attempts: int


def reap(run: Runner, grace: timedelta, wait: timedelta, limit: int) -> list[Reaped]:
    """Free leases that ended `grace` ago: the job is retried while the budget lasts (by the delivery that is expected
    within `wait`), cancelled when that was asked for, else failed as lost."""
    target = """CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
        WHEN attempts < max_attempts THEN 'retrying' ELSE 'failed' END"""
    rows = run(f"""
        WITH ended AS (
            SELECT job_id, attempts, {target} AS target FROM job_executions
            WHERE status = 'processing' AND lease_until <= {_NOW} - {milliseconds(grace)}
            ORDER BY lease_until LIMIT {integer(limit)} FOR UPDATE SKIP LOCKED
        )
        UPDATE job_executions AS e SET status = ended.target, lease_until = NULL,
            completed_at = CASE WHEN ended.target <> 'retrying' THEN clock_timestamp() END,
            available_at = clock_timestamp() + {milliseconds(wait)},
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
    ready = f"FROM job_executions WHERE {_WAITING} AND available_at <= {_NOW}"
    unsent, sent = f"{ready} AND published_at IS NULL", f"{ready} AND published_at IS NOT NULL"  # an index for each
    waiting, oldest_ms = run(f"""
        SELECT (SELECT count(*) {unsent}) + (SELECT count(*) {sent}),
            coalesce((extract(epoch FROM {_NOW}
                - least((SELECT min(available_at) {unsent}), (SELECT min(available_at) {sent}))) * 1000)::bigint, 0)
        """)[0]
    return Depth(waiting=waiting, oldest=timedelta(milliseconds=oldest_ms))
