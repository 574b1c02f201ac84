"""The record: executions and attempts, and the trigger that guards the moves of an execution."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "jobs_0001"
down_revision = None
branch_labels = ("jobs",)
depends_on = None

GUARD = """
CREATE FUNCTION job_executions_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
    IF NEW.status IS DISTINCT FROM OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('pending', 'processing'), ('retrying', 'processing'),
        ('processing', 'completed'), ('retrying', 'completed'),
        ('processing', 'retrying'),
        ('pending', 'failed'), ('processing', 'failed'), ('retrying', 'failed'),
        ('pending', 'cancelled'), ('processing', 'cancelled'), ('retrying', 'cancelled'),
        ('failed', 'pending'), ('cancelled', 'pending')
    ) THEN
        RAISE EXCEPTION 'job % cannot go from % to %', OLD.job_id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'job_executions_moves';
    END IF;
    IF OLD.status IN ('failed', 'cancelled') AND NEW.status = 'pending' AND NEW.generation <> OLD.generation + 1
       OR NEW.generation < OLD.generation OR NEW.attempts < OLD.attempts OR NEW.max_attempts < OLD.max_attempts
       OR NEW.job_id <> OLD.job_id
    THEN
        RAISE EXCEPTION 'job %: generation, attempts and budget only grow, and a requeue is a new generation', OLD.job_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'job_executions_moves';
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$guard$
"""

TRIGGER = """
CREATE TRIGGER job_executions_guard BEFORE UPDATE ON job_executions
    FOR EACH ROW EXECUTE FUNCTION job_executions_guard()
"""

NOW = sa.text("clock_timestamp()")


def _time(name: str, *, required: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not required, server_default=NOW if required else None)


def upgrade() -> None:
    op.create_table(
        "job_executions",
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("job_type", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="pending"),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("result", JSONB),
        sa.Column("error", sa.Text, comment="the last failure, in one line"),
        sa.Column("error_type", sa.Text, comment="its class; Lost and Undeliverable are ours"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("budget", sa.Integer, nullable=False, comment="attempts that may run, in each generation"),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False, server_default="1", comment="raised by each requeue"),
        sa.Column(
            "publication", sa.Integer, nullable=False, server_default="1", comment="raised when a carrier is known dead"
        ),
        sa.Column(
            "undelivered",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="dead carriers that brought no attempt",
        ),
        sa.Column("lease_owner", sa.Uuid, comment="the delivery that last claimed the job"),
        _time("lease_until"),
        _time("available_at", required=True),
        sa.Column(
            "held_until",
            sa.DateTime(timezone=True),
            comment="no attempt starts before: the handler asked for that wait",
        ),
        sa.Column(
            "ask_after",
            sa.DateTime(timezone=True),
            comment="when to ask QStash again whether it still has the message",
        ),
        _time("cancel_requested_at"),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("headers", JSONB, comment="forwarded with each delivery"),
        sa.Column("callback", sa.Text, comment="QStash calls it after each attempt"),
        sa.Column("failure_callback", sa.Text, comment="called once when the job has failed for good"),
        sa.Column("publish_error", sa.Text),
        sa.Column("dlq_id", sa.Text),
        sa.Column("schedule_id", sa.Text),
        sa.Column("checkpoint", JSONB),
        _time("notified_at"),
        sa.Column("user_id", sa.BigInteger),
        sa.Column("organization_id", sa.BigInteger),
        sa.Column("message_id", sa.Text),
        _time("published_at"),
        _time("started_at"),
        _time("completed_at"),
        _time("created_at", required=True),
        _time("updated_at", required=True),
        sa.Column("progress", JSONB, comment='{"fraction": 0 to 1, "message": text}'),
        sa.PrimaryKeyConstraint("job_id", name="job_executions_pkey"),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'retrying', 'completed', 'failed', 'cancelled')",
            name=op.f("job_executions_status"),
        ),
        sa.CheckConstraint(
            "budget >= 1 AND attempts >= 0 AND attempts <= max_attempts", name=op.f("job_executions_budget")
        ),
        sa.CheckConstraint(
            "generation >= 1 AND publication >= 1 AND undelivered >= 0", name=op.f("job_executions_numbers")
        ),
        sa.CheckConstraint(
            "(status = 'processing') = (lease_until IS NOT NULL)"
            " AND (status <> 'processing' OR lease_owner IS NOT NULL)",
            name=op.f("job_executions_lease"),
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)",
            name=op.f("job_executions_completed_at"),
        ),
    )
    waiting = "status IN ('pending', 'retrying')"
    for name, columns, where in (
        ("unpublished", ["available_at"], f"published_at IS NULL AND {waiting}"),
        ("awaited", ["available_at"], f"published_at IS NOT NULL AND {waiting}"),
        ("leases", ["lease_until"], "status = 'processing'"),
        ("unnotified", ["completed_at"], "status = 'failed' AND notified_at IS NULL"),
        ("recent", ["created_at", "job_id"], None),
        ("by_type", ["job_type", "created_at", "job_id"], None),
        ("counts", ["job_type", "status"], None),
        ("by_status", ["status", "created_at", "job_id"], None),
        ("by_user", ["user_id", "created_at", "job_id"], "user_id IS NOT NULL"),
        ("by_organization", ["organization_id", "created_at", "job_id"], "organization_id IS NOT NULL"),
        ("by_error", ["error_type", "created_at", "job_id"], "error_type IS NOT NULL"),
    ):
        op.create_index(
            f"job_executions_{name}",
            "job_executions",
            columns,
            postgresql_where=sa.text(where) if where else None,
        )
    op.create_index(
        "job_executions_idempotency",
        "job_executions",
        ["job_type", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.execute(GUARD)
    op.execute(TRIGGER)
    op.create_table(
        "job_attempts",
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("publication", sa.Integer, nullable=False),
        sa.Column("lease_owner", sa.Uuid, nullable=False),
        sa.Column("message_id", sa.Text),
        sa.Column("request_id", sa.Text, comment="Lambda's"),
        sa.Column("cold_start", sa.Boolean, nullable=False),
        sa.Column("outcome", sa.Text, comment="none while it runs, and for ever when it never reported"),
        sa.Column("error", sa.Text, comment="the traceback"),
        sa.Column("error_type", sa.Text),
        _time("started_at", required=True),
        _time("finished_at"),
        sa.PrimaryKeyConstraint("job_id", "attempt", name="job_attempts_pkey"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job_executions.job_id"], name="job_attempts_job_id_fkey", ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "outcome IN ('completed', 'retried', 'failed', 'cancelled', 'continued')", name=op.f("job_attempts_outcome")
        ),
        sa.CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name=op.f("job_attempts_finished")),
    )
    op.create_table(
        "job_actions",
        sa.Column("action_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("action", sa.Text, nullable=False, comment="what a person did: cancel, requeue"),
        sa.Column("actor", sa.Text, nullable=False, comment="who did it"),
        _time("created_at", required=True),
        sa.PrimaryKeyConstraint("action_id", name="job_actions_pkey"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job_executions.job_id"], name="job_actions_job_id_fkey", ondelete="CASCADE"
        ),
    )
    op.create_index("job_actions_job_id", "job_actions", ["job_id"])


def downgrade() -> None:
    op.drop_table("job_actions")
    op.drop_table("job_attempts")
    op.drop_table("job_executions")
    op.execute("DROP FUNCTION job_executions_guard()")
