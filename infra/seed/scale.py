"""How much there is, and over which time it came."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random

DAYS = 548
"""Eighteen months."""
HOUR = 3_600_000
MINUTE = 60_000
DAY = 24 * HOUR
"""In milliseconds, as everything here."""
GROWTH = 4.0
"""How many times as many people sign up, and things happen, a day in the end as in the beginning."""

_WEEK = (1.0, 1.08, 1.1, 1.05, 0.86, 0.28, 0.24)
"""Monday to Sunday."""
_HOURS = (1, 1, 1, 1, 1, 2, 4, 9, 18, 26, 29, 27, 22, 24, 28, 28, 25, 20, 13, 9, 8, 6, 4, 2)
"""UTC: most of it in Europe's working day, some of it in America's."""


@dataclass(frozen=True)
class Scale:
    """How many rows the tables get; the others follow from these."""

    users: int
    organizations: int
    activity_logs: int


SCALES = {
    "small": Scale(users=500, organizations=40, activity_logs=20_000),
    "large": Scale(users=1_000_000, organizations=50_000, activity_logs=5_000_000),
}


@dataclass(frozen=True)
class Period:
    """Eighteen months up to, and without, a day."""

    until: date

    @property
    def end(self) -> datetime:
        """The moment at which the data was taken."""
        return datetime.combine(self.until, time(), UTC)

    def day(self, number: int) -> datetime:
        """The beginning of a day, from 0."""
        return self.end - timedelta(days=DAYS - number)

    def weight(self, number: int) -> float:
        """How busy a day is: more from month to month, and little at the weekend."""
        return _WEEK[self.day(number).weekday()] * math.pow(GROWTH, number / DAYS)


def spread(total: int, weights: list[float]) -> Iterator[int]:
    """A whole number for each weight, in proportion, so that all of them make the total."""
    whole = math.fsum(weights)
    passed, given = 0.0, 0
    for number, weight in enumerate(weights, 1):
        passed += weight
        due = total if number == len(weights) else min(total, int(total * passed / whole))
        yield due - given
        given = due


_CLOCK = [f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}" for second in range(86_400)]
_SHARES = [hour for hour, share in enumerate(_HOURS) for _ in range(share)]


def moments(random: Random, count: int) -> list[int]:
    """Milliseconds since midnight at which as many things happen on one day, in order."""
    draw, shares = random.random, len(_SHARES)
    return sorted([int((_SHARES[int(draw() * shares)] + draw()) * HOUR) for _ in range(count)])


def clock(millisecond: int) -> str:
    """A moment of a day, as Postgres reads it behind the date."""
    second, rest = divmod(millisecond, 1000)
    return f"{_CLOCK[second]}.{rest:03}+00"
