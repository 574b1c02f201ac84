"""The contracts: their options' figures, and which payloads they take."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from qstash_jobs.job import Job, registry
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.jobs.export_data import ExportData
from qstash_jobs.jobs.generate_report import DateRange, GenerateReport
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.jobs.reconcile_jobs import ReconcileJobs

PERIOD = {"from": "2030-01-01T00:00:00Z", "to": "2030-02-01T00:00:00Z"}

VALID: dict[type[Job], dict[str, Any]] = {
    ProcessWebhook: {
        "source": "stripe",
        "name": None,
        "event": "invoice.paid",
        "eventId": "evt_1",
        "data": {"a": [1]},
        "rawBody": None,
        "signature": None,
    },
    ExportData: {
        "exportType": "users",
        "name": None,
        "format": "csv",
        "filters": {"organizationId": 7},
        "notifyEmail": "a@b.example",
    },
    GenerateReport: {
        "reportType": "usage",
        "name": None,
        "dateRange": PERIOD,
        "timeZone": "Europe/Berlin",
        "organizationId": 7,
        "recipients": ["a@b.example"],
        "format": "pdf",
    },
    CleanupOldData: {"cleanupType": "logs", "daysOld": 30, "dryRun": True},
    ReconcileJobs: {},
}


@pytest.mark.parametrize(
    ("job_type", "name", "retries", "timeout_seconds", "publishes", "sensitive"),
    [
        (ProcessWebhook, "process-webhook", 5, 60, True, True),
        (ExportData, "export-data", 2, 300, True, False),
        (GenerateReport, "generate-report", 2, 180, True, False),
        (CleanupOldData, "cleanup-old-data", 1, 600, False, False),
        (ReconcileJobs, "reconcile-jobs", 0, 60, True, False),
    ],
)
def test_the_options_are_those_of_the_plan(
    job_type: type[Job], name: str, retries: int, timeout_seconds: int, publishes: bool, sensitive: bool
) -> None:
    """Name on the wire, retries, timeout; who may publish, and whose payload people do not see."""
    options = job_type.options
    assert registry.get(name) is job_type
    assert (options.name, options.retries, options.timeout) == (name, retries, timedelta(seconds=timeout_seconds))
    assert (options.publishes, options.sensitive) == (publishes, sensitive)


@pytest.mark.parametrize("job_type", [CleanupOldData, ReconcileJobs])
def test_maintenance_runs_one_at_a_time(job_type: type[Job]) -> None:
    """Two at once would only wait for each other's rows."""
    assert job_type.options.concurrency == 1


@pytest.mark.parametrize("job_type", VALID)
def test_a_valid_payload_travels(job_type: type[Job]) -> None:
    """What the wire brings is what it says again."""
    wire = VALID[job_type]
    job = job_type.arrive(copy.deepcopy(wire))
    assert job.wire() == wire
    assert job_type.model_validate(wire) == job


@pytest.mark.parametrize(
    ("job_type", "field", "values"),
    [
        (ProcessWebhook, "eventId", [None, "evt_1"]),
        (ExportData, "format", ["csv", "json", "ndjson", "xlsx"]),
        (GenerateReport, "organizationId", [None, 1, 2**63 - 1]),
        (GenerateReport, "timeZone", ["UTC", "America/Argentina/Buenos_Aires"]),
        (GenerateReport, "format", ["pdf", "html", "json"]),
        (GenerateReport, "recipients", [["a@b.example"], ["a@b.example", "c@d.example"]]),
        (CleanupOldData, "cleanupType", ["old-sessions", "expired-invitations", "temp-files", "logs"]),
        (CleanupOldData, "daysOld", [7, 3_650]),
        (CleanupOldData, "dryRun", [True, False]),
    ],
)
def test_each_allowed_value_is_taken(job_type: type[Job], field: str, values: list[Any]) -> None:
    """All of them, and they come back as they were."""
    for value in values:
        assert job_type.model_validate(VALID[job_type] | {field: value}).wire()[field] == value


