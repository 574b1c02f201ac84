"""The moves of one execution, each one statement that is guarded by where the row stands.

Every function makes one message of SQL, runs it, and reads its rows. Nothing here reads before it writes: a move says
from where it is allowed, and only what `RETURNING` shows has happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from pydantic import JsonValue

from qstash_jobs.database import Runner
from qstash_jobs.executions.literals import integer, jsonb, milliseconds, text, uuid
from qstash_jobs.executions.outbox import LOST, NewExecution, insert_sql
from qstash_jobs.executions.state import MOVES, Outcome, Status, Verb

EARLY = timedelta(seconds=5)
"""How much earlier than the handler asked for an attempt may start: QStash's clock is another one."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """What a delivery says of itself."""

    job_id: UUID
    job_types: tuple[str, ...]
    """The function's job type, and its former names."""
    generation: int
    publication: int
    lease_owner: UUID
    """Made for this delivery, so that a repeated start is recognised."""
    lease: timedelta
    message_id: str | None
    request_id: str | None
    cold_start: bool
    new: NewExecution | None
    """How to create the row, when the message brings its own payload."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """An attempt that holds the lease."""

    attempt: int
    max_attempts: int
    payload: JsonValue
    checkpoint: JsonValue
    user_id: int | None
    organization_id: int | None
    waited: timedelta
    """From when the job could first have run until now."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a row stands, as an arrival that could not claim it finds it."""

    job_type: str
    status: Status
    generation: int
    publication: int
    attempts: int
    max_attempts: int
    lease_left: timedelta
    """Zero or less when it ended, or when there is none."""
    held_for: timedelta
    """For how long no attempt may start; zero or less when one may."""
    cancel_requested: bool
    same_payload: bool


