"""How reports write numbers, days and names for people. In English, whatever the machine's locale is."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

from functions.generate_report.document import Cell, Number
from functions.generate_report.period import MONTHS
from saas.money import decimals_of

NOTHING = "–"
LONGEST_NAME = 120
"""Characters of a text that somebody wrote; of more, the rest is left out."""

_SYMBOLS = {"eur": "€", "gbp": "£", "jpy": "¥", "usd": "$"}

_GAPS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufffe\uffff]+")


def name(value: str, longest: int = LONGEST_NAME) -> str:
    """A text on one line, cut to a length, without what reverses text or what no XML may hold."""
    line = _GAPS.sub(" ", value).strip()
    if len(line) <= longest:
        return line
    end = longest - 1
    while end > 1 and unicodedata.combining(line[end]):  # an accent stays with its letter
        end -= 1
    return line[:end].rstrip() + "…"


def number(value: Number, decimals: int = 0) -> str:
    """`1,234`, `−0.5`, with a minus sign and not a hyphen."""
    return f"{value:,.{decimals}f}".replace("-", "−")


def money(amount: Number, currency: str) -> str:
    """Of smallest units: `$1,290.00`, `−€12.00`, `CHF 29.50`."""
    decimals = decimals_of(currency)
    written = f"{abs(Decimal(amount).scaleb(-decimals)):,.{decimals}f}"
    sign = "−" if amount < 0 else ""
    return f"{sign}{_SYMBOLS.get(currency) or currency.upper() + chr(0xA0)}{written}"


def percent(value: Number, *, signed: bool = False) -> str:
    """`12.3%`, and signed `+12.3%`."""
    written = number(value * 100, 1)
    if written in {"0.0", "−0.0"}:  # what rounds to nothing has no sign
        return "0.0%"
    plus = "+" if signed and value > 0 else ""
    return f"{plus}{written}%"


def day(value: str) -> str:
    """`2026-03-01` as `1 Mar 2026`."""
    year, month, of_month = value.split("-")
    return f"{int(of_month)} {MONTHS[int(month) - 1][:3]} {year}"


def month(value: str) -> str:
    """`2026-03` as `March 2026`."""
    year, of_year = value.split("-")
    return f"{MONTHS[int(of_year) - 1]} {year}"


def show(value: Cell, unit: str, currency: str | None = None) -> str:
    """A value of a document, in its unit, as people read it."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return {"day": day, "month": month}.get(unit, name)(value) or NOTHING
    match unit:
        case "money":
            assert currency is not None, "money is of a currency"
            return money(value, currency)
        case "percent":
            return percent(value)
        case "change":
            return percent(value, signed=True)
        case _:
            return number(value)


def short(value: Number, unit: str, currency: str | None = None) -> str:
    """For an axis: `1.5k`, `$20k`, `40%`."""
    if unit == "percent":
        return f"{number(value * 100)}%"
    symbol = ""
    if unit == "money" and currency is not None:
        value = value / 10 ** decimals_of(currency)
        symbol = _SYMBOLS.get(currency, "")
    sign, size = ("−" if value < 0 else ""), abs(value)
    for letter, one in (("bn", 1e9), ("m", 1e6), ("k", 1e3)):
        if size >= one:
            return f"{sign}{symbol}{size / one:g}{letter}"
    return f"{sign}{symbol}{size:g}"
