"""The job's own deadline, a little before Lambda's, so that there is time left to record how the attempt ended."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

from qstash_jobs.errors import JobTimeout

_SHARE = 0.05
_LEAST, _MOST = timedelta(milliseconds=250), timedelta(seconds=3)


def reserved(remaining: timedelta) -> timedelta:
    """The time that the handler does not get: a twentieth, at least 250 ms and at most 3 s."""
    return min(max(remaining * _SHARE, _LEAST), _MOST)


@contextmanager
def deadline(after: timedelta) -> Iterator[None]:
    """Raise `JobTimeout` inside the block when it runs longer than `after`.

    Works in the main thread, where Lambda runs handlers; elsewhere only the lease limits the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    armed = True

    def strike(_signal: int, _frame: FrameType | None) -> None:
        if armed:
            raise JobTimeout(f"the time is up: {after.total_seconds():.3g} s")

    before, began = signal.signal(signal.SIGALRM, strike), time.monotonic()
    outer_seconds, _ = signal.getitimer(signal.ITIMER_REAL)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(after.total_seconds(), 0.001))
        yield
    finally:
        armed = False  # first, so that a strike between here and the next line does no harm
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer_seconds:  # somebody else's alarm goes on, as if this block had not been
            signal.setitimer(signal.ITIMER_REAL, max(outer_seconds - (time.monotonic() - began), 0.001))
