"""How much of each thing a month of jobs uses, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

from infra.cost import prices
from infra.cost.prices import Price

HOURS = 730.0
"""In a month, as AWS counts."""
DAYS = 365 / 12

SECRETS_READ = 2
"""By each environment: the signing keys and the database's DSN. Those that publish read the token besides."""
TTL_SECONDS = 300.0
"""How long a secret's value is used: `qstash_jobs.secrets.TTL_SECONDS`."""

OWN_LOG_BYTES = 1_064
"""What a function writes of one job that completes: two log lines and one of metrics, measured by
`tests/integration/test_cost_measured.py`. Those of a handler of yours come on top."""
LOG_BYTES = OWN_LOG_BYTES + 3 * 26 + 560
"""CloudWatch counts 26 bytes more for each line, and Lambda adds two lines of about 280 bytes."""

METRICS_OF_A_TYPE = 4
"""JobsCompleted, JobDuration, QueueLatency and JobsEnqueued; others are billed in the hours in which they occur."""
METRICS_OF_A_STAGE = 3
"""QueueDepth, OldestPending and DeadLetters, of `reconcile-jobs`."""

ALARM_METRICS_OF_A_TYPE = 5
"""Two for the share that failed, and one each for crashes, throttles and the duration."""
ALARM_METRICS_OF_A_SCHEDULED_TYPE = 4
"""One failure is told, so no share is counted."""
ALARM_METRICS_OF_A_WEB_FUNCTION = 3
"""Of what serves no job type: 5xx, throttles and the duration."""
ALARM_METRICS_OF_A_STAGE = 8
"""Each alarm of the whole watches one."""

KEPT_DAYS = 7
"""How long a file is kept, before the bucket deletes it."""

UPKEEP_MS = 100.0
UPKEEP_MB = 512
"""For a firing of `reconcile-jobs`, a clean-up, or a failure callback: longer than most."""

EGRESS_BYTES = 6_000
"""Through a NAT gateway, in both directions, for one attempt: a delivery's Postgres is inside, so this is TLS with QStash,
Secrets Manager and one API."""

