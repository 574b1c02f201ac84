"""Move on what nothing else would: expired leases, unsent and lost messages, untold failures."""

from __future__ import annotations

from datetime import timedelta

from qstash_jobs.job import Job, JobOptions


class ReconcileJobs(Job):
    """Move on what nothing else would: expired leases, unsent and lost messages, untold failures."""

    options = JobOptions(
        name="reconcile-jobs",
        retries=0,
        timeout=timedelta(seconds=60),
        concurrency=1,
        publishes=True,
        secrets=("RESEND_API_KEY",),
        grants=("sns:notifications",),
    )
