"""Make a report over a period and mail it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from qstash_jobs.addresses import Email
from qstash_jobs.job import Job, JobOptions, Payload


class DateRange(Payload):
    """A period: from its first moment up to, and without, its last."""

    from_: AwareDatetime = Field(alias="from")
    """The first moment, with a time zone."""
    to: AwareDatetime
    """The moment at which it ends, with a time zone."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.from_ >= self.to:
            raise ValueError("a period must begin before it ends")
        return self


class GenerateReport(Job):
    """Make a report over a period and mail it."""

    options = JobOptions(
        name="generate-report",
        retries=2,
        timeout=timedelta(seconds=180),
        memory=1024,
        publishes=True,
        grants=("s3:exports",),
    )

    report_type: Literal["analytics", "usage", "billing", "custom"]
    """What it reports on."""
    date_range: DateRange
    """Over which period."""
    recipients: Annotated[list[Email], Field(min_length=1)]
    """Who gets it."""
    format: Literal["pdf", "html", "json"]
    """The file's format."""
