"""What people ask of the record: the CLI and the dashboard read through here, and nothing here writes.

Every query has an index that fits. Times are compared with `statement_timestamp()`, because Postgres looks nothing up
in an index by `clock_timestamp()`, which may change while it looks.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import ColumnElement, Connection, RowMapping, ScalarSelect, and_, case, func, literal, select, tuple_

from qstash_jobs.errors import UnknownJobType
from qstash_jobs.executions.state import Outcome, Status
from qstash_jobs.executions.tables import job_actions, job_attempts, job_executions
from qstash_jobs.job import registry

REDACTED: JsonValue = {"redacted": True}
"""What stands for the payload of a sensitive job type."""

_NOW = func.statement_timestamp()
_row = job_executions.c


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One job's life, as people see it."""

    job_id: UUID
    job_type: str
    status: Status
    payload: JsonValue
    """`REDACTED` when the job type is sensitive, or has no contract here that could say that it is not."""
    result: JsonValue
    progress: JsonValue
    """`{"fraction": 0 to 1, "message": text or null}`, or None."""
    checkpoint: JsonValue
    error: str | None
    error_type: str | None
    attempts: int
    """Attempts that have started, in all generations."""
    budget: int
    max_attempts: int
    generation: int
    publication: int
    undelivered: int
    user_id: int | None
    organization_id: int | None
    idempotency_key: str | None
    schedule_id: str | None
    headers: dict[str, str] | None
    callback: str | None
    failure_callback: str | None
    message_id: str | None
    publish_error: str | None
    dlq_id: str | None
    created_at: datetime
    available_at: datetime
    published_at: datetime | None
    started_at: datetime | None
    lease_until: datetime | None
    cancel_requested_at: datetime | None
    completed_at: datetime | None
    notified_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One delivery of a job that reached the handler."""

    attempt: int
    generation: int
    publication: int
    outcome: Outcome | Literal["running", "lost"]
    """`running` while the job is processing it; `lost` when it never reported, and never will."""
    error: str | None
    """The traceback."""
    error_type: str | None
    message_id: str | None
    request_id: str | None
    cold_start: bool
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Action:
    """What a person did to a job."""

    action: str
    """`cancel` or `requeue`."""
    actor: str
    generation: int
    """Of the job after it."""
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Page:
    """Executions, the newest first."""

    executions: tuple[Execution, ...]
    cursor: str | None
    """For the next page; None on the last."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """How the queue stands."""

    waiting: int
    """Jobs that could run now and do not yet: pending or retrying, and due."""
    oldest: timedelta
    """For how long the first of them could have run; zero when there is none."""
    processing: int
    expired: int
    """Of those, the ones whose lease has ended without a report."""
    unpublished: int
    """Of those that wait, the ones that QStash has no message of."""
    untold: int
    """Failures that nobody was told of yet."""


def get(connection: Connection, job_id: UUID) -> Execution | None:
    """One execution; None when there is no such job."""
    found = connection.execute(select(*_columns()).where(_row.job_id == job_id)).mappings().one_or_none()
    return None if found is None else _execution(found)


def attempts(connection: Connection, job_id: UUID) -> list[Attempt]:
    """A job's attempts, the first one first."""
    attempt = job_attempts.c
    running = and_(_row.status == Status.PROCESSING, _row.attempts == attempt.attempt)
    outcome = func.coalesce(attempt.outcome, case((running, "running"), else_="lost")).label("outcome")
    others = [attempt[field.name] for field in fields(Attempt) if field.name != "outcome"]
    found = connection.execute(
        select(outcome, *others)
        .join_from(job_attempts, job_executions, _row.job_id == attempt.job_id)
        .where(attempt.job_id == job_id)
        .order_by(attempt.attempt)
    ).mappings()
    return [Attempt(**{**one, "outcome": _outcome(one["outcome"])}) for one in found]


def actions(connection: Connection, job_id: UUID) -> list[Action]:
    """What people did to a job, the first first."""
    found = connection.execute(
        select(*(job_actions.c[field.name] for field in fields(Action)))
        .where(job_actions.c.job_id == job_id)
        .order_by(job_actions.c.action_id)
    ).mappings()
    return [Action(**one) for one in found]


