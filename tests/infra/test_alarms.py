"""What wakes somebody: by which metric, from when on, and with which page to read then."""

from __future__ import annotations

import json
import re

import pytest

from infra.aws.alarms import Runbook
from infra.aws.functions import folders_of, functions_of
from infra.docs.pages import ROOT
from qstash_jobs.job import registry
from qstash_jobs.schedules import SCHEDULES
from tests.docs.test_completeness import heading
from tests.infra.conftest import Packages, Template, synthesised
from tests.infra.reading import Properties, lambda_named, of_type, text

FUNCTIONS = {one.name: one for one in functions_of((one.options for one in registry.contracts()), folders_of(ROOT))}
JOBS = {one.options.name for one in registry.contracts()}
SCHEDULED = {one.job.options.name for one in SCHEDULES}
STAGE = {
    "reconcile-jobs-silent", "dead-letters", "queue-depth", "oldest-pending", "signatures-rejected", "database-unreachable",
    "settings-unreachable", "webhooks-refused",
}  # fmt: skip
METRICS = set(
    re.findall(r"^\| `([A-Z]\w+)` \|", (ROOT / "docs/reference/metrics-and-logs.md").read_text(), re.MULTILINE)
)


def alarms(template: Template) -> dict[str, Properties]:
    """By their names, without the stage's."""
    return {
        one["AlarmName"].removeprefix("jobs-prod-"): one for one in of_type(template, "AWS::CloudWatch::Alarm").values()
    }


def test_each_function_has_its_alarms(template: Template) -> None:
    """And the stage has its own; there is no other."""
    expected = {f"{name}-{kind}" for name in FUNCTIONS for kind in ("throttles", "duration")}
    expected |= {f"{name}-{kind}" for name in JOBS for kind in ("failures", "crashes")}
    expected |= {f"{name}-5xx" for name in FUNCTIONS.keys() - JOBS}
    assert alarms(template).keys() == expected | STAGE


