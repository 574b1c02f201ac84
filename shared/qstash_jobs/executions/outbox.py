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
WAITING = "status IN ('pending', 'retrying')"
NOW = "statement_timestamp()"
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


def existing(run: Runner, job_ids: Sequence[UUID]) -> set[UUID]:
    """Which of these jobs there are."""
    ids = ", ".join(uuid(job_id) for job_id in job_ids)
    return {UUID(row[0]) for row in run(f"SELECT job_id::text FROM job_executions WHERE job_id IN ({ids})")}


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
        WHERE job_id IN ({ids}) AND published_at IS NULL AND {WAITING}
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
        WHERE published_at IS NULL AND {WAITING} AND available_at <= {NOW} + {milliseconds(within)}
            AND updated_at <= {NOW}
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


def refuse(run: Runner, refused: Sequence[tuple[Publication, str, bool]], delay: timedelta, longest: timedelta) -> None:
    """Note why each publication was not taken, and whether for good: then it waits longer and longer for a change of
    mind, like a message that did not arrive, and past `UNDELIVERED_LIMIT` such refusals the job fails."""
    if not refused:
        return
    values = ", ".join(
        f"({uuid(p.job_id)}, {integer(p.generation)}, {integer(p.publication)}, {text(error)}, {for_good})"
        for p, error, for_good in refused
    )
    over = f"refused.for_good AND e.undelivered + 1 >= {UNDELIVERED_LIMIT}"
    wait = f"least({milliseconds(delay)} * power(2, e.undelivered), {milliseconds(longest)})"
    run(f"""
        UPDATE job_executions AS e SET publish_error = refused.error,
            undelivered = e.undelivered + refused.for_good::int,
            available_at = CASE WHEN refused.for_good THEN greatest(e.available_at, clock_timestamp() + {wait})
                ELSE e.available_at END,
            status = CASE WHEN {over} THEN 'failed' ELSE e.status END,
            completed_at = CASE WHEN {over} THEN clock_timestamp() END,
            error = CASE WHEN {over} THEN refused.error ELSE e.error END,
            error_type = CASE WHEN {over} THEN '{UNDELIVERABLE}' ELSE e.error_type END
        FROM (VALUES {values}) AS refused (job_id, generation, publication, error, for_good)
        WHERE e.job_id = refused.job_id AND e.generation = refused.generation
            AND e.publication = refused.publication AND e.published_at IS NULL AND {WAITING}""")
