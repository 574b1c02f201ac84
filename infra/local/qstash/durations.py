"""Durations as they are written in QStash's headers (`1d10h30m`) and in HTTP response headers (`1m30.5s`, a date, 12)."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(?:[0-9]{1,12}[smhd])+")
_PART = re.compile(r"([0-9]+)([smhd])")

_GO_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0}
_GO_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")

LONGEST_TEXT = 64


def parse_seconds(text: str) -> int:
    """The seconds of a duration such as `90s`, `1d1h30m`. Raises ValueError."""
    if len(text) > LONGEST_TEXT or not _DURATION.fullmatch(text):
        raise ValueError(f"{text[:LONGEST_TEXT]!r} is not a duration such as 10s, 5m or 1d10h30m")
    return sum(int(amount) * _UNIT_SECONDS[unit] for amount, unit in _PART.findall(text))


def parse_go_seconds(text: str) -> float:
    """The seconds of a duration as Go prints it, such as `1m30.5s` or `250ms`. Raises ValueError."""
    if not text or len(text) > LONGEST_TEXT:
        raise ValueError(f"{text[:LONGEST_TEXT]!r} is not a duration")
    seconds, position = 0.0, 0
    while position < len(text):
        part = _GO_DURATION.match(text, position)
        if part is None:
            raise ValueError(f"{text!r} is not a duration")
        seconds += float(part[1]) * _GO_UNIT_SECONDS[part[2]]
        position = part.end()
    return seconds


def parse_wait_seconds(text: str, *, wall: float) -> float:
    """The wait that a response header asks for: seconds, an HTTP date (against `wall`), or a Go duration.

    A date in the past is no wait. Raises ValueError.
    """
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    if "," in text:
        date = parsedate_to_datetime(text)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - wall)
    return parse_go_seconds(text)
