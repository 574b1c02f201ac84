"""An export that cannot be made is refused in the app, with a sentence that says what can."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from functions.export_data.datasets import CUSTOM, DATASETS
from functions.export_data.forms import names_of
from qstash_jobs.jobs.export_data import CUSTOM_FILTERS, FILTERS, ActivityLogFilters, ExportData, UserFilters


def ask(**fields: Any) -> ExportData:
    return ExportData(**{"export_type": "users", "format": "csv", "notify_email": "ada@example.com", **fields})


def test_filters_may_be_given_as_on_the_wire_or_typed() -> None:
    """Both are the same job, which reads back as it was stored."""
    wired = ask(filters={"organizationId": 7, "since": "2026-01-01"})
    typed = ask(filters=UserFilters(organization_id=7, since=datetime(2026, 1, 1, tzinfo=UTC)))

    assert wired == typed
    assert ExportData.arrive(wired.wire()) == wired


def test_without_filters_everything_is_exported() -> None:
    """Filters may be left out, or be nothing."""
    assert ask().filters == ask(filters=None).filters == ask(filters={}).filters == UserFilters()


@pytest.mark.parametrize("day", ["2026-01-01", date(2026, 1, 1)])
def test_a_day_is_its_first_moment_in_utc(day: object) -> None:
    """As people write it who do not think of time zones."""
    assert ask(filters={"since": day}).filters.since == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["+01:00", "-15:59", "+23:59", "-23:59"])
def test_a_time_may_have_any_zone(zone: str) -> None:
    """Postgres takes none beyond 15:59, so it is given the same moment in UTC."""
    given = datetime.fromisoformat(f"2026-01-01T00:00:00{zone}")

    assert ask(filters={"since": given}).wire()["filters"]["since"] == f"{given.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"filters": {"plan": "pro"}}, "users has no filter 'plan'; it has since, until, organizationId, status"),
        ({"filters": {"organizationId": "seven"}}, "organizationId: Input should be a valid integer"),
        ({"filters": {"organizationId": 0}}, "organizationId: Input should be greater than or equal to 1"),
        ({"filters": {"status": "'; DROP TABLE users; --"}}, "status: Input should be 'active' or 'suspended'"),
        ({"filters": {"since": "2026-13-01"}}, "since: month must be in 1..12"),
        ({"filters": {"since": "2026-01-01T00:00:00"}}, "since: Input should have timezone info"),
        ({"filters": {"since": "2026-02-01", "until": "2026-01-01"}}, "`since` must come before `until`"),
        ({"filters": {"since": "0001-01-01T00:00:00+05:00"}}, "since: in UTC, a time of the years 1 to 9999 is needed"),
        ({"filters": {"until": "9999-12-31T23:59:59-05:00"}}, "until: in UTC, a time of the years 1 to 9999 is needed"),
        ({"filters": {"organizationId": None}}, "organizationId is nothing: leave it out if the export is to be of all"),
        ({"filters": ["since"]}, "filters are an object"),
        ({"filters": ActivityLogFilters()}, "these are filters of another data set than users"),
        ({"export_type": "activity-logs", "filters": {"action": "Robert'); --"}}, "action: String should match pattern"),
        ({"export_type": "custom"}, "no data set is registered as None; registered are invoices"),
        ({"export_type": "custom", "name": "salaries"}, "no data set is registered as 'salaries'; registered are invoices"),
        ({"name": "invoices"}, "only a `custom` export has a name"),
        ({"export_type": "secrets"}, "Input should be 'users', 'organizations', 'activity-logs' or 'custom'"),
        ({"format": "pdf"}, "Input should be 'csv', 'json', 'ndjson' or 'xlsx'"),
        ({"notify_email": "ada"}, "valid email address"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_said(fields: dict[str, Any], says: str) -> None:
    """The error names what is wrong, and what there is instead."""
    with pytest.raises(ValidationError) as refused:
        ask(**fields)

    assert says in str(refused.value)


def test_a_filter_of_a_newer_app_is_not_taken_for_none() -> None:
    """Fields that an older function does not know are ignored, but a filter is not: it would export too much."""
    wire = ask().wire()

    ExportData.arrive(wire | {"priority": 1})
    with pytest.raises(ValidationError, match="users has no filter 'plan'"):
        ExportData.arrive(wire | {"filters": {"plan": "pro"}})


def test_a_typed_filter_of_nothing_is_refused_too() -> None:
    """A session without an organization must not export every organization's data."""
    with pytest.raises(ValidationError, match="organization_id is nothing: leave it out"):
        UserFilters(organization_id=None)


def test_each_data_set_has_filters_and_a_query() -> None:
    """What the app may ask for and what the function can make are the same."""
    assert set(FILTERS) == set(DATASETS)
    assert set(CUSTOM_FILTERS) == set(CUSTOM)


@pytest.mark.parametrize("dataset", [*DATASETS, *CUSTOM])
def test_columns_have_names_of_their_own(dataset: str) -> None:
    """Two of one name would be one in JSON; and those by which the next page is found are among them."""
    declared = {**DATASETS, **CUSTOM}[dataset]
    names = names_of(declared)

    assert len(set(names)) == len(names)
    assert {declared.made.name, declared.id.name} <= set(names)  # type: ignore[attr-defined]
