"""Alarms: what should wake somebody, each with a link to what to do then (docs/runbooks.md).

They go by the metrics of the functions themselves (docs/reference/metrics-and-logs.md) and by Lambda's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.aws.context import Context
from infra.aws.functions import Function
from qstash_jobs.jobs.reconcile_jobs import ReconcileJobs

FIVE_MINUTES = Duration.minutes(5)
RECONCILE = ReconcileJobs.options.name
INGRESS = "webhook-ingress"

FAILURE_PERCENT = 5
DURATION_SHARE = 0.8
MOST_DEAD_LETTERS = 100
MOST_WAITING = 1000
LONGEST_PENDING = timedelta(minutes=10)
MOST_REJECTED = 5
MOST_UNREACHABLE = 5
MOST_REFUSED = 5
SELDOM = (2, 12)
"""Two periods of five minutes within an hour: a job type that runs three times an hour and always fails is told of, one
failure alone is not, and one that runs often is told of after ten minutes."""
SCANNERS = ("missing", "malformed")
"""Reasons of `SignatureRejected` that anybody on the internet can cause, and that say nothing of our keys."""


class Runbook(StrEnum):
    """The alarms, by the heading in docs/runbooks.md that says what to do."""

    FAILURES = "jobs-fail"
    CRASHES = "a-function-crashes"
    THROTTLES = "a-function-is-throttled"
    DURATION = "a-function-nears-its-timeout"
    SERVER_ERRORS = "a-web-function-answers-5xx"
    RECONCILE_SILENT = "reconcile-jobs-is-silent"
    DEAD_LETTERS = "dead-letters-pile-up"
    QUEUE_DEPTH = "jobs-pile-up"
    OLDEST_PENDING = "jobs-wait-too-long"
    SIGNATURES = "signatures-are-rejected"
    DATABASE = "the-database-is-unreachable"
    SETTINGS = "settings-are-unreachable"
    WEBHOOKS = "webhooks-are-refused"


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """Makes the alarms of a stage, all of which tell one topic."""

    context: Context
    topic: sns.ITopic

    def of_job(self, scope: Construct, function: lambda_.Function, of: Function) -> None:
        """Failures, crashes, throttles, and a duration near the timeout."""
        failed = self.metric("JobsFailed", of.name)
        if of.is_scheduled:
            self._alarm(
                scope,
                Runbook.FAILURES,
                f"{of.name}-failures",
                f"A job of {of.name} failed for good.",
                failed,
                threshold=1,
                datapoints=(1, 1),
            )
        else:
            ended = "(FILL(failed, 0) + FILL(completed, 0))"
            rate = cloudwatch.MathExpression(
                expression=f"IF({ended} > 0, 100 * FILL(failed, 0) / {ended}, 0)",
                using_metrics={"failed": failed, "completed": self.metric("JobsCompleted", of.name)},
                label="failed, of those that ended (%)",
                period=FIVE_MINUTES,
            )
            self._alarm(
                scope,
                Runbook.FAILURES,
                f"{of.name}-failures",
                f"More than {FAILURE_PERCENT} % of the jobs of {of.name} that ended failed for good.",
                rate,
                threshold=FAILURE_PERCENT,
                above=True,
                datapoints=SELDOM,
            )
        self._alarm(
            scope,
            Runbook.CRASHES,
            f"{of.name}-crashes",
            f"{of.name} ended without an answer: it was out of memory or time, or could not start.",
            function.metric_errors(period=FIVE_MINUTES, statistic="Sum"),
            threshold=1,
            datapoints=(1, 1) if of.is_scheduled else SELDOM,
        )
        self._of_any(scope, function, of)

    def of_web(self, scope: Construct, function: lambda_.Function, of: Function) -> None:
        """Answers of 5xx, crashes being among them, throttles, and a duration near the timeout."""
        self._alarm(
            scope,
            Runbook.SERVER_ERRORS,
            f"{of.name}-5xx",
            f"{of.name} answered 5xx: it crashed, or could not reach what it needs.",
            function.metric("Url5xxCount", period=FIVE_MINUTES, statistic="Sum"),
            threshold=1,
            datapoints=SELDOM,
        )
        self._of_any(scope, function, of)

    def _of_any(self, scope: Construct, function: lambda_.Function, of: Function) -> None:
        self._alarm(
            scope,
            Runbook.THROTTLES,
            f"{of.name}-throttles",
            f"Lambda refused calls of {of.name}: too many at once.",
            function.metric_throttles(period=FIVE_MINUTES, statistic="Sum"),
            threshold=1,
        )
        most = round(of.timeout.total_seconds() * 1000 * DURATION_SHARE)
        self._alarm(
            scope,
            Runbook.DURATION,
            f"{of.name}-duration",
            f"The slowest runs of {of.name} take more than {DURATION_SHARE:.0%} of the {of.timeout.total_seconds():g} s "
            "after which Lambda ends them.",
            function.metric_duration(period=FIVE_MINUTES, statistic="p99"),
            threshold=most,
            above=True,
            datapoints=(1, 1) if of.is_scheduled else SELDOM,
        )

    def of_stage(self, scope: Construct) -> cloudwatch.Alarm:
        """Those of the whole: nobody tidies up, dead letters, a queue that grows, keys that do not fit. The first of these
        goes off by itself where nothing runs, so it is returned, to be made once something does."""
        silent = self._alarm(
            scope,
            Runbook.RECONCILE_SILENT,
            "reconcile-jobs-silent",
            "No pass of reconcile-jobs has completed for 15 minutes; it is what finds lost jobs, and the source of other "
            "alarms.",
            self.metric("JobsCompleted", RECONCILE),
            threshold=1,
            below=True,
            datapoints=(3, 3),
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
        self._alarm(
            scope,
            Runbook.DEAD_LETTERS,
            "dead-letters",
            f"QStash's dead letter queue has {MOST_DEAD_LETTERS} entries or more.",
            self.metric("DeadLetters", RECONCILE, "Maximum"),
            threshold=MOST_DEAD_LETTERS,
        )
        self._alarm(
            scope,
            Runbook.QUEUE_DEPTH,
            "queue-depth",
            f"{MOST_WAITING:,} jobs or more could run and do not.",
            self.metric("QueueDepth", RECONCILE, "Maximum"),
            threshold=MOST_WAITING,
            datapoints=(3, 3),
        )
        self._alarm(
            scope,
            Runbook.OLDEST_PENDING,
            "oldest-pending",
            f"A job has waited for {LONGEST_PENDING.total_seconds() / 60:g} minutes though it could run.",
            self.metric("OldestPending", RECONCILE, "Maximum"),
            threshold=LONGEST_PENDING.total_seconds(),
        )
        genuine = " AND ".join(f"reason != '{one}'" for one in SCANNERS)
        self._alarm(
            scope,
            Runbook.SIGNATURES,
            "signatures-rejected",
            f"More than {MOST_REJECTED} requests within five minutes were signed, and not for us or not with our keys.",
            self._of_all("SignatureRejected", "reason, service", f" WHERE {genuine}"),
            threshold=MOST_REJECTED,
            above=True,
        )
        self._alarm(
            scope,
            Runbook.DATABASE,
            "database-unreachable",
            f"More than {MOST_UNREACHABLE} times within five minutes a function could not reach Postgres.",
            self._of_all("DatabaseUnreachable", "service"),
            threshold=MOST_UNREACHABLE,
            above=True,
        )
        self._alarm(
            scope,
            Runbook.SETTINGS,
            "settings-unreachable",
            f"More than {MOST_UNREACHABLE} times within five minutes a function could not read what it is set to.",
            self._of_all("SettingsUnreachable", "service"),
            threshold=MOST_UNREACHABLE,
            above=True,
        )
        self._alarm(
            scope,
            Runbook.WEBHOOKS,
            "webhooks-refused",
            f"More than {MOST_REFUSED} events within five minutes were signed by their provider, and could not be read or "
            "stored.",
            self.metric("WebhooksRefused", INGRESS),
            threshold=MOST_REFUSED,
            above=True,
        )
        return silent

    def _of_all(self, name: str, dimensions: str, where: str = "") -> cloudwatch.MathExpression:
        """The sum of a metric over all functions: an alarm takes no search, but a query of Metrics Insights."""
        namespace = self.context.names.metrics_namespace
        return cloudwatch.MathExpression(
            expression=f'SELECT SUM({name}) FROM SCHEMA("{namespace}", {dimensions}){where}',
            using_metrics={},
            label=name,
            period=FIVE_MINUTES,
        )

    def metric(self, name: str, service: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """A metric that a function writes."""
        return cloudwatch.Metric(
            namespace=self.context.names.metrics_namespace,
            metric_name=name,
            dimensions_map={"service": service},
            statistic=statistic,
            period=FIVE_MINUTES,
        )

    def _alarm(
        self,
        scope: Construct,
        runbook: Runbook,
        name: str,
        said: str,
        metric: cloudwatch.IMetric,
        *,
        threshold: float,
        above: bool = False,
        below: bool = False,
        datapoints: tuple[int, int] = (2, 3),
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> cloudwatch.Alarm:
        operators = cloudwatch.ComparisonOperator
        operator = operators.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
        if above:
            operator = operators.GREATER_THAN_THRESHOLD
        if below:
            operator = operators.LESS_THAN_THRESHOLD
        alarm = cloudwatch.Alarm(
            scope,
            f"Alarm{''.join(word.capitalize() for word in runbook.name.split('_'))}",
            alarm_name=f"{self.context.names.prefix}-{name}",
            alarm_description=f"{said} What to do: {self.context.docs_url}/runbooks.md#{runbook}",
            metric=metric,
            threshold=threshold,
            comparison_operator=operator,
            datapoints_to_alarm=datapoints[0],
            evaluation_periods=datapoints[1],
            treat_missing_data=missing,
        )
        tell = actions.SnsAction(self.topic)
        alarm.add_alarm_action(tell)
        alarm.add_ok_action(tell)
        return alarm
