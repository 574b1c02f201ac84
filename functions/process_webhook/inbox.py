"""`webhook_events`: each event is processed once, whichever job comes with it, and however often."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from qstash_jobs.webhook_events import Event
from saas.tables import webhook_events


def take(connection: Connection, event: Event, job_id: UUID) -> bool:
    """Whether the event is still to be processed. It is stored if the front door has not done so, and locked until the
    transaction ends, so that of two jobs with the same event one waits, and finds it done."""
    row = {
        "provider": event.sender.provider,
        "event_id": event.event_id,
        "event_type": event.type,
        "payload": event.data,
        "job_id": job_id,
    }
    connection.execute(insert(webhook_events).values(row).on_conflict_do_nothing())
    processed_at = select(webhook_events.c.processed_at).where(*_is(event)).with_for_update()
    return connection.execute(processed_at).scalar_one() is None


def finish(connection: Connection, event: Event) -> None:
    """Note that it is done, together with what was done."""
    done = update(webhook_events).where(*_is(event)).values(processed_at=func.clock_timestamp())
    connection.execute(done)


def _is(event: Event) -> tuple[ColumnElement[bool], ...]:
    return webhook_events.c.provider == event.sender.provider, webhook_events.c.event_id == event.event_id
