"""Ends in whichever way is asked for; outside the desk every probe succeeds."""

from __future__ import annotations

import os
import time
from datetime import timedelta

from pydantic import JsonValue

from qstash_jobs.errors import NonRetryable, Retry
from qstash_jobs.jobs.probe import Probe, ProbeMode
from qstash_jobs.run import Continue, Run
from qstash_jobs.serving import serve
from qstash_jobs.settings import settings

PARTS = 3


class ProbeFailed(Exception):
    """It was asked to."""


def probe(payload: Probe, run: Run) -> JsonValue | Continue:
    """Work for as long as asked, then end as asked."""
    mode = payload.mode if settings().probe else ProbeMode.SUCCEED
    time.sleep(min(payload.seconds, run.remaining.total_seconds() * 2))
    match mode:
        case ProbeMode.FAIL_ALWAYS:
            raise ProbeFailed("asked to fail always")
        case ProbeMode.FAIL_ONCE if run.attempt == 1:
            raise ProbeFailed("asked to fail once")
        case ProbeMode.NOT_RETRYABLE:
            raise NonRetryable("asked to fail for good")
        case ProbeMode.RETRY_LATER if run.attempt == 1:
            raise Retry(timedelta(seconds=1), "asked for a later attempt")
        case ProbeMode.TIME_OUT:
            time.sleep(run.remaining.total_seconds() + 60)
        case ProbeMode.CRASH_ALWAYS:
            os._exit(1)
        case ProbeMode.CRASH_ONCE if run.attempt == 1:
            os._exit(1)
        case ProbeMode.CONTINUE:
            return _next_part(run)
        case _:
            run.progress(1.0, "done")
    return {"attempt": run.attempt}


def _next_part(run: Run) -> JsonValue | Continue:
    done = run.checkpoint + 1 if isinstance(run.checkpoint, int) else 1
    run.progress(done / PARTS, f"part {done} of {PARTS}")
    return {"attempt": run.attempt} if done == PARTS else Continue(done)


handler = serve(Probe, probe)
