"""What the model of the cost takes for granted is so."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.probe.handler import probe
from infra.cost.model import METRICS_OF_A_TYPE, OWN_LOG_BYTES
from qstash_jobs.database import Database
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.serving import serve
from qstash_jobs.testing import Context, signed_event


def test_what_a_job_logs(database: Database, capfd: pytest.CaptureFixture[str]) -> None:
    """Three lines for one that completes, and as many bytes as the model says, give or take a tenth."""
    handler = serve(Probe, probe)
    handler(signed_event(Probe()), Context(timedelta(seconds=2)))
    capfd.readouterr()
    handler(signed_event(Probe()), Context(timedelta(seconds=2)))
    written = capfd.readouterr().out
    assert len(written.splitlines()) == 3
    assert len(written.encode()) == pytest.approx(OWN_LOG_BYTES, rel=0.1)
    in_the_line = ("JobsCompleted", "JobDuration", "QueueLatency")
    assert all(f'"{name}"' in written for name in in_the_line)
    assert len(in_the_line) + 1 == METRICS_OF_A_TYPE  # JobsEnqueued is counted by reconcile-jobs
