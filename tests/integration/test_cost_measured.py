"""What the model of the cost takes for granted is so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from infra.cost.model import METRICS_OF_A_TYPE, OWN_LOG_BYTES
from qstash_jobs.database import Database
from tests.conftest import ROOT

DELIVERIES = """
from datetime import timedelta
from functions.probe.handler import handler
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.testing import Context, signed_event
for number in range(2):
    handler(signed_event(Probe()), Context(timedelta(seconds=2)))
"""


def test_what_a_job_logs(database: Database) -> None:
    """Three lines for one that completes, and as many bytes as the model says, give or take a tenth."""
    done = subprocess.run(
        [sys.executable, "-c", DELIVERIES],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'shared'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines(keepends=True)
    assert len(lines) == 6
    warm = "".join(lines[3:])
    assert len(warm.encode()) == pytest.approx(OWN_LOG_BYTES, rel=0.1)
    in_the_line = ("JobsCompleted", "JobDuration", "QueueLatency")
    assert all(f'"{name}"' in warm for name in in_the_line)
    assert len(in_the_line) + 1 == METRICS_OF_A_TYPE  # JobsEnqueued is counted by reconcile-jobs