@pytest.mark.parametrize(
    ("job_type", "field", "values"),
    [
        (ProcessWebhook, "source", ["github", "Stripe", "", None]),
        (ProcessWebhook, "event", [None, 1]),
        (ProcessWebhook, "data", [None, [], "text"]),
        (ExportData, "exportType", ["user", "activity_logs", None]),
        (ExportData, "format", ["pdf", "CSV", None]),
        (ExportData, "filters", [[], "role=owner"]),
        (ExportData, "notifyEmail", ["", "nobody", "a@", "a@b@c.example", "a@b.example\nBcc: c@d.example", None]),
        (GenerateReport, "reportType", ["weather", None]),
        (GenerateReport, "recipients", [[], None, "a@b.example", ["nobody"], ["a@b.example", ""]]),
        (GenerateReport, "format", ["csv", None]),
        (GenerateReport, "dateRange", [None, [], {}, {"from": PERIOD["from"]}, {"to": PERIOD["to"]}]),
        (CleanupOldData, "cleanupType", ["sessions", "everything", None]),
        (CleanupOldData, "daysOld", [0, -1, 0.5, 6, 3_651, "many", None]),
        (CleanupOldData, "dryRun", ["perhaps", None]),
    ],
)
def test_any_other_value_fails_at_the_call(job_type: type[Job], field: str, values: list[Any]) -> None:
    """And on arrival."""
    for value in values:
        payload = VALID[job_type] | {field: value}
        for parse in (job_type.model_validate, job_type.arrive):
            with pytest.raises(ValidationError):
                parse(payload)


@pytest.mark.parametrize(
    ("job_type", "needed"),
    [
        (ProcessWebhook, {"source", "event", "data"}),
        (ExportData, {"exportType", "format", "notifyEmail"}),
        (GenerateReport, {"reportType", "dateRange", "recipients", "format"}),
        (CleanupOldData, {"cleanupType", "daysOld"}),
        (ReconcileJobs, set()),
    ],
)
def test_a_missing_field_fails_at_the_call(job_type: type[Job], needed: set[str]) -> None:
    """Those that have no default."""
    with_needed = {name: value for name, value in VALID[job_type].items() if name in needed}
    assert job_type.model_validate(with_needed)
    for name in needed:
        with pytest.raises(ValidationError, match=name):
            job_type.model_validate({key: value for key, value in with_needed.items() if key != name})


@pytest.mark.parametrize("job_type", VALID)
def test_an_unknown_field_fails_at_the_call_and_is_ignored_on_arrival(job_type: type[Job]) -> None:
    """A misspelling is found where it was made; a newer app can talk to an older function."""
    payload = VALID[job_type] | {"newer": 1}
    with pytest.raises(ValidationError, match="newer"):
        job_type.model_validate(payload)
    assert job_type.arrive(payload).wire() == VALID[job_type]


def test_nothing_is_deleted_by_a_dry_run_only_when_it_is_asked_for() -> None:
    """A cleanup without the word deletes."""
    assert CleanupOldData(cleanup_type="logs", days_old=7).dry_run is False


def test_only_logs_must_be_kept_for_a_week() -> None:
    """They say which jobs have run already; a session that ended yesterday says nothing."""
    assert CleanupOldData(cleanup_type="old-sessions", days_old=1).days_old == 1
    with pytest.raises(ValidationError, match="logs are kept for 7 days at least: they say which jobs have run"):
        CleanupOldData(cleanup_type="logs", days_old=1)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2030-02-01T00:00:00Z", "2030-01-01T00:00:00Z"),
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
        ("2030-01-01T01:00:00+01:00", "2030-01-01T00:00:00Z"),
        ("2030-01-01T00:00:00", "2030-02-01T00:00:00"),
        ("2030-01-01T00:00:00Z", "2030-02-01T00:00:00"),
        ("January", "February"),
    ],
)
def test_a_period_begins_before_it_ends(first: str, last: str) -> None:
    """On the time line, not on the clock's face; so each end needs a time zone."""
    with pytest.raises(ValidationError):
        GenerateReport.arrive(VALID[GenerateReport] | {"dateRange": {"from": first, "to": last}})


def test_a_period_may_be_made_in_python() -> None:
    """`from` is a keyword there: it is called `from_`, or by its name on the wire."""
    first, last = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 2, 1, tzinfo=UTC)
    period = DateRange(from_=first, to=last)
    assert period == DateRange.model_validate({"from": first, "to": last})
    assert period.model_dump(mode="json", by_alias=True) == PERIOD
