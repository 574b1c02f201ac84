"""What each clean-up deletes, as data. To add a table of your own, add a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from functions.cleanup_old_data.objects import Objects
from functions.cleanup_old_data.rows import Rows
from qstash_jobs.bucket import TEMPORARY
from qstash_jobs.executions.state import ENDED, Status

if TYPE_CHECKING:
    from sqlalchemy import Table


def _saas(name: str) -> Callable[[], Table | None]:
    """A table as `saas.tables` describes it, if it does."""

    def find() -> Table | None:
        from saas import tables

        found: Table | None = getattr(tables, name, None)
        return found

    return find


def _executions() -> Table:
    from qstash_jobs.executions.tables import job_executions

    return job_executions


def _what_goes_with_executions() -> Sequence[Table]:
    from qstash_jobs.executions.tables import job_actions, job_attempts

    return job_attempts, job_actions


CLEANUPS: dict[str, tuple[Rows | Objects, ...]] = {
    "old-sessions": (Rows(name="sessions", table=_saas("sessions"), time="expires_at"),),
    "expired-invitations": (
        # One that was accepted did not expire: it stays, and says who brought whom.
        Rows(
            name="invitations",
            table=_saas("invitations"),
            time="expires_at",
            only=lambda c, _cutoff: c.accepted_at.is_(None),
        ),
    ),
    "temp-files": (
        # A row is one target's or the other's, so that a dry run counts none twice.
        Objects(
            prefix=TEMPORARY,
            rows=_saas("files"),
            rows_name="files",
            only=lambda c, cutoff: (c.kind == "temporary") & (c.expires_at.is_(None) | (c.expires_at >= cutoff)),
        ),
        Rows(name="files", table=_saas("files"), time="expires_at", only=lambda c, _cutoff: c.kind == "temporary"),
    ),
    "logs": (
        Rows(name="activity_logs", table=_saas("activity_logs"), time="created_at"),
        Rows(
            name="job_executions",
            table=_executions,
            time="created_at",
            key="job_id",
            # A failure that nobody was told of is still to be told.
            only=lambda c, cutoff: (
                c.status.in_([status.value for status in ENDED])
                & (c.completed_at < cutoff)
                & ((c.status != Status.FAILED.value) | c.notified_at.is_not(None))
            ),
            children=_what_goes_with_executions,
            chunk=1_000,  # each row takes others with it, and its foreign keys are checked one by one
        ),
    ),
}
"""By cleanup type, in the order in which it is done."""
