"""How many messages the plan takes in a day, from one midnight (UTC) to the next, in real time."""

from __future__ import annotations

from infra.local.qstash.clock import Clock
from infra.local.qstash.errors import DailyLimitExceeded
from infra.local.qstash.settings import DAY_SECONDS, Limits
from infra.local.qstash.store import Store


class DailyQuota:
    """Counts every message, callbacks too; only what publishers and schedules bring is refused."""

    def __init__(self, store: Store, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limit = limits.messages_per_day
        self._ends_at = self._next_midnight()
        began_ms = (self._ends_at - DAY_SECONDS) * 1_000
        self._taken = int(store.read("SELECT count(*) FROM messages WHERE created_ms >= ?", (began_ms,))[0][0])

    def count(self) -> None:
        """One more message was taken."""
        self._begin_day()
        self._taken += 1

    def check(self, messages: int = 1) -> None:
        """Raises DailyLimitExceeded when there is no room for so many."""
        self._begin_day()
        if self._limit is not None and self._taken + messages > self._limit:
            raise DailyLimitExceeded(self._limit, max(0, self._limit - self._taken), self._ends_at)

    def _begin_day(self) -> None:
        if self._clock.wall() >= self._ends_at:
            self._ends_at, self._taken = self._next_midnight(), 0

    def _next_midnight(self) -> int:
        return (int(self._clock.wall()) // DAY_SECONDS + 1) * DAY_SECONDS
