"""The period of a report, in the report's time zone: its days and months, and the period before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from qstash_jobs.jobs.generate_report import GenerateReport

Grain = Literal["day", "month"]

MOST_DAYS = 92
"""Of a period that is shown day by day: a quarter. A longer one is shown by months."""


@dataclass(frozen=True)
class Period:
    """From its first moment up to, and without, its end; both in UTC."""

    begins: datetime
    ends: datetime
    zone: ZoneInfo

    @classmethod
    def of(cls, payload: GenerateReport) -> Period:
        """What was asked for."""
        asked = payload.date_range
        return cls(asked.from_.astimezone(UTC), asked.to.astimezone(UTC), ZoneInfo(payload.time_zone))

    @property
    def first_day(self) -> date:
        """The day in which it begins."""
        return self.begins.astimezone(self.zone).date()

    @property
    def last_day(self) -> date:
        """The day of its last moment."""
        return (self.ends - timedelta(microseconds=1)).astimezone(self.zone).date()

    @property
    def grain(self) -> Grain:
        """What its charts and tables count by."""
        return "day" if (self.last_day - self.first_day).days < MOST_DAYS else "month"

    @property
    def buckets(self) -> list[date]:
        """All its days, or the first day of each of its months."""
        return list(self._days() if self.grain == "day" else self._months())

    @property
    def previous(self) -> Period:
        """The period before it: as many calendar months when it has whole ones, else as many days when it has whole
        ones, else as much time."""
        if not (self._is_midnight(self.begins) and self._is_midnight(self.ends)):
            return Period(self.begins - (self.ends - self.begins), self.begins, self.zone)
        first, after = self.first_day, self.ends.astimezone(self.zone).date()
        if first.day == after.day == 1:
            months = (after.year - first.year) * 12 + after.month - first.month
            year, month = divmod(first.year * 12 + first.month - 1 - months, 12)
            return Period(self._midnight(date(year, month + 1, 1)), self.begins, self.zone)
        return Period(self._midnight(first - (after - first)), self.begins, self.zone)

    def _days(self) -> Iterator[date]:
        for number in range((self.last_day - self.first_day).days + 1):
            yield self.first_day + timedelta(days=number)

    def _months(self) -> Iterator[date]:
        month = self.first_day.replace(day=1)
        while month <= self.last_day:
            yield month
            month = (month + timedelta(days=32)).replace(day=1)

    def _midnight(self, day: date) -> datetime:
        # Where clocks skip midnight, this is the moment at which they do: the day's first.
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    def _is_midnight(self, moment: datetime) -> bool:
        return moment == self._midnight(moment.astimezone(self.zone).date())

    @property
    def label(self) -> str:
        """For people: `1 to 31 March 2026`, `28 February to 6 March 2026`, `3 March 2026, 09:00 to 17:30`."""
        begins, ends = self.begins.astimezone(self.zone), self.ends.astimezone(self.zone)
        if self._is_midnight(self.begins) and self._is_midnight(self.ends):
            return _days_label(self.first_day, self.last_day)
        if begins.date() == ends.date():
            return f"{_day(begins.date())}, {begins:%H:%M} to {ends:%H:%M}"
        return f"{_day(begins.date())}, {begins:%H:%M} to {_day(ends.date())}, {ends:%H:%M}"


def _day(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _days_label(first: date, last: date) -> str:
    if first == last:
        return _day(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {_day(last)}"
    if first.year == last.year:
        return f"{first.day} {MONTHS[first.month - 1]} to {_day(last)}"
    return f"{_day(first)} to {_day(last)}"


MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
"""In English, whatever the machine's locale is."""
