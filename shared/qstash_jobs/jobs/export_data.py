"""Write a data set to a file and mail a link to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import JsonValue

from qstash_jobs.addresses import Email
from qstash_jobs.job import Job, JobOptions


class ExportData(Job):
    """Write a data set to a file and mail a link to it."""

    options = JobOptions(
        name="export-data",
        retries=2,
        timeout=timedelta(seconds=300),
        memory=1769,
        publishes=True,
        grants=("s3:exports",),
    )

    export_type: Literal["users", "organizations", "activity-logs", "custom"]
    """Which data set."""
    format: Literal["csv", "json", "xlsx"]
    """The file's format."""
    filters: dict[str, JsonValue] | None = None
    """Which rows; what is allowed depends on the data set."""
    notify_email: Email
    """Who gets the link."""