@dataclass(frozen=True, kw_only=True)
class Finish:
    """How an attempt ends."""

    verb: Verb
    outcome: Outcome
    result: JsonValue = None
    error: str | None = None
    """In one line."""
    error_type: str | None = None
    traceback: str | None = None
    wait: timedelta = timedelta(0)
    """Until the next attempt is expected."""
    held: bool = False
    """Whether none may start before that: the handler asked for it, and QStash may deliver a message twice."""
    checkpoint: JsonValue = None
    next_publication: bool = False
    """Whether the row waits for a message of its own, because this one ends here."""
    free: bool = False
    """Whether the attempt spends no budget."""
    then: tuple[NewExecution, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a finish found."""

    moved: bool
    """Whether this report, or an earlier one of the same attempt whose answer was lost, decided."""
    status: Status | None
    """The row's status, None when there is no such row."""


def start(run: Runner, arrival: Arrival) -> Started | None:
    """Create or claim the row for one attempt, and count it; None when it cannot be claimed.

    Raises `DatabaseUnreachable`; the same arrival may then be started again.
    """
    rows = run(_start_sql(arrival))
    if not rows:
        return None
    attempt, max_attempts, payload, checkpoint, user_id, organization_id, waited_ms = rows[0]
    return Started(
        attempt=attempt,
        max_attempts=max_attempts,
        payload=payload,
        checkpoint=checkpoint,
        user_id=user_id,
        organization_id=organization_id,
        waited=timedelta(milliseconds=max(0, waited_ms)),
    )


def _start_sql(arrival: Arrival) -> str:
    owner = uuid(arrival.lease_owner)
    lease = f"clock_timestamp() + {milliseconds(arrival.lease)}"
    # An owner that is ours already is this delivery's own start, whose answer was lost: not counted twice.
    claim = f"""
        status = 'processing', lease_owner = {owner}, lease_until = {lease}, held_until = NULL,
        attempts = e.attempts + (e.lease_owner IS DISTINCT FROM {owner})::int,
        started_at = coalesce(e.started_at, clock_timestamp()),
        published_at = coalesce(e.published_at, clock_timestamp()),
        message_id = coalesce(e.message_id, {text(arrival.message_id)})"""
    types = ", ".join(text(name) for name in arrival.job_types)
    allowed = f"""
        e.job_type IN ({types}) AND e.cancel_requested_at IS NULL
        AND (e.generation, e.publication) <= ({integer(arrival.generation)}, {integer(arrival.publication)})
        AND e.status IN {_sources(Verb.START)}
        AND CASE e.status WHEN 'processing' THEN e.lease_until <= clock_timestamp() OR e.lease_owner = {owner}
            ELSE e.held_until IS NULL OR e.held_until <= clock_timestamp() + {milliseconds(EARLY)} END
        AND (e.attempts < e.max_attempts OR e.lease_owner = {owner})"""
    if arrival.new is None:
        claimed = f"UPDATE job_executions AS e SET {claim} WHERE e.job_id = {uuid(arrival.job_id)} AND {allowed}"
    else:
        claimed = f"""
            INSERT INTO job_executions AS e (
                job_id, job_type, status, payload, attempts, budget, max_attempts, generation, publication,
                lease_owner, lease_until, idempotency_key, schedule_id, user_id, organization_id, message_id, published_at,
                started_at
            ) VALUES (
                {uuid(arrival.job_id)}, {text(arrival.new.job_type)}, 'processing', {jsonb(arrival.new.payload)}, 1,
                {integer(arrival.new.budget)}, {integer(arrival.new.budget)}, {integer(arrival.generation)},
                {integer(arrival.publication)}, {owner}, {lease}, {text(arrival.new.idempotency_key)}, {text(arrival.new.schedule_id)},
                {integer(arrival.new.user_id)}, {integer(arrival.new.organization_id)}, {text(arrival.message_id)},
                clock_timestamp(), clock_timestamp()
            ) ON CONFLICT (job_id) DO UPDATE SET {claim} WHERE e.payload = excluded.payload AND {allowed}"""
    return f"""
        WITH claimed AS ({claimed} RETURNING e.*), attempt AS (
            INSERT INTO job_attempts (
                job_id, attempt, generation, publication, lease_owner, message_id, request_id, cold_start
            ) SELECT job_id, attempts, generation, publication, lease_owner, {text(arrival.message_id)},
                {text(arrival.request_id)}, {arrival.cold_start} FROM claimed
            ON CONFLICT (job_id, attempt) DO NOTHING
        )
        SELECT attempts, max_attempts, payload, checkpoint, user_id, organization_id,
            (extract(epoch FROM clock_timestamp() - greatest(created_at, available_at)) * 1000)::bigint
        FROM claimed"""


def look(run: Runner, job_id: UUID, payload: JsonValue = None) -> Standing | None:
    """Where the row stands, and whether its payload is this one; None when there is no such row."""
    rows = run(f"""
        SELECT job_type, status, generation, publication, attempts, max_attempts,
            coalesce(extract(epoch FROM lease_until - clock_timestamp()) * 1000, 0)::bigint,
            coalesce(extract(epoch FROM held_until - clock_timestamp()) * 1000, 0)::bigint, cancel_requested_at IS NOT NULL, payload = {jsonb(payload)}
        FROM job_executions WHERE job_id = {uuid(job_id)}""")
    if not rows:
        return None
    job_type, status, generation, publication, attempts, max_attempts, lease_ms, held_ms, cancelled, same = rows[0]
    return Standing(
        job_type=job_type,
        status=Status(status),
        generation=generation,
        publication=publication,
        attempts=attempts,
        max_attempts=max_attempts,
        lease_left=timedelta(milliseconds=lease_ms),
        held_for=timedelta(milliseconds=held_ms),
        cancel_requested=cancelled,
        same_payload=same,
    )


def finish(run: Runner, job_id: UUID, attempt: int, lease_owner: UUID, how: Finish) -> Finished:
    """End one attempt: writes the attempt while it has no outcome, and moves the row while no later one has started.

    Raises `DatabaseUnreachable`; the same finish may then be repeated, and finds itself done if it was.
    """
    moved = run(_finish_sql(job_id, attempt, lease_owner, how))[0][0]
    if moved is not None:
        return Finished(moved=True, status=Status(moved))
    # Asked apart: where an earlier report of this attempt was still committing, that statement saw the row before it.
    noted, status, attempts = run(_noted_sql(job_id, attempt, lease_owner))[0]
    repeated = noted == how.outcome and status in {MOVES[how.verb].target, Status.CANCELLED} and attempts == attempt
    return Finished(moved=repeated, status=None if status is None else Status(status))


def _finish_sql(job_id: UUID, attempt: int, lease_owner: UUID, how: Finish) -> str:
    sources, target = MOVES[how.verb]
    changes = ["lease_until = NULL", f"error = {text(how.error)}", f"error_type = {text(how.error_type)}"]
    cancelled = "e.cancel_requested_at IS NOT NULL"  # while the attempt ran
    if target is Status.RETRYING:
        changes.append(f"status = CASE WHEN {cancelled} THEN 'cancelled' ELSE 'retrying' END")
        changes.append(f"completed_at = CASE WHEN {cancelled} THEN clock_timestamp() END")
        changes.append(f"available_at = clock_timestamp() + {milliseconds(how.wait)}")
        if how.held:
            changes.append(f"held_until = clock_timestamp() + {milliseconds(how.wait)}")
    elif target is Status.FAILED:
        changes.append(f"status = CASE WHEN {cancelled} THEN 'cancelled' ELSE 'failed' END")
        changes.append("completed_at = clock_timestamp()")
    else:
        changes.append(f"status = '{target}', completed_at = clock_timestamp()")
    if target is Status.COMPLETED:
        changes.append(f"result = {jsonb(how.result)}")
    if how.outcome is Outcome.CONTINUED:
        changes.append(f"checkpoint = {jsonb(how.checkpoint)}")
    if how.free:
        changes.append("max_attempts = e.max_attempts + 1")
    if how.next_publication:
        changes.append("publication = e.publication + 1, published_at = NULL, message_id = NULL")
    this = f"job_id = {uuid(job_id)} AND lease_owner = {uuid(lease_owner)}"
    then = f", followed AS ({insert_sql(how.then, 'EXISTS (SELECT FROM moved)')})" if how.then else ""
    return f"""
        WITH moved AS (
            UPDATE job_executions AS e SET {", ".join(changes)}
            WHERE {this} AND attempts = {integer(attempt)} AND status IN {_statuses(sources)}
            RETURNING e.status
        ), noted AS (
            UPDATE job_attempts SET outcome = '{how.outcome}', finished_at = clock_timestamp(),
                error = {text(how.traceback or how.error)}, error_type = {text(how.error_type)}
            WHERE {this} AND attempt = {integer(attempt)} AND outcome IS NULL
        ){then}
        SELECT (SELECT status FROM moved)"""


def _noted_sql(job_id: UUID, attempt: int, lease_owner: UUID) -> str:
    return f"""
        SELECT (SELECT outcome FROM job_attempts AS a WHERE a.job_id = {uuid(job_id)}
                AND a.lease_owner = {uuid(lease_owner)} AND a.attempt = {integer(attempt)}),
            e.status, e.attempts
        FROM (VALUES (1)) AS one LEFT JOIN job_executions AS e ON e.job_id = {uuid(job_id)}"""


def give_up(run: Runner, job_id: UUID) -> bool:
    """Fail a row whose last attempt never reported and whose lease has ended. False when it stands otherwise."""
    return bool(
        run(f"""
        UPDATE job_executions SET status = 'failed', lease_until = NULL, completed_at = clock_timestamp(),
            error = 'attempt ' || attempts || ' never reported', error_type = '{LOST}'
        WHERE job_id = {uuid(job_id)} AND attempts >= max_attempts
            AND (status IN ('pending', 'retrying') OR status = 'processing' AND lease_until <= clock_timestamp())
        RETURNING job_id""")
    )


def record_progress(run: Runner, job_id: UUID, attempt: int, fraction: float, message: str | None) -> bool | None:
    """Store how far an attempt is. True when the job was cancelled; None when it is no longer this attempt's to run."""
    progress: JsonValue = {"fraction": fraction, "message": message}
    rows = run(f"""
        UPDATE job_executions SET progress = {jsonb(progress)}
        WHERE job_id = {uuid(job_id)} AND attempts = {integer(attempt)} AND status = 'processing'
        RETURNING cancel_requested_at IS NOT NULL""")
    return bool(rows[0][0]) if rows else None


def save(run: Runner, job_id: UUID, attempt: int, lease_owner: UUID, checkpoint: JsonValue) -> bool:
    """Keep where the attempt stands, for whichever comes next; False when it is no longer this attempt's to run.

    Run in a transaction, it locks the row until that ends: an attempt that would take over waits, and then reads this
    checkpoint.
    """
    return bool(
        run(f"""
        UPDATE job_executions SET checkpoint = {jsonb(checkpoint)}
        WHERE job_id = {uuid(job_id)} AND attempts = {integer(attempt)} AND lease_owner = {uuid(lease_owner)}
            AND status = 'processing'
        RETURNING job_id""")
    )


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """What a cancel found."""

    status: Status
    message_id: str | None
    """What QStash may still hold."""
    changed: bool
    """False when the job had ended already. A job that is still `processing` ends at its next report of progress."""


def cancel(run: Runner, job_id: UUID, by: str) -> Cancelled | None:
    """End a waiting job at once, or ask the attempt that runs to end; None when there is no such row.

    `by` says who asked, for the audit.
    """
    idle = "(status <> 'processing' OR lease_until <= clock_timestamp())"
    rows = run(f"""
        WITH asked AS (
            UPDATE job_executions SET
                status = CASE WHEN {idle} THEN 'cancelled' ELSE status END,
                completed_at = CASE WHEN {idle} THEN clock_timestamp() END,
                lease_until = CASE WHEN {idle} THEN NULL ELSE lease_until END,
                cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
            WHERE job_id = {uuid(job_id)} AND status IN {_sources(Verb.CANCEL)}
            RETURNING job_id, generation, status, message_id
        ), audited AS (
            INSERT INTO job_actions (job_id, generation, action, actor)
            SELECT job_id, generation, '{Verb.CANCEL}', {text(by)} FROM asked
        )
        SELECT status, message_id, true FROM asked
        UNION ALL
        SELECT status, message_id, false FROM job_executions
            WHERE job_id = {uuid(job_id)} AND NOT EXISTS (SELECT FROM asked)""")
    if not rows:
        return None
    status, message_id, changed = rows[0]
    return Cancelled(status=Status(status), message_id=message_id, changed=changed)


def requeue(run: Runner, job_ids: Sequence[UUID], by: str) -> dict[UUID, Status]:
    """Send failed and cancelled jobs round again as their next generation, with a fresh budget.

    The answer says in which status each was found: from those that `MOVES` does not name, nothing was changed. Ids
    that are unknown are missing from it. `by` says who asked, for the audit.
    """
    if not job_ids:
        return {}
    rows = run(f"""
        WITH found AS (
            SELECT job_id, status FROM job_executions
            WHERE job_id IN ({", ".join(uuid(job_id) for job_id in job_ids)}) ORDER BY job_id FOR UPDATE
        ), moved AS (
            UPDATE job_executions AS e SET status = 'pending', generation = e.generation + 1, publication = 1,
                undelivered = 0, max_attempts = e.attempts + e.budget, available_at = clock_timestamp(),
                completed_at = NULL, cancel_requested_at = NULL, published_at = NULL, message_id = NULL,
                lease_owner = NULL, publish_error = NULL, dlq_id = NULL, notified_at = NULL, progress = NULL, held_until = NULL
            FROM found WHERE e.job_id = found.job_id AND found.status IN {_sources(Verb.REQUEUE)}
            RETURNING e.job_id, e.generation
        ), audited AS (
            INSERT INTO job_actions (job_id, generation, action, actor)
            SELECT job_id, generation, '{Verb.REQUEUE}', {text(by)} FROM moved
        )
        SELECT job_id, status FROM found""")
    return {row[0]: Status(row[1]) for row in rows}


def _sources(verb: Verb) -> str:
    return _statuses(MOVES[verb].sources)


def _statuses(statuses: tuple[Status, ...]) -> str:
    return f"({', '.join(repr(status.value) for status in statuses)})"
