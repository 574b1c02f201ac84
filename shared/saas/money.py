"""Money as Stripe and these tables count it: a whole number of the currency's smallest unit."""

from __future__ import annotations

from decimal import Decimal

_ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
"""Their smallest unit is the main one. The króna and the Ugandan shilling have none either, but to Stripe they do.
Source: https://docs.stripe.com/currencies#zero-decimal and #special-cases"""
_THREE_DECIMAL = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
"""Source: https://docs.stripe.com/currencies#three-decimal"""


def decimals_of(currency: str) -> int:
    """How many digits the smallest unit is below the main one; the currency's code is in lower case."""
    return 0 if currency in _ZERO_DECIMAL else 3 if currency in _THREE_DECIMAL else 2


def main_units(amount: int, currency: str) -> Decimal:
    """An amount as people write it: 2900 of `eur` are 29.00, of `jpy` 2900."""
    return Decimal(amount).scaleb(-decimals_of(currency))
