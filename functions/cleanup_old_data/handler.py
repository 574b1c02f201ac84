"""Deletes what is past its time, bit by bit, so that nothing else waits for it; or counts what it would delete."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.run import Continue, Run
from qstash_jobs.serving import serve

LEAST_TIME_LEFT = timedelta(seconds=1)
STEPS_LEFT = 5
"""An attempt goes on while there is time for so many steps as long as its longest."""


def clean_up(payload: CleanupOldData, run: Run) -> JsonValue | Continue:
    """Step by step; what was deleted, or would be, is the result: `{"cutoff", "dryRun", "counts", "skipped"}`, and for
    files `"bytes"`."""
    # Nothing that only the work needs is loaded by a request that turns out to be forged.
    from functions.cleanup_old_data.cleanups import CLEANUPS
    from functions.cleanup_old_data.state import State

    if run.checkpoint is None:
        state = State(cutoff=datetime.now(UTC) - timedelta(days=payload.days_old))
    else:
        state = State.model_validate(run.checkpoint)
    targets = CLEANUPS[payload.cleanup_type]
    longest = timedelta(0)
    while (target := next((one for one in targets if one.name not in state.done), None)) is not None:
        began = time.monotonic()
        if target.step(run, state, dry_run=payload.dry_run):
            state.finish(target.name)
        run.progress(state.fraction(len(targets)), state.message(target.name))
        longest = max(longest, timedelta(seconds=time.monotonic() - began))
        if run.remaining < max(LEAST_TIME_LEFT, STEPS_LEFT * longest):
            return Continue(state.dump())
    said = {"cleanup_type": payload.cleanup_type, "counts": state.counts, "skipped": state.skipped}
    if payload.dry_run:
        run.logger.info("Old data counted", extra=said)
    else:
        run.logger.info("Old data deleted", extra=said)
    return state.result(dry_run=payload.dry_run)


handler = serve(CleanupOldData, clean_up)
