"""How mails write money, dates and spans of time. In English, whatever the machine's locale is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_SYMBOLS = {"EUR": "€", "GBP": "£", "JPY": "¥", "USD": "$"}
_WHOLE = frozenset(
    {
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    }
)
_THOUSANDTHS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def money(amount: Decimal, currency: str) -> str:
    """An amount in the currency's main unit: `$1,290.00`, `¥3,000`, `CHF 29.50`."""
    decimals = 0 if currency in _WHOLE else 3 if currency in _THOUSANDTHS else 2
    number = f"{amount.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN):,f}"
    # A line must not break between a currency and its number.
    return _SYMBOLS[currency] + number if currency in _SYMBOLS else f"{currency}\N{NO-BREAK SPACE}{number}"


def day(value: date) -> str:
    """`3 March 2026`."""
    return f"{value.day} {_MONTHS[value.month - 1]} {value.year}"


def moment(value: datetime) -> str:
    """`3 March 2026, 09:05 UTC`."""
    value = value.astimezone(UTC)
    return f"{day(value)}, {value:%H:%M} UTC"


def span(minutes: int) -> str:
    """The largest unit that divides it: `45 minutes`, `1 hour`, `2 days`."""
    for unit, size in (("day", 1440), ("hour", 60)):
        if minutes % size == 0:
            return counted(minutes // size, unit)
    return counted(minutes, "minute")


def size(number: int) -> str:
    """In units of a thousand, as people's computers show it: `812 bytes`, `3.4 MB`."""
    if number < 1000:
        return counted(number, "byte")
    value = float(number)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95 or unit == "GB":
            break
    return f"{value:,.1f} {unit}"


def counted(number: int, unit: str) -> str:
    """`1 row`, `12,345 rows`."""
    return f"{number} {unit}" if number == 1 else f"{number:,} {unit}s"
