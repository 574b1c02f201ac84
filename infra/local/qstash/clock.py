"""Time, as the server lives it.

There are two clocks. *Wall* time is everybody's: records, JWT times, timeouts, and a `Retry-After` that a destination
gave. The *timeline* starts at wall time and runs `scale` times as fast, and can be moved forward: delays, backoff, cron,
rate periods and the deduplication window are measured on it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_SLEEP_SECONDS = 30.0
"""A timer is set anew after so long, because a suspended machine's timers fall behind its clock."""

Action = Callable[[], object]

ENTRIES_PER_TURN = 256
"""Due entries handled before other work of the event loop gets its turn."""


@dataclass(frozen=True)
class Anchor:
    """The timeline showed `timeline` when the wall clock showed `wall` (both unix seconds), running at `scale`."""

    timeline: float
    wall: float
    scale: float

    def at(self, wall: float) -> float:
        return self.timeline + (wall - self.wall) * self.scale


class Clock:
    """Both clocks. After a restart the timeline goes on from where `anchor` puts it, so no wait begins again."""

    def __init__(self, scale: float, anchor: Anchor | None = None) -> None:
        wall = time.time()
        self.anchor = Anchor(anchor.at(wall) if anchor else wall, wall, scale)

    @property
    def scale(self) -> float:
        return self.anchor.scale

    def wall(self) -> float:
        """Unix seconds."""
        return time.time()

    def now(self) -> float:
        """Unix seconds on the timeline."""
        return self.anchor.at(time.time())

    def wall_of(self, timeline: float) -> float:
        """The wall time at which the timeline shows, or showed, this."""
        return self.anchor.wall + (timeline - self.anchor.timeline) / self.anchor.scale

    def advance(self, seconds: float) -> None:
        """Move the timeline forward at once."""
        wall = time.time()
        self.anchor = Anchor(self.anchor.at(wall) + seconds, wall, self.scale)


class Agenda:
    """What is to happen at which time of one clock. One timer, for the earliest entry: with none, nothing runs."""

    def __init__(self, now: Callable[[], float], rate: float = 1.0) -> None:
        """`rate`: how many seconds of this clock pass in one real second."""
        self._now = now
        self._rate = rate
        self._entries: list[tuple[float, int, Action]] = []
        self._order = itertools.count()
        self._timer: asyncio.Handle | None = None
        self._timer_due = float("inf")

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, due: float, action: Action) -> None:
        """Call `action` when the clock shows `due`. An entry stays: an action that no longer applies does nothing."""
        heapq.heappush(self._entries, (due, next(self._order), action))
        if due < self._timer_due:
            self.wake()

    def wake(self) -> None:
        """Look at the clock again: it was moved, or there is an earlier entry."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = self._entries[0][0] if self._entries else float("inf")
        self._timer = None
        if self._entries:
            sleep = max(0.0, self._timer_due - self._now()) / self._rate
            self._timer = asyncio.get_running_loop().call_later(min(sleep, LONGEST_SLEEP_SECONDS), self._run)

    def close(self) -> None:
        """Forget every entry."""
        self._entries.clear()
        self.wake()

    def _run(self) -> None:
        now = self._now()
        # Entries that actions add are kept from setting timers of their own: one is set below.
        self._timer_due = float("-inf")
        try:
            for _ in range(ENTRIES_PER_TURN):
                if not self._entries or self._entries[0][0] > now:
                    break
                heapq.heappop(self._entries)[2]()
        finally:
            self.wake()
