"""Make a report over a period and mail it.

>>> GenerateReport(
...     report_type="billing",
...     date_range=DateRange(from_=datetime(2026, 3, 1, tzinfo=UTC), to=datetime(2026, 4, 1, tzinfo=UTC)),
...     recipients=["ada@example.com"],
...     format="pdf",
... )
"""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from qstash_jobs.addresses import Email
from qstash_jobs.job import Job, JobOptions, Payload

ReportType = Literal["analytics", "usage", "billing", "custom"]
"""What is reported on; `custom` goes by name."""
CustomReport = Literal["email-delivery"]
"""The reports of one's own. Each has its definition in `functions/generate_report/reports`."""

LONGEST = timedelta(days=5 * 366)
"""Of a period."""
_YEARS = range(1970, 3000)
_OF_ONE_MACHINE = frozenset({"localtime", "posixrules", "posix", "right"})
"""Files beside the zones that mean another zone elsewhere, or that Postgres does not have."""


def _unique(addresses: list[str]) -> list[str]:
    # Who is named twice means one person: no provider in use tells mailboxes apart by case.
    first: dict[str, str] = {}
    for address in addresses:
        first.setdefault(address.casefold(), address)
    return list(first.values())


def _known(name: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        if name.partition("/")[0] in _OF_ONE_MACHINE:
            raise LookupError(name)
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # of a path, of a folder, of a name that there is not
        raise ValueError(f"there is no time zone {name!r}; one is called Europe/Berlin, another UTC") from None
    return name


class DateRange(Payload):
    """A period: from its first moment up to, and without, its last."""

    from_: AwareDatetime = Field(alias="from")
    """The first moment, with a time zone."""
    to: AwareDatetime
    """The moment at which it ends, with a time zone."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.from_.year not in _YEARS or self.to.year not in _YEARS:
            raise ValueError(f"a period lies between the years {_YEARS[0]} and {_YEARS[-1]}")
        length = self.to.astimezone(UTC) - self.from_.astimezone(UTC)
        if length <= timedelta(0):
            raise ValueError("a period must begin before it ends")
        if length > LONGEST:
            raise ValueError(f"a period has at most {LONGEST.days:,} days, about five years")
        return self


class GenerateReport(Job):
    """Make a report over a period and mail it."""

    options = JobOptions(
        name="generate-report",
        retries=2,
        timeout=timedelta(seconds=180),
        memory=512,
        publishes=True,
        secrets=("JOBS_LINK_KEY",),
        grants=("s3:reports",),
    )

    report_type: ReportType
    """What it reports on."""
    name: CustomReport | None = None
    """Which report of one's own, when the type is `custom`."""
    date_range: DateRange
    """Over which period."""
    time_zone: Annotated[str, Field(max_length=64), AfterValidator(_known)] = "UTC"
    """Whose days and months they are: a name of the IANA's, e.g. `Europe/Berlin`."""
    organization_id: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    """Of which organization alone; only `usage` can be."""
    recipients: Annotated[list[Email], AfterValidator(_unique), Field(min_length=1, max_length=50)]
    """Who gets it, each once; up to 50."""
    format: Literal["pdf", "html", "json"]
    """The file's format."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.report_type == "custom" and self.name is None:
            raise ValueError("a custom report needs a name")
        if self.report_type != "custom" and self.name is not None:
            raise ValueError(f"only custom reports have a name, and this one's type is {self.report_type}")
        if self.organization_id is not None and self.report_type != "usage":
            raise ValueError(f"only usage can be reported of one organization, and this is {self.report_type}")
        return self
