"""Logs and metrics of a function: powertools' JSON lines and CloudWatch's embedded metrics, both on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from qstash_jobs.errors import ConfigurationError, SettingsUnreachable


class Telemetry:
    """What one function says of its deliveries.

    Metrics carry the job type as their only dimension, and ids never: CloudWatch bills each combination.
    """

    def __init__(self, function: str, namespace: str) -> None:
        self._function = function
        self._namespace = namespace
        self.logger = Logger(service=function, utc=True)
        self._metrics = Metrics(namespace=namespace, service=function)
        self._measured = False

    @contextmanager
    def delivery(self, request_id: str | None) -> Iterator[None]:
        """One invocation: nothing of the one before stays on its log lines, and its metrics are flushed at the end."""
        self.logger.clear_state()
        self.logger.append_keys(request_id=request_id)
        try:
            yield
        finally:
            if self._measured:  # powertools warns of an empty flush
                self._metrics.flush_metrics()
                self._measured = False

    def keep(self, **keys: Any) -> None:
        """Put these on every further log line of the delivery."""
        self.logger.append_keys(**keys)

    def count(self, name: str) -> None:
        """One more of these."""
        self._add(name, MetricUnit.Count, 1)

    def milliseconds(self, name: str, value: float) -> None:
        """How long something took."""
        self._add(name, MetricUnit.Milliseconds, value)

    def seconds(self, name: str, value: float) -> None:
        """How long something lasts."""
        self._add(name, MetricUnit.Seconds, value)

    def gauge(self, name: str, value: float) -> None:
        """How much of something there is now."""
        self._add(name, MetricUnit.Count, value)

    def rejected(self, reason: str) -> None:
        """A request that was not authentic, by reason."""
        self.logger.warning("Signature rejected", extra={"reason": reason})
        with single_metric("SignatureRejected", MetricUnit.Count, 1, namespace=self._namespace) as metric:
            metric.add_dimension("service", self._function)
            metric.add_dimension("reason", reason)

    def without_settings(self, error: ConfigurationError | SettingsUnreachable) -> None:
        """A setting is missing or malformed, or AWS did not give it."""
        message = "Setting missing or malformed" if isinstance(error, ConfigurationError) else "Settings unreachable"
        self.logger.error(message, extra={"reason": str(error)})
        self.count("SettingsUnreachable")

    def enqueued(self, job_type: str, count: int) -> None:
        """How many jobs of a type were enqueued, by whomever: under the job type, like all that is said of it."""
        with single_metric("JobsEnqueued", MetricUnit.Count, count, namespace=self._namespace) as metric:
            metric.add_dimension("service", job_type)

    def _add(self, name: str, unit: MetricUnit, value: float) -> None:
        self._metrics.add_metric(name, unit, value)
        self._measured = True