Architecture = Literal["arm64", "x86_64"]
Plan = Literal["free", "payg"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A month of jobs, and where they run."""

    jobs: float = 1_000_000
    duration_ms: float = 200.0
    """Of one attempt on a warm environment, as Lambda bills it."""
    memory_mb: int = 512
    ephemeral_mb: int = prices.LAMBDA_FREE_STORAGE_MB
    """Of /tmp."""
    architecture: Architecture = "arm64"
    retry_rate: float = 0.02
    """Attempts beyond the first, for each job."""
    failure_rate: float = 0.001
    """The share of jobs that fail for good: each is one more message, the failure callback."""
    cold_rate: float = 0.01
    """The share of attempts that start an environment."""
    cold_ms: float = 900.0
    """What such a start adds."""
    plan: Plan = "payg"
    firings: float = 0.0
    """Of the schedules, in the month: each is a job besides."""
    types: int = 1
    """Job types that run: their metrics are billed, whatever they do."""
    alarms: int = 0
    """Metrics that alarms watch."""
    secrets: int = 8
    environments: float = 0.0
    """That are warm all the time; at least one for each job type."""
    log_bytes: float = LOG_BYTES
    files: float = 0.0
    """That jobs write to S3."""
    file_mb: float = 1.0
    aurora_acu: float = 0.0
    """The capacity on average; 0 for a Postgres elsewhere."""
    aurora_gb: float = 10.0
    proxy: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name} is a number, 0 or more, not {value}")
        for name in ("failure_rate", "cold_rate"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name} is a share, from 0 to 1")

    @property
    def attempts(self) -> float:
        """Of the jobs themselves."""
        return self.jobs * (1 + self.retry_rate)

    @property
    def upkeep(self) -> float:
        """Invocations besides: firings of schedules, and failure callbacks."""
        return self.firings + self.jobs * self.failure_rate

    @property
    def invocations(self) -> float:
        """Of all functions; and QStash's messages, each of which is one."""
        return self.attempts + self.upkeep

    @property
    def gb_seconds(self) -> float:
        """Of Lambda."""
        return (self._busy_ms * self.memory_mb + self.upkeep * UPKEEP_MS * UPKEEP_MB) / 1000 / 1024

    @property
    def storage_gb_seconds(self) -> float:
        """Of /tmp, beyond what is free."""
        return self._busy_ms * max(0, self.ephemeral_mb - prices.LAMBDA_FREE_STORAGE_MB) / 1000 / 1024

    @property
    def _busy_ms(self) -> float:
        return self.attempts * (self.duration_ms + self.cold_rate * self.cold_ms)

    @property
    def warm(self) -> float:
        """Environments on average: those that are busy, and one for each job type."""
        busy = self.attempts * self.duration_ms / 1000 / (HOURS * 3600)
        return max(self.environments, float(self.types), busy)

    @property
    def secret_calls(self) -> float:
        """Each warm environment reads its secrets anew when they have become old, and a new one at once."""
        return SECRETS_READ * (self.warm * HOURS * 3600 / TTL_SECONDS + self.attempts * self.cold_rate)


@dataclass(frozen=True)
class Item:
    """One line of the bill."""

    name: str
    quantity: float
    price: Price
    formula: str

    @property
    def list_usd(self) -> float:
        return self.price.list_usd(self.quantity)

    @property
    def due_usd(self) -> float:
        """After what is free each month in an account that has nothing else."""
        return self.price.due_usd(self.quantity)


def alarm_metrics(types: int, scheduled: int, web: int) -> int:
    """The metrics that the alarms of a stage watch: of so many job types, of which some have a schedule, and so many
    functions that serve none."""
    return (
        (types - scheduled) * ALARM_METRICS_OF_A_TYPE
        + scheduled * ALARM_METRICS_OF_A_SCHEDULED_TYPE
        + web * ALARM_METRICS_OF_A_WEB_FUNCTION
        + ALARM_METRICS_OF_A_STAGE
    )


def bill(work: Workload) -> list[Item]:
    """Every line that is not nothing."""
    return [item for item in _items(work) if item.quantity > 0]


def exceeds_free_plan(work: Workload) -> bool:
    """Whether QStash's free plan does not take so many messages, spread evenly over the month."""
    return work.invocations / DAYS > prices.QSTASH_FREE_PER_DAY


def _items(work: Workload) -> Iterator[Item]:
    messages = 0.0 if work.plan == "free" else work.invocations
    attempts = "jobs × (1 + retries)"
    yield Item("QStash messages", messages, prices.QSTASH_MESSAGE, f"{attempts} + failures + firings")
    yield Item("Lambda requests", work.invocations, prices.LAMBDA_REQUEST, "one for each message")
    compute = prices.LAMBDA_ARM64 if work.architecture == "arm64" else prices.LAMBDA_X86_64
    yield Item(
        f"Lambda compute, {work.architecture}",
        work.gb_seconds,
        compute,
        "attempts × (duration + cold share × cold start) × memory",
    )
    yield Item(
        "Lambda storage",
        work.storage_gb_seconds,
        prices.LAMBDA_STORAGE,
        f"attempts × (duration + cold share × cold start) × /tmp beyond {prices.LAMBDA_FREE_STORAGE_MB} MB",
    )
    yield Item(
        "CloudWatch logs", work.invocations * work.log_bytes / 1e9, prices.LOGS_INGESTED, "messages × bytes of a job"
    )
    metrics = work.types * METRICS_OF_A_TYPE + METRICS_OF_A_STAGE
    yield Item("CloudWatch metrics", metrics, prices.METRIC, f"job types × {METRICS_OF_A_TYPE} + {METRICS_OF_A_STAGE}")
    yield Item("CloudWatch alarms", work.alarms, prices.ALARM, "metrics that alarms watch")
    yield Item("CloudWatch dashboard", 1, prices.DASHBOARD, "one for each stage")
    yield Item("Secrets", work.secrets, prices.SECRET, "one for each concern")
    yield Item(
        "Secrets, calls",
        work.secret_calls,
        prices.SECRET_CALL,
        f"{SECRETS_READ} × (warm environments × month ÷ {TTL_SECONDS / 60:g} min + cold starts)",
    )
    stored = work.files * work.file_mb / 1000 * KEPT_DAYS / DAYS
    yield Item("S3 storage", stored, prices.S3_STORED, f"files × size × {KEPT_DAYS} days")
    yield Item("S3 writes", work.files, prices.S3_PUT, "one for each file")
    yield Item("S3 reads", work.files, prices.S3_GET, "one for each file")
    yield from _aurora(work)


def _aurora(work: Workload) -> Iterator[Item]:
    if not work.aurora_acu:
        return
    yield Item("Aurora capacity", work.aurora_acu * HOURS, prices.AURORA_CAPACITY, "average capacity × month")
    yield Item("Aurora storage", work.aurora_gb, prices.AURORA_STORED, "what is stored")
    if work.proxy:
        units = max(work.aurora_acu, float(prices.PROXY_LEAST_ACU))
        yield Item("RDS Proxy", units * HOURS, prices.PROXY, f"capacity, at least {prices.PROXY_LEAST_ACU} × month")
    yield Item("NAT gateway", HOURS, prices.NAT_HOUR, "one × month")
    yield Item("NAT address", HOURS, prices.PUBLIC_IPV4_HOUR, "one × month")
    yield Item("NAT traffic", work.invocations * EGRESS_BYTES / 1e9, prices.NAT_PROCESSED, "messages × bytes of a job")
