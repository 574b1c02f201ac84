"""Periods and numbers in the words of a report, and the definitions that the contract names."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

from functions.generate_report import formats
from functions.generate_report.period import MOST_DAYS, Period
from functions.generate_report.reports import BUILT_IN, CUSTOM, definition_of
from qstash_jobs.errors import NonRetryable
from qstash_jobs.jobs.generate_report import CustomReport, GenerateReport, ReportType
from tests.unit.test_imports import imported_by


def period(begins: str, ends: str, zone: str = "Europe/Berlin") -> Period:
    """Of times on the wall."""
    local = ZoneInfo(zone)
    first, last = (datetime.fromisoformat(one).replace(tzinfo=local).astimezone(UTC) for one in (begins, ends))
    return Period(first, last, local)


@pytest.mark.parametrize(
    ("begins", "ends", "label"),
    [
        ("2026-03-01", "2026-04-01", "1 to 31 March 2026"),
        ("2026-03-29", "2026-03-30", "29 March 2026"),
        ("2026-02-28", "2026-03-07", "28 February to 6 March 2026"),
        ("2025-12-29", "2026-01-05", "29 December 2025 to 4 January 2026"),
        ("2026-03-03T09:00", "2026-03-03T17:30", "3 March 2026, 09:00 to 17:30"),
        ("2026-03-03T09:00", "2026-03-05", "3 March 2026, 09:00 to 5 March 2026, 00:00"),
    ],
)
def test_a_period_in_words(begins: str, ends: str, label: str) -> None:
    """The last day that is named is the last that belongs to it."""
    assert period(begins, ends).label == label


@pytest.mark.parametrize(
    ("begins", "ends", "before"),
    [
        ("2026-03-01", "2026-04-01", "2026-02-01"),
        ("2026-01-01", "2026-04-01", "2025-10-01"),
        ("2026-01-01", "2027-01-01", "2025-01-01"),
        ("2026-03-29", "2026-03-30", "2026-03-28"),
        ("2026-03-30", "2026-04-06", "2026-03-23"),
        ("2026-03-29T03:00", "2026-03-29T09:00", "2026-03-28T20:00"),
    ],
    ids=["a month", "a quarter", "a year", "a short day", "a week over a short day", "hours over a short night"],
)
def test_the_period_before(begins: str, ends: str, before: str) -> None:
    """Months are compared with months, days with days, and hours with hours that passed."""
    found = period(begins, ends).previous

    assert (found.begins, found.ends) == (period(before, ends).begins, period(begins, ends).begins)


def test_a_day_that_begins_at_one() -> None:
    """Where clocks go forward at midnight, the day's first moment is its midnight."""
    sao_paulo = period("2018-11-04T01:00", "2018-11-05", "America/Sao_Paulo")

    assert sao_paulo.label == "4 November 2018"
    assert sao_paulo.previous.label == "3 November 2018"


def test_days_and_months() -> None:
    """Up to a quarter by days, then by months; each day and month of the period once, and no other."""
    quarter, longer = period("2026-07-01", "2026-10-01"), period("2026-07-01", "2026-10-02")

    assert (quarter.grain, len(quarter.buckets)) == ("day", MOST_DAYS)
    assert (quarter.buckets[0], quarter.buckets[-1]) == (date(2026, 7, 1), date(2026, 9, 30))
    assert (longer.grain, longer.buckets) == (
        "month",
        [date(2026, 7, 1), date(2026, 8, 1), date(2026, 9, 1), date(2026, 10, 1)],
    )


@pytest.mark.parametrize(
    ("value", "unit", "currency", "words"),
    [
        (1_234_567, "count", None, "1,234,567"),
        (-3, "count", None, "−3"),
        (129_000, "money", "usd", "$1,290.00"),
        (-1200, "money", "eur", "−€12.00"),
        (3000, "money", "jpy", "¥3,000"),
        (1234, "money", "kwd", "KWD\u00a01.234"),
        (5, "money", "chf", "CHF\u00a00.05"),
        (0.1234, "percent", None, "12.3%"),
        (0.5, "change", None, "+50.0%"),
        (-0.042, "change", None, "−4.2%"),
        (0.0, "change", None, "0.0%"),
        (-0.0001, "change", None, "0.0%"),
        (0.0004, "change", None, "0.0%"),
        (None, "money", "usd", "–"),
        ("2026-03-01", "day", None, "1 Mar 2026"),
        ("2026-03", "month", None, "March 2026"),
        ("a\x00b\u202e \n c", "text", None, "a b c"),
        ("   ", "text", None, "–"),
        ("x" * 500, "text", None, "x" * 119 + "…"),
    ],
)
def test_values_in_words(value: float | str | None, unit: str, currency: str | None, words: str) -> None:
    """Each in its unit."""
    assert formats.show(value, unit, currency) == words


def test_each_name_of_the_contract_has_a_definition() -> None:
    """And no definition is without a name there: an app could not ask for it."""
    assert set(BUILT_IN) == set(get_args(ReportType)) - {"custom"}
    assert set(CUSTOM) == set(get_args(CustomReport))


def test_a_name_that_only_a_newer_contract_has() -> None:
    """Fails for good, and says which reports there are."""
    newer = GenerateReport.model_construct(report_type="custom", name="weather")

    with pytest.raises(NonRetryable, match=r"no report 'weather'; there are email-delivery"):
        definition_of(newer)


def test_a_forged_request_loads_no_typesetter() -> None:
    """Importing the function costs what a delivery needs before its job is known."""
    loaded = imported_by("import functions.generate_report.handler")

    assert {"typst", "jinja2", "sqlalchemy", "boto3", "saas"} & loaded == set()