def test_every_alarm_tells_the_topic_and_names_its_runbook(template: Template) -> None:
    """When it begins and when it ends; the part of the page exists, and each part is some alarm's."""
    (topic,) = of_type(template, "AWS::SNS::Topic")
    headings = {heading(one) for one in re.findall(r"^## (.+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)}
    linked = set()
    for name, one in alarms(template).items():
        assert one["AlarmActions"] == one["OKActions"] == [{"Ref": topic}], name
        found = re.fullmatch(r".+\. What to do: docs/runbooks\.md#([a-z0-9-]+)", one["AlarmDescription"])
        assert found, one["AlarmDescription"]
        linked.add(found[1])
    assert linked == headings == {one.value for one in Runbook}


def test_the_runbooks_can_be_linked_where_people_read_them(built: Packages) -> None:
    """By the address that the context gives."""
    made = synthesised(built, docs_url="https://docs.example.com/jobs")["jobs-prod"]
    for one in of_type(made, "AWS::CloudWatch::Alarm").values():
        assert re.search(r" https://docs\.example\.com/jobs/runbooks\.md#[a-z0-9-]+$", one["AlarmDescription"])


def own_metrics(value: object) -> set[str]:
    """The metrics of our namespace that something asks for."""
    said = json.dumps(value)
    stated = re.findall(r'"MetricName": "(\w+)", "Namespace": "jobs/prod"', said)
    stated += re.findall(r'"Namespace": "jobs/prod"[^{}]*"MetricName": "(\w+)"', said)
    return {*stated, *re.findall(r"SELECT SUM\((\w+)\)", said)}


def test_alarms_go_by_metrics_that_exist(template: Template) -> None:
    """Each of our own is in the reference, which lists what the functions really write."""
    asked = own_metrics(list(alarms(template).values()))
    assert {"JobsFailed", "JobsCompleted", "DeadLetters", "SignatureRejected", "WebhooksRefused"} <= asked <= METRICS


@pytest.mark.parametrize("name", sorted(JOBS - SCHEDULED))
def test_jobs_that_run_often_are_told_of_by_their_rate(template: Template, name: str) -> None:
    """Of those that ended, in two periods of an hour, for some run only three times in it; nothing ended is nothing
    failed."""
    one = alarms(template)[f"{name}-failures"]
    (rate,) = [metric for metric in one["Metrics"] if metric["ReturnData"]]
    assert rate["Expression"] == (
        "IF((FILL(failed, 0) + FILL(completed, 0)) > 0, 100 * FILL(failed, 0) / (FILL(failed, 0) + FILL(completed, 0)), 0)"
    )
    stats = {metric["Id"]: metric["MetricStat"] for metric in one["Metrics"] if "MetricStat" in metric}
    assert {id_: stat["Metric"]["MetricName"] for id_, stat in stats.items()} == {
        "failed": "JobsFailed",
        "completed": "JobsCompleted",
    }
    for stat in stats.values():
        assert stat["Metric"]["Dimensions"] == [{"Name": "service", "Value": name}]
        assert (stat["Stat"], stat["Period"]) == ("Sum", 300)
    assert (one["Threshold"], one["ComparisonOperator"]) == (5, "GreaterThanThreshold")
    assert (one["DatapointsToAlarm"], one["EvaluationPeriods"], one["TreatMissingData"]) == (2, 12, "notBreaching")


@pytest.mark.parametrize("name", sorted(SCHEDULED))
def test_jobs_that_run_seldom_are_told_of_at_their_first_failure(template: Template, name: str) -> None:
    """A rate over five minutes would never be one."""
    one = alarms(template)[f"{name}-failures"]
    assert (one["MetricName"], one["Namespace"], one["Statistic"]) == ("JobsFailed", "jobs/prod", "Sum")
    assert one["Dimensions"] == [{"Name": "service", "Value": name}]
    assert (one["Threshold"], one["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")
    assert (one["DatapointsToAlarm"], one["EvaluationPeriods"]) == (1, 1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lambda_s_own_metrics_are_watched(template: Template, name: str) -> None:
    """Throttles, crashes or answers of 5xx, and the slowest runs against the timeout, each for this function."""
    id_, made = lambda_named(template, name)
    found = alarms(template)
    kinds = {"throttles": "Throttles", "duration": "Duration"}
    kinds |= {"crashes": "Errors"} if name in JOBS else {"5xx": "Url5xxCount"}
    for kind, metric in kinds.items():
        one = found[f"{name}-{kind}"]
        assert (one["Namespace"], one["MetricName"]) == ("AWS/Lambda", metric)
        assert one["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": id_}}]
    duration = found[f"{name}-duration"]
    assert (duration["ExtendedStatistic"], duration["Threshold"]) == ("p99", made["Timeout"] * 1000 * 0.8)


def test_a_silent_reconcile_jobs_is_told_of(template: Template) -> None:
    """Nothing is measured when it does not run, so nothing measured is what is wrong."""
    one = alarms(template)["reconcile-jobs-silent"]
    assert (one["MetricName"], one["Dimensions"]) == ("JobsCompleted", [{"Name": "service", "Value": "reconcile-jobs"}])
    assert (one["Threshold"], one["ComparisonOperator"], one["TreatMissingData"]) == (
        1,
        "LessThanThreshold",
        "breaching",
    )
    assert one["Period"] * one["EvaluationPeriods"] == 900
    assert one["DatapointsToAlarm"] == one["EvaluationPeriods"]


def test_a_new_stage_is_not_called_silent_before_anything_runs(template: Template) -> None:
    """The alarm is made once QStash has the schedules."""
    (silent,) = [
        one
        for one in template["Resources"].values()
        if one["Type"] == "AWS::CloudWatch::Alarm"
        and one["Properties"]["AlarmName"] == "jobs-prod-reconcile-jobs-silent"
    ]
    assert of_type(template, "Custom::QStashSchedule").keys() <= set(silent["DependsOn"])


def test_the_queue_is_watched_by_what_reconcile_jobs_measures(template: Template) -> None:
    """Dead letters, jobs that could run, and for how long the first of them could."""
    found = alarms(template)
    for name, metric, threshold in (
        ("dead-letters", "DeadLetters", 100),
        ("queue-depth", "QueueDepth", 1000),
        ("oldest-pending", "OldestPending", 600),
    ):
        one = found[name]
        assert (one["MetricName"], one["Statistic"], one["Threshold"]) == (metric, "Maximum", threshold)
        assert one["Dimensions"] == [{"Name": "service", "Value": "reconcile-jobs"}]


def test_signatures_are_counted_over_all_functions_but_not_those_of_scanners(template: Template) -> None:
    """Whoever finds an address can send nothing, or nonsense; a wrong key is ours to mend."""
    (metric,) = alarms(template)["signatures-rejected"]["Metrics"]
    assert metric["Expression"] == (
        'SELECT SUM(SignatureRejected) FROM SCHEMA("jobs/prod", reason, service) '
        "WHERE reason != 'missing' AND reason != 'malformed'"
    )
    assert metric["Period"] == 300


def dashboard(template: Template) -> str:
    """Its body as text."""
    (one,) = of_type(template, "AWS::CloudWatch::Dashboard").values()
    assert text(one["DashboardName"]) == "jobs-prod-${AWS::Region}"
    return text(one["DashboardBody"])


def test_the_dashboard_shows_each_function_and_the_queue(template: Template) -> None:
    """One row for the jobs, one for what waits, and one for each function with its timeout as a line."""
    said = dashboard(template)
    widgets = json.loads(said)["widgets"]
    titles = [one["properties"].get("title") for one in widgets]
    assert {"Enqueued", "Completed", "Failed", "Retried", "Latency until started, p95"} <= set(titles)
    assert {"Queue depth", "Dead letters", "Signatures rejected, by reason"} <= set(titles)
    headings = [one["properties"]["markdown"] for one in widgets if one["type"] == "text"]
    assert [one for one in headings if one.startswith("## ")] == [f"## {name}" for name in sorted(FUNCTIONS)]
    lines = [
        line["value"] for one in widgets for line in one["properties"].get("annotations", {}).get("horizontal", [])
    ]
    assert lines == [FUNCTIONS[name].timeout.total_seconds() * 1000 for name in sorted(FUNCTIONS)]
    assert {lambda_named(template, name)[0] for name in FUNCTIONS} <= set(re.findall(r"\$\{(\w+)\}", said))


def test_the_dashboard_shows_metrics_that_exist(template: Template) -> None:
    """Those of the functions by the job type, as they write them."""
    shown = set(re.findall(r'\["jobs/prod","(\w+)"', dashboard(template))) | own_metrics(dashboard(template))
    assert {"JobsEnqueued", "JobsCompleted", "QueueDepth", "SignatureRejected"} <= shown <= METRICS


def test_rows_of_the_dashboard_fit(template: Template) -> None:
    """CloudWatch's grid is 24 wide, and no widget hides another."""
    taken: set[tuple[int, int]] = set()
    for one in json.loads(dashboard(template))["widgets"]:
        cells = {(one["x"] + x, one["y"] + y) for x in range(one["width"]) for y in range(one["height"])}
        assert one["x"] + one["width"] <= 24
        assert not cells & taken
        taken |= cells