def search(
    connection: Connection,
    *,
    status: Status | None = None,
    job_type: str | None = None,
    user_id: int | None = None,
    organization_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    error_type: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page:
    """Executions that are all that is asked for, created from `since` on and before `until`, the newest first.

    Raises ValueError for a cursor that no page gave, and for a limit below 1.
    """
    if limit < 1:
        raise ValueError(f"a page has at least one execution, not {limit}")
    asked = {
        "status": status,
        "job_type": job_type,
        "user_id": user_id,
        "organization_id": organization_id,
        "error_type": error_type,
    }
    conditions: list[ColumnElement[bool]] = [_row[name] == value for name, value in asked.items() if value is not None]
    if since is not None:
        conditions.append(_row.created_at >= since)
    if until is not None:
        conditions.append(_row.created_at < until)
    if cursor is not None:
        created_at, job_id = _read_cursor(cursor)
        place = tuple_(literal(created_at, _row.created_at.type), literal(job_id, _row.job_id.type))
        conditions.append(tuple_(_row.created_at, _row.job_id) < place)
    newest_first = (_row.created_at.desc(), _row.job_id.desc())
    query = select(*_columns()).where(*conditions).order_by(*newest_first).limit(limit + 1)
    found = [_execution(one) for one in connection.execute(query).mappings()]
    page = tuple(found[:limit])
    return Page(
        executions=page, cursor=_cursor_at(page[-1].created_at, page[-1].job_id) if len(found) > limit else None
    )


def counts(connection: Connection) -> dict[str, dict[Status, int]]:
    """How many jobs of each job type stand in each status; nothing that is zero."""
    query = select(_row.job_type, _row.status, func.count()).group_by(_row.job_type, _row.status)
    found: dict[str, dict[Status, int]] = {}
    for job_type, status, number in connection.execute(query.order_by(_row.job_type, _row.status)):
        found.setdefault(job_type, {})[Status(status)] = number
    return found


def health(connection: Connection) -> Health:
    """How the queue stands now, in one statement."""
    waits = and_(_row.status.in_([Status.PENDING, Status.RETRYING]), _row.available_at <= _NOW)
    # Two halves, because each is an index of its own.
    unsent, sent = and_(waits, _row.published_at.is_(None)), and_(waits, _row.published_at.is_not(None))
    processing = _row.status == Status.PROCESSING
    first = func.least(_scalar(func.min(_row.available_at), unsent), _scalar(func.min(_row.available_at), sent))
    found = connection.execute(
        select(
            _scalar(func.count(), unsent).label("unpublished"),
            _scalar(func.count(), sent).label("published"),
            func.coalesce(_NOW - first, timedelta(0)).label("oldest"),
            _scalar(func.count(), processing).label("processing"),
            _scalar(func.count(), and_(processing, _row.lease_until <= _NOW)).label("expired"),
            _scalar(func.count(), and_(_row.status == Status.FAILED, _row.notified_at.is_(None))).label("untold"),
        )
    ).one()
    return Health(
        waiting=found.unpublished + found.published,
        oldest=found.oldest,
        processing=found.processing,
        expired=found.expired,
        unpublished=found.unpublished,
        untold=found.untold,
    )


def _scalar(value: ColumnElement[Any], condition: ColumnElement[bool]) -> ScalarSelect[Any]:
    return select(value).select_from(job_executions).where(condition).scalar_subquery()


def _columns() -> list[ColumnElement[Any]]:
    return [_row[field.name] for field in fields(Execution)]


def _execution(found: RowMapping) -> Execution:
    shown = {**found, "status": Status(found["status"])}
    if _is_sensitive(found["job_type"]):
        shown["payload"] = REDACTED
    return Execution(**shown)


def _is_sensitive(job_type: str) -> bool:
    try:
        return registry.get(job_type).options.sensitive
    except UnknownJobType:
        return True


def _outcome(found: str) -> Outcome | Literal["running", "lost"]:
    match found:
        case "running" | "lost":
            return found
        case _:
            return Outcome(found)


def _cursor_at(created_at: datetime, job_id: UUID) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {job_id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        created_at, job_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        place = datetime.fromisoformat(created_at), UUID(job_id)
    except (ValueError, binascii.Error):
        raise ValueError(f"{cursor!r} is no cursor of a page") from None
    if place[0].tzinfo is None:
        raise ValueError(f"{cursor!r} is no cursor of a page")
    return place
