"""Delete what is past its time."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from qstash_jobs.job import Job, JobOptions


class CleanupOldData(Job):
    """Delete what is past its time."""

    options = JobOptions(
        name="cleanup-old-data", retries=1, timeout=timedelta(seconds=600), concurrency=1, grants=("s3:exports",)
    )

    cleanup_type: Literal["old-sessions", "expired-invitations", "temp-files", "logs"]
    """What to delete."""
    days_old: Annotated[int, Field(ge=1)]
    """How old it must be."""
    dry_run: bool = False
    """Count what would be deleted, and delete nothing."""
