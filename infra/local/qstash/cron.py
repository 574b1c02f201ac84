"""Cron expressions: five fields, in UTC or in the zone that a `CRON_TZ=` prefix names.

Next times are sought among local times without a zone and then placed in it, so a local time that does not exist is
skipped and one that repeats runs once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

ZONE_PREFIX = "CRON_TZ="
FIELDS = 5
LONGEST_TEXT = 256

_RANGE_OF_ONE = re.compile(r"(?<![\w-])0*(\w+)-0*\1/0*[1-9][0-9]*(?![\w-])", re.IGNORECASE)
"""A range with a step that has one value only, such as 5-5/10: CronSim would take it for 5/10, a range up to the end."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    text: str
    """As it was written, without surrounding space."""
    fields: str
    zone: ZoneInfo

    def after(self, moment: float) -> float:
        """The first time later than `moment`, both unix seconds. Raises ValueError if there is none in 50 years."""
        local = datetime.fromtimestamp(moment, self.zone).replace(tzinfo=None)
        for candidate in _local_times(self.fields, local):
            placed = candidate.replace(tzinfo=self.zone)
            exists = placed.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) == candidate
            if exists and placed.timestamp() > moment:
                return placed.timestamp()
        raise ValueError("it never comes")


def parse_cron(text: str, *, now: float) -> Cron:
    """Raises ValueError with the reason if `text` is no cron expression that comes after `now`."""
    text = text.strip()
    if len(text) > LONGEST_TEXT or not text.isascii():
        raise ValueError("it is too long, or not ASCII")
    zone, fields = "UTC", text
    if text.startswith(ZONE_PREFIX):
        zone, _, fields = text.removeprefix(ZONE_PREFIX).partition(" ")
    if len(fields.split()) != FIELDS:
        raise ValueError(f"it must have {FIELDS} fields")
    cron = Cron(text, _RANGE_OF_ONE.sub(r"\1", fields), _zone(zone))
    cron.after(now)
    return cron


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, LookupError, ValueError) as error:
        raise ValueError(f"the time zone {name[:64]!r} is not known") from error


def _local_times(fields: str, after: datetime) -> Iterator[datetime]:
    try:
        yield from CronSim(fields, after)
    except (CronSimError, AssertionError, LookupError, TypeError, RuntimeError) as error:
        # CronSim answers some malformed fields with an assertion or a type error of its own.
        raise ValueError(str(error) or "a field is malformed") from error
    except (OverflowError, RecursionError) as error:
        raise ValueError("it never comes") from error
