"""The reports that there are: a title for people, and the questions whose answers are its sections.

One of your own is a module here, with a function `sections`, a line in `CUSTOM`, and its name in `CustomReport` of the
contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from functions.generate_report.document import Section
from functions.generate_report.reports import analytics, billing, email_delivery, usage
from functions.generate_report.source import Source
from qstash_jobs.errors import NonRetryable
from qstash_jobs.jobs.generate_report import GenerateReport


@dataclass(frozen=True)
class Definition:
    """One report."""

    title: str
    """For people, in the mail's subject too."""
    sections: Callable[[Source], Iterable[Section]]
    """Asks, and says what was found."""


BUILT_IN = {
    "analytics": Definition("Analytics", analytics.sections),
    "usage": Definition("Usage", usage.sections),
    "billing": Definition("Billing", billing.sections),
}
"""By report type."""

CUSTOM = {
    "email-delivery": Definition("E-mail delivery", email_delivery.sections),
}
"""By name."""


def definition_of(payload: GenerateReport) -> tuple[str, Definition]:
    """The name of the report that was asked for, and what it is. Raises `NonRetryable` when there is none."""
    known = CUSTOM if payload.report_type == "custom" else BUILT_IN
    name = payload.name or payload.report_type
    if name not in known:
        raise NonRetryable(f"there is no report {name!r}; there are {', '.join(sorted(known))}")
    return name, known[name]
