"""The CloudWatch dashboard of a stage: how the jobs fare, how each function does, and where work piles up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import Aws, Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.aws.alarms import FIVE_MINUTES, RECONCILE, Alarms
from infra.aws.served_function import ServedFunction

_WIDTH = 24
_HEIGHT = 6


def dashboard(scope: Construct, alarms: Alarms, functions: Sequence[ServedFunction]) -> cloudwatch.Dashboard:
    """One row for the business, one for the queue, and one for each function."""
    context = alarms.context
    jobs = [one.of.name for one in functions if one.of.is_job]
    rows: list[list[cloudwatch.IWidget]] = [
        [_title(f"# {context.names.prefix}\nWhat to do about alarms: `{context.docs_url}/runbooks.md`")],
        _business(alarms, jobs),
        _queue(alarms),
        *(row for one in functions for row in ([_title(f"## {one.of.name}")], _technical(one))),
    ]
    return cloudwatch.Dashboard(
        scope,
        "Dashboard",
        dashboard_name=f"{context.names.prefix}-{Aws.REGION}",  # CloudWatch has one list for all regions
        widgets=rows,
        default_interval=Duration.hours(3),
    )


def _business(alarms: Alarms, jobs: Sequence[str]) -> list[cloudwatch.IWidget]:
    def of_all(title: str, name: str, statistic: str = "Sum", unit: str = "jobs") -> cloudwatch.IWidget:
        return cloudwatch.GraphWidget(
            title=title,
            left=[alarms.metric(name, job, statistic).with_(label=job) for job in jobs],
            left_y_axis=cloudwatch.YAxisProps(min=0, label=unit, show_units=False),
            width=_WIDTH // 6,
            height=_HEIGHT,
        )

    return [
        of_all("Enqueued", "JobsEnqueued"),
        of_all("Completed", "JobsCompleted"),
        of_all("Failed", "JobsFailed"),
        of_all("Retried", "JobsRetried"),
        of_all("Latency until started, p95", "QueueLatency", "p95", "ms"),
        of_all("Duration, p95", "JobDuration", "p95", "ms"),
    ]


def _queue(alarms: Alarms) -> list[cloudwatch.IWidget]:
    def one(title: str, metrics: Sequence[cloudwatch.IMetric], unit: str) -> cloudwatch.IWidget:
        return cloudwatch.GraphWidget(
            title=title,
            left=list(metrics),
            left_y_axis=cloudwatch.YAxisProps(min=0, label=unit, show_units=False),
            width=_WIDTH // 4,
            height=_HEIGHT,
        )

    namespace = alarms.context.names.metrics_namespace
    by_reason = cloudwatch.MathExpression(
        expression=f'SELECT SUM(SignatureRejected) FROM SCHEMA("{namespace}", reason, service) GROUP BY reason',
        using_metrics={},
        label="",
        period=FIVE_MINUTES,
    )
    return [
        one("Queue depth", [alarms.metric("QueueDepth", RECONCILE, "Maximum")], "jobs"),
        one("Oldest pending", [alarms.metric("OldestPending", RECONCILE, "Maximum")], "s"),
        one("Dead letters", [alarms.metric("DeadLetters", RECONCILE, "Maximum")], "messages"),
        one("Signatures rejected, by reason", [by_reason], "requests"),
    ]


def _technical(one: ServedFunction) -> list[cloudwatch.IWidget]:
    function, of = one.function, one.of
    timeout = of.timeout.total_seconds() * 1000
    quarter: dict[str, Any] = {"width": _WIDTH // 4, "height": _HEIGHT}
    zero = cloudwatch.YAxisProps(min=0, show_units=False)
    return [
        cloudwatch.GraphWidget(
            title="Calls and errors",
            left=[function.metric_invocations(period=FIVE_MINUTES)],
            right=[
                function.metric_errors(period=FIVE_MINUTES),
                function.metric("Url5xxCount", period=FIVE_MINUTES, statistic="Sum", label="5xx"),
                function.metric("Url4xxCount", period=FIVE_MINUTES, statistic="Sum", label="4xx"),
            ],
            left_y_axis=zero,
            right_y_axis=zero,
            **quarter,
        ),
        cloudwatch.GraphWidget(
            title="Throttles and concurrency",
            left=[function.metric_throttles(period=FIVE_MINUTES)],
            right=[function.metric("ConcurrentExecutions", period=FIVE_MINUTES, statistic="Maximum")],
            left_y_axis=zero,
            right_y_axis=zero,
            **quarter,
        ),
        cloudwatch.GraphWidget(
            title=f"Duration against the timeout of {of.timeout.total_seconds():g} s",
            left=[function.metric_duration(period=FIVE_MINUTES, statistic=one, label=one) for one in ("p50", "p99")],
            left_annotations=[cloudwatch.HorizontalAnnotation(value=timeout, label="timeout", color="#d13212")],
            left_y_axis=cloudwatch.YAxisProps(min=0, label="ms", show_units=False),
            **quarter,
        ),
        # Lambda has no metric of cold starts; its report on each call has how long the start took.
        cloudwatch.LogQueryWidget(
            title="Cold starts",
            log_group_names=[one.log_group.log_group_name],
            query_lines=[
                "filter type = 'platform.report' and ispresent(record.metrics.initDurationMs)",
                "stats count(*) as starts, pct(record.metrics.initDurationMs, 95) as p95_ms by bin(1h)",
            ],
            view=cloudwatch.LogQueryVisualizationType.LINE,
            **quarter,
        ),
    ]


def _title(markdown: str) -> cloudwatch.IWidget:
    return cloudwatch.TextWidget(markdown=markdown, width=_WIDTH, height=2 if "\n" in markdown else 1)
