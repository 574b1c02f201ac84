"""What the model of the cost says that a stage has, it has."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from infra.aws.functions import folders_of, functions_of
from infra.cli.cost import workload
from infra.cost import model
from qstash_jobs.job import registry
from qstash_jobs.schedules import SCHEDULES
from tests.conftest import ROOT
from tests.infra.conftest import Stacks, Template

FUNCTIONS = functions_of(
    (one.options for one in registry.contracts()), folders_of(ROOT), (one.job.options.name for one in SCHEDULES)
)


def of_type(template: Template, kind: str) -> list[dict[str, Any]]:
    return [one["Properties"] for one in template["Resources"].values() if one["Type"] == kind]


@pytest.fixture(scope="module")
def watched(template: Template) -> Counter[str]:
    """The metrics that the alarms of each function watch, as CloudWatch bills them, by its name; those of the whole by
    an empty one."""
    found: Counter[str] = Counter()
    for alarm in of_type(template, "AWS::CloudWatch::Alarm"):
        name = alarm["AlarmName"].removeprefix("jobs-prod-")
        kind = name.rpartition("-")[2]
        of = name.removesuffix(f"-{kind}") if kind in {"failures", "crashes", "5xx", "throttles", "duration"} else ""
        found[of] += sum("MetricStat" in one for one in alarm.get("Metrics", ())) or 1
    return found


def test_the_fixed_lines_are_those_of_the_stacks(template: Template, stacks: Stacks, watched: Counter[str]) -> None:
    """Alarms by the metrics that they watch, one dashboard, and each secret."""
    assert watched.total() == workload().alarms
    assert len(of_type(template, "AWS::CloudWatch::Dashboard")) == 1
    secrets = [one for stack in stacks.values() for one in of_type(stack, "AWS::SecretsManager::Secret")]
    assert len(secrets) == workload().secrets


def test_a_function_s_alarms_are_counted_by_its_kind(watched: Counter[str]) -> None:
    """So a job type or a function more is counted too: one with a schedule, one without, and one that serves no type."""
    expected = {
        one.name: model.ALARM_METRICS_OF_A_WEB_FUNCTION
        if not one.is_job
        else model.ALARM_METRICS_OF_A_SCHEDULED_TYPE
        if one.is_scheduled
        else model.ALARM_METRICS_OF_A_TYPE
        for one in FUNCTIONS
    }
    assert watched == {**expected, "": model.ALARM_METRICS_OF_A_STAGE}
