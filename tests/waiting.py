"""Waiting for conditions, with patience for slow machines."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta


def until(
    condition: Callable[[], object],
    within: timedelta = timedelta(seconds=60),
    otherwise: Callable[[], str] = lambda: "the condition does not hold",
) -> None:
    """Return as soon as the condition holds. Raises AssertionError, saying how it stands, when it takes too long."""
    end = time.monotonic() + within.total_seconds()
    pause_seconds = 0.005
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within}: {otherwise()}")
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.3, 0.2)
