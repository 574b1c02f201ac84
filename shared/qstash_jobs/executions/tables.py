"""The tables of the record, as SQLAlchemy Core sees them: for migrations and for the queries that people make."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from qstash_jobs.executions.state import Outcome, Status

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s",
    }
)

_NOW = text("clock_timestamp()")
_WAITING = "status IN ('pending', 'retrying')"


def _one_of(column: str, values: type[Status] | type[Outcome]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


def _time(name: str, *, required: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=not required, server_default=_NOW if required else None)


job_executions = Table(
    "job_executions",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("job_type", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=Status.PENDING.value),
    Column("payload", JSONB, nullable=False),
    Column("result", JSONB),
    Column("error", Text, comment="the last failure, in one line"),
    Column("error_type", Text, comment="its class; Lost and Undeliverable are ours"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("budget", Integer, nullable=False, comment="attempts that may run, in each generation"),
    Column("max_attempts", Integer, nullable=False),
    Column("generation", Integer, nullable=False, server_default="1", comment="raised by each requeue"),
    Column("publication", Integer, nullable=False, server_default="1", comment="raised when a carrier is known dead"),
    Column("undelivered", Integer, nullable=False, server_default="0", comment="dead carriers that brought no attempt"),
    Column("lease_owner", Uuid, comment="the delivery that last claimed the job"),
    _time("lease_until"),
    _time("available_at", required=True),
    Column("held_until", DateTime(timezone=True), comment="no attempt starts before: the handler asked for that wait"),
    Column("ask_after", DateTime(timezone=True), comment="when to ask QStash again whether it still has the message"),
    _time("cancel_requested_at"),
    Column("idempotency_key", Text),
    Column("headers", JSONB, comment="forwarded with each delivery"),
    Column("callback", Text, comment="QStash calls it after each attempt"),
    Column("failure_callback", Text, comment="called once when the job has failed for good"),
    Column("publish_error", Text),
    Column("dlq_id", Text),
    Column("schedule_id", Text),
    Column("checkpoint", JSONB),
    _time("notified_at"),
    Column("user_id", BigInteger),
    Column("organization_id", BigInteger),
    Column("message_id", Text),
    _time("published_at"),
    _time("started_at"),
    _time("completed_at"),
    _time("created_at", required=True),
    _time("updated_at", required=True),
    Column("progress", JSONB, comment='{"fraction": 0 to 1, "message": text}'),
    CheckConstraint(_one_of("status", Status), name="status"),
    CheckConstraint("budget >= 1 AND attempts >= 0 AND attempts <= max_attempts", name="budget"),
    CheckConstraint("generation >= 1 AND publication >= 1 AND undelivered >= 0", name="numbers"),
    CheckConstraint(
        "(status = 'processing') = (lease_until IS NOT NULL) AND (status <> 'processing' OR lease_owner IS NOT NULL)",
        name="lease",
    ),
    CheckConstraint(
        "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)", name="completed_at"
    ),
    Index(
        "job_executions_idempotency",
        "job_type",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    Index("job_executions_unpublished", "available_at", postgresql_where=text(f"published_at IS NULL AND {_WAITING}")),
    Index("job_executions_awaited", "available_at", postgresql_where=text(f"published_at IS NOT NULL AND {_WAITING}")),
    Index("job_executions_leases", "lease_until", postgresql_where=text("status = 'processing'")),
    Index(
        "job_executions_unnotified",
        "completed_at",
        postgresql_where=text("status = 'failed' AND notified_at IS NULL"),
    ),
    Index("job_executions_recent", "created_at", "job_id"),
    Index("job_executions_by_type", "job_type", "created_at", "job_id"),
    Index("job_executions_counts", "job_type", "status"),
    Index("job_executions_by_status", "status", "created_at", "job_id"),
    Index("job_executions_by_user", "user_id", "created_at", "job_id", postgresql_where=text("user_id IS NOT NULL")),
    Index(
        "job_executions_by_organization",
        "organization_id",
        "created_at",
        "job_id",
        postgresql_where=text("organization_id IS NOT NULL"),
    ),
    Index(
        "job_executions_by_error",
        "error_type",
        "created_at",
        "job_id",
        postgresql_where=text("error_type IS NOT NULL"),
    ),
)

job_attempts = Table(
    "job_attempts",
    metadata,
    Column("job_id", Uuid, ForeignKey("job_executions.job_id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("publication", Integer, nullable=False),
    Column("lease_owner", Uuid, nullable=False),
    Column("message_id", Text),
    Column("request_id", Text, comment="Lambda's"),
    Column("cold_start", Boolean, nullable=False),
    Column("outcome", Text, comment="none while it runs, and for ever when it never reported"),
    Column("error", Text, comment="the traceback"),
    Column("error_type", Text),
    _time("started_at", required=True),
    _time("finished_at"),
    PrimaryKeyConstraint("job_id", "attempt"),
    CheckConstraint(_one_of("outcome", Outcome), name="outcome"),
    CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="finished"),
)

job_actions = Table(
    "job_actions",
    metadata,
    Column("action_id", BigInteger, Identity(always=True), primary_key=True),
    Column("job_id", Uuid, ForeignKey("job_executions.job_id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("action", Text, nullable=False, comment="what a person did: cancel, requeue"),
    Column("actor", Text, nullable=False, comment="who did it"),
    _time("created_at", required=True),
    Index("job_actions_job_id", "job_id"),
)
