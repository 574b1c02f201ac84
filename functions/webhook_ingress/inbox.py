"""An event and its job enter the database together, and the job's message leaves for QStash.

One statement of the simple protocol: one round trip, without SQLAlchemy, which a cold start would wait for.
"""

from __future__ import annotations

from uuid import UUID

from qstash_jobs import relay
from qstash_jobs.database import Database
from qstash_jobs.dispatch import new_execution
from qstash_jobs.errors import DatabaseUnreachable
from qstash_jobs.executions import outbox
from qstash_jobs.executions.literals import jsonb, text, uuid
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.settings import settings
from qstash_jobs.webhook_events import Event


def store(event: Event, to: Database) -> UUID | None:
    """Write down the event and its job; the job's id, or None when the event was known.

    Raises `DatabaseUnreachable`, after which the event may or may not be stored; its repetition finds out. And
    `ConfigurationError` when the job could not be published, before anything is stored.
    """
    relay.qstash()
    settings().url(ProcessWebhook.options.name)
    job = ProcessWebhook(
        source=event.sender.source,
        name=event.sender.name,
        event=event.type,
        event_id=event.event_id,
        data=event.data,
    )
    new = new_execution(job, {})
    sql = f"""
        WITH event AS (
            INSERT INTO webhook_events (provider, event_id, event_type, payload, job_id)
            VALUES ({text(event.sender.provider)}, {text(event.event_id)}, {text(event.type)}, {jsonb(event.data)},
                {uuid(new.job_id)})
            ON CONFLICT DO NOTHING RETURNING job_id
        )
        {outbox.insert_sql([new], "EXISTS (SELECT FROM event)")}"""  # noqa: S608  # all values are literals
    try:
        rows = to.run(sql)
    except DatabaseUnreachable:  # a connection may have died while the environment was frozen: once more, on another
        rows = to.run(sql)
        if not rows and outbox.existing(to.run, [new.job_id]):  # only the reply had been lost
            return new.job_id
    return UUID(rows[0][0]) if rows else None


def publish(job_id: UUID, to: Database) -> None:
    """Send the job's message. If QStash is away, the row is the outbox, and the relay sends it later."""
    try:
        relay.publish_now(to.run, outbox.unpublished(to.run, [job_id], relay.longest_delay()))
    except DatabaseUnreachable as error:
        relay.log.warning("Publication not noted; the relay will repeat it: %s", error)
