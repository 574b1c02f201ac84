"""The declared schedules, as data: what QStash is to create jobs of, and when."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from qstash_jobs.job import Job
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
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
    Schedule(id="cleanup-old-sessions", job=CleanupOldData(cleanup_type="old-sessions", days_old=30), cron="0 2 * * *"),
    Schedule(
        id="cleanup-expired-invitations",
        job=CleanupOldData(cleanup_type="expired-invitations", days_old=7),
        cron="0 3 * * 0",
    ),
    # Sooner than the bucket's own lifecycle, which takes what this leaves: it says what went, and takes the rows too.
    Schedule(id="cleanup-temp-files", job=CleanupOldData(cleanup_type="temp-files", days_old=7), cron="30 3 * * *"),
    Schedule(id="cleanup-logs", job=CleanupOldData(cleanup_type="logs", days_old=90), cron="0 4 * * *"),
    # A tick a minute would be 1,440 messages a day, more than the 1,000 of QStash's free plan.
    Schedule(id="reconcile-jobs", job=ReconcileJobs(), cron="*/5 * * * *"),
)
"""What always runs: 292 messages a day at most, and five of the ten schedules that the free plan has.
Source of its limits: https://upstash.com/pricing/qstash"""
