"""What the model of the cost says that a stage has, it has."""

from __future__ import annotations

from typing import Any

from infra.cli.cost import ALARM_METRICS, workload
from tests.infra.conftest import Stacks, Template


def of_type(template: Template, kind: str) -> list[dict[str, Any]]:
    return [one["Properties"] for one in template["Resources"].values() if one["Type"] == kind]


def test_the_fixed_lines_are_those_of_the_stacks(template: Template, stacks: Stacks) -> None:
    """Alarms by the metrics that they watch, as CloudWatch bills them; one dashboard; and each secret."""
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    watched = [sum("MetricStat" in one for one in alarm.get("Metrics", ())) or 1 for alarm in alarms]
    assert sum(watched) == ALARM_METRICS
    assert len(of_type(template, "AWS::CloudWatch::Dashboard")) == 1
    secrets = [one for stack in stacks.values() for one in of_type(stack, "AWS::SecretsManager::Secret")]
    assert len(secrets) == workload().secrets
