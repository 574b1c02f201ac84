"""The declared schedules, as data: what QStash is to create jobs of, and when."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from qstash_jobs.job import Job
from qstash_jobs.jobs.reconcile_jobs import ReconcileJobs


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One job, at the times of a cron expression (five fields) in a time zone."""

    id: str
    job: Job
    cron: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        ZoneInfo(self.timezone)
        if len(self.cron.split()) != 5:
            raise ValueError(f"{self.id}: a cron expression has five fields, not {self.cron!r}")


SCHEDULES = (
    # A tick a minute would be 1,440 messages a day, more than QStash's free plan has.
    Schedule(id="reconcile-jobs", job=ReconcileJobs(), cron="*/5 * * * *"),
)
