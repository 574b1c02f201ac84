"""Every few minutes: moves on what nothing else would, and reports how the queue stands."""

from __future__ import annotations

from pydantic import JsonValue

from qstash_jobs.database import database
from qstash_jobs.executions import upkeep
from qstash_jobs.jobs.reconcile_jobs import ReconcileJobs
from qstash_jobs.run import Run
from qstash_jobs.serving import serve
from qstash_jobs.settings import settings
from qstash_jobs.telemetry import Telemetry


def reconcile_jobs(_payload: ReconcileJobs, run: Run) -> JsonValue:
    """One pass; its report is the job's result."""
    from qstash_jobs.recovery import reconcile  # brings QStash's client: not loaded by a request that is forged

    telemetry = Telemetry(ReconcileJobs.options.name, settings().metrics_namespace)
    report = reconcile(database().run, settings(), telemetry, lambda: run.remaining)
    depth = upkeep.depth(database().run)
    telemetry.gauge("QueueDepth", depth.waiting)
    telemetry.seconds("OldestPending", depth.oldest.total_seconds())
    telemetry.gauge("DeadLetters", report.dead_letters)
    for job_type, count in upkeep.enqueued(database().run, run.job_id).items():
        telemetry.enqueued(job_type, count)
    for trouble in report.troubles:
        run.logger.warning("Not everything could be reconciled", extra={"trouble": trouble})
    return {
        "freed": report.freed,
        "published": report.published,
        "lost": report.lost,
        "told": report.told,
        "deadLetters": report.dead_letters,
        "waiting": depth.waiting,
        "oldestSeconds": round(depth.oldest.total_seconds()),
        "troubles": list(report.troubles),
    }


handler = serve(ReconcileJobs, reconcile_jobs)
