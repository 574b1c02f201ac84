"""How durations, job ids and payloads are written on the command line."""

from __future__ import annotations

import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import typer

_LONGEST = timedelta(days=36_500)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration(text: str) -> timedelta:
    """`90s`, `10m`, `2h`, `1d12h`; a bare number is seconds. Raises `typer.BadParameter`."""
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", text):
        seconds = float(text)
    elif re.fullmatch(r"([0-9]{1,15}[smhdw])+", text):
        seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw])", text))
    else:
        raise typer.BadParameter(f"{text!r} is no duration; one looks like 90s, 10m, 2h or 1d12h")
    if seconds > _LONGEST.total_seconds():
        raise typer.BadParameter(f"{text!r} is too long; a duration is at most {_LONGEST.days:,} days")
    return timedelta(seconds=seconds)


def job_id(text: str) -> UUID:
    """Raises `typer.BadParameter`."""
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no job id; one looks like 019a3f1c-…, and `jobs list` shows them"
        ) from None


def payload(text: str) -> dict[str, object]:
    """JSON itself, `@file`, or `-` for standard input. Raises `typer.BadParameter`."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not text, not JSON, or beyond all measure
        raise typer.BadParameter(f"the payload is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise typer.BadParameter('the payload must be a JSON object, like \'{"mode": "succeed"}\'')
    return document
