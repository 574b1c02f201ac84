"""An execution as the record shows it, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from qstash_jobs.executions.queries import Execution
from qstash_jobs.executions.state import Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_EMPTY = (
    *("result", "progress", "checkpoint", "error", "error_type", "user_id", "organization_id", "idempotency_key"),
    *("schedule_id", "headers", "callback", "failure_callback", "publish_error", "dlq_id", "started_at", "lease_until"),
    *("cancel_requested_at", "completed_at", "notified_at"),
)


def waiting() -> Execution:
    """Published, and not yet delivered."""
    return Execution(
        job_id=UUID(int=1),
        job_type="probe",
        status=Status.PENDING,
        payload={},
        attempts=0,
        budget=3,
        max_attempts=3,
        generation=1,
        publication=1,
        undelivered=0,
        message_id="msg_1",
        created_at=NOW,
        available_at=NOW,
        published_at=NOW,
        updated_at=NOW,
        **dict.fromkeys(_EMPTY),  # type: ignore[arg-type]
    )
