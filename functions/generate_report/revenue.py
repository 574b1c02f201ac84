"""Monthly recurring revenue from the history of subscriptions: at a moment, between two, and along the period.

A subscription's revenue a month, in the currency's smallest unit, is its amount brought to a month and rounded:

    amount × (1 for a month, 12⁻¹ for a year, 52/12 for a week, 365/12 for a day) / interval_count

while its status is `active` or `past_due`, and nothing otherwise: a trial pays nothing yet. What it was at a moment says
the last change before it. A customer is one of Stripe's, with all its subscriptions in one currency.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Numeric,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    select,
    union_all,
)

from functions.generate_report.source import Source
from saas.tables import subscription_changes, subscriptions

PAYING = ("active", "past_due")

Movement = Literal["new", "reactivation", "expansion", "contraction", "churn", "unchanged"]
MOVEMENTS: dict[Movement, str] = {
    "new": "New",
    "reactivation": "Reactivation",
    "expansion": "Expansion",
    "contraction": "Contraction",
    "churn": "Churn",
}
"""What moves revenue, in the order in which it is told. Between the edges of a period each customer is in one of them at
most, so that together they are exactly the difference."""


def monthly() -> ColumnElement[int]:
    """What a change says that a subscription pays a month."""
    changes = subscription_changes.c
    a_year = case({"year": 1, "month": 12, "week": 52, "day": 365}, value=changes.billing_interval)
    month = func.round(cast(changes.amount, Numeric) * a_year / (12 * changes.interval_count))
    return case((changes.status.in_(PAYING), cast(month, BigInteger)), else_=0)


def _at(moment: datetime) -> Subquery:
    """Each subscription as it was just before a moment."""
    changes = subscription_changes.c
    newest = func.row_number().over(
        partition_by=changes.subscription_id, order_by=(changes.changed_at.desc(), changes.id.desc())
    )
    ranked = (
        select(changes.subscription_id, changes.currency, monthly().label("mrr"), newest.label("newest"))
        .where(changes.changed_at < moment)
        .subquery()
    )
    return select(ranked.c.subscription_id, ranked.c.currency, ranked.c.mrr).where(ranked.c.newest == 1).subquery()


def _standing(moment: datetime, *, first: bool) -> Select[Any]:
    """What each customer paid just before a moment, as `before` or as `after`."""
    state = _at(moment)
    nothing = literal(0, BigInteger)
    return (
        select(
            subscriptions.c.stripe_customer_id.label("customer"),
            state.c.currency,
            (state.c.mrr if first else nothing).label("before"),
            (nothing if first else state.c.mrr).label("after"),
            literal(False).label("paid"),
        )
        .join_from(state, subscriptions, subscriptions.c.id == state.c.subscription_id)
        .where(state.c.mrr > 0)
    )


def _has_paid(moment: datetime) -> Select[Any]:
    """Who ever paid before a moment, and in which currency."""
    changes = subscription_changes.c
    return (
        select(
            subscriptions.c.stripe_customer_id,
            changes.currency,
            literal(0, BigInteger),
            literal(0, BigInteger),
            literal(True),
        )
        .join_from(subscription_changes, subscriptions, subscriptions.c.id == changes.subscription_id)
        .where(and_(changes.changed_at < moment, monthly() > 0))
        .distinct()
    )


def movements(source: Source) -> Select[Any]:
    """By currency and movement: how many customers, and their revenue a month at the period's beginning and its end."""
    begins, ends = source.period.begins, source.period.ends
    parts = union_all(_standing(begins, first=True), _standing(ends, first=False), _has_paid(begins)).subquery()
    customer = (
        select(
            parts.c.currency,
            func.sum(parts.c.before).label("before"),
            func.sum(parts.c.after).label("after"),
            func.bool_or(parts.c.paid).label("paid"),
        )
        .group_by(parts.c.customer, parts.c.currency)
        .subquery()
    )
    before, after = customer.c.before, customer.c.after
    movement = case(
        (and_(before == 0, customer.c.paid), "reactivation"),
        (before == 0, "new"),
        (after == 0, "churn"),
        (after > before, "expansion"),
        (after < before, "contraction"),
        else_="unchanged",
    ).label("movement")
    return (
        select(
            customer.c.currency,
            movement,
            func.count().label("customers"),
            cast(func.sum(before), BigInteger).label("before"),
            cast(func.sum(after), BigInteger).label("after"),
        )
        .where((before > 0) | (after > 0))
        .group_by(customer.c.currency, "movement")
    )


def along(source: Source) -> Select[Any]:
    """By currency and day or month: by how much revenue changed in it. What was before the period has no day."""
    changes = subscription_changes.c
    order = (changes.changed_at, changes.id)
    steps = (
        select(
            changes.changed_at,
            changes.currency,
            monthly().label("mrr"),
            func.lag(changes.currency)
            .over(partition_by=changes.subscription_id, order_by=order)
            .label("last_currency"),
            func.lag(monthly()).over(partition_by=changes.subscription_id, order_by=order).label("last_mrr"),
        )
        .where(changes.changed_at < source.period.ends)
        .subquery()
    )
    deltas = union_all(
        select(steps.c.changed_at, steps.c.currency, steps.c.mrr.label("delta")),
        select(steps.c.changed_at, steps.c.last_currency, -steps.c.last_mrr).where(steps.c.last_mrr.is_not(None)),
    ).subquery()
    bucket = case(
        (deltas.c.changed_at >= source.period.begins, source.bucket(deltas.c.changed_at).element), else_=None
    ).label("bucket")
    return select(deltas.c.currency, bucket, cast(func.sum(deltas.c.delta), BigInteger).label("delta")).group_by(
        deltas.c.currency, "bucket"
    )
