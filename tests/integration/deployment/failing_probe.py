"""A probe's function that fails."""

from __future__ import annotations

from qstash_jobs.jobs.probe import Probe
from qstash_jobs.run import Run
from qstash_jobs.serving import serve


def _fail(payload: Probe, run: Run) -> None:
    raise ZeroDivisionError("division by zero")


handler = serve(Probe, _fail)
