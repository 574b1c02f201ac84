"""Delete what is past its time, or count it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from qstash_jobs.job import Job, JobOptions

LOGS_KEPT_DAYS = 7
"""The record of a job is what keeps it from running twice, and QStash may deliver a message days after the first time."""


class CleanupOldData(Job):
    """Delete what is past its time, or count it."""

    options = JobOptions(
        name="cleanup-old-data", retries=1, timeout=timedelta(seconds=600), concurrency=1, grants=("s3:tmp",)
    )

    cleanup_type: Literal["old-sessions", "expired-invitations", "temp-files", "logs"]
    """What to delete."""
    days_old: Annotated[int, Field(ge=1, le=3650)]
    """For how many days it must have been past its time; for `logs`, at least 7."""
    dry_run: bool = False
    """Count what would be deleted, and delete nothing."""

    @model_validator(mode="after")
    def _keeps_the_record(self) -> Self:
        if self.cleanup_type == "logs" and self.days_old < LOGS_KEPT_DAYS:
            raise ValueError(f"logs are kept for {LOGS_KEPT_DAYS} days at least: they say which jobs have run already")
        return self
