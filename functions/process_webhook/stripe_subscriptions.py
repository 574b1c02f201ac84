"""Stripe's subscriptions: what they are now, what they were at each moment, and the mail when one begins."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from functions.process_webhook.billing_mails import subscription_created
from functions.process_webhook.outcome import Unusable
from functions.process_webhook.stripe_models import StripeEvent, Subscription
from qstash_jobs.run import Run
from qstash_jobs.webhook_events import Event
from saas.tables import subscription_changes, subscriptions

FINAL = ("canceled", "incomplete_expired")
"""Stripe never leaves these. Source: https://docs.stripe.com/billing/subscriptions/overview#subscription-statuses"""

RUNNING = ("trialing", "active")

_TERMS = ("status", "plan", "quantity", "amount", "currency", "billing_interval", "interval_count")


def keep(
    connection: Connection, event: Event, said: StripeEvent, found: Subscription, organization_id: int | None, run: Run
) -> str:
    """Take over what the event says, unless a newer one has come before; `applied` or `older`."""
    row = _row(found)
    made = insert(subscriptions).values(
        **row,
        organization_id=organization_id,
        stripe_subscription_id=found.id,
        stripe_customer_id=found.customer,
        last_event_at=said.created,
    )
    newer = subscriptions.c.last_event_at < said.created
    if event.type != "customer.subscription.created":
        same_second = and_(subscriptions.c.last_event_at == said.created, subscriptions.c.status.not_in(FINAL))
        newer = or_(newer, same_second)
    upsert = made.on_conflict_do_update(
        index_elements=["stripe_subscription_id"],
        set_={
            **{name: made.excluded[name] for name in (*row, "last_event_at")},
            "organization_id": func.coalesce(subscriptions.c.organization_id, made.excluded.organization_id),
            "updated_at": func.clock_timestamp(),
        },
        where=newer,
    ).returning(subscriptions.c.id)
    applied = connection.scalar(upsert)
    kept = applied or connection.scalar(
        select(subscriptions.c.id).where(subscriptions.c.stripe_subscription_id == found.id)
    )
    change = {name: row[name] for name in _TERMS}
    connection.execute(
        insert(subscription_changes)
        .values(subscription_id=kept, event_id=event.event_id, changed_at=said.created, **change)
        .on_conflict_do_nothing()
    )
    if _begins(event, said, found):
        greet(connection, found.id, run)
    return "applied" if applied else "older than what is known"


def greet(connection: Connection, stripe_id: str, run: Run) -> None:
    """Mail whoever subscribed, once, if the subscription runs and it is known whose it is. The mail says what is true
    now; it is asked for when the subscription begins, and again when the check-out says whose it is."""
    known = connection.execute(
        select(subscriptions).where(
            subscriptions.c.stripe_subscription_id == stripe_id, subscriptions.c.status.in_(RUNNING)
        )
    ).one_or_none()
    if known is not None:
        subscription_created(connection, known, run)


def _begins(event: Event, said: StripeEvent, found: Subscription) -> bool:
    """It runs from now on: at once, or since its first payment went through."""
    began = event.type == "customer.subscription.created" or said.data.previous_attributes.status == "incomplete"
    return began and found.status in RUNNING


def _row(found: Subscription) -> dict[str, Any]:
    first = found.items.data[0]
    price = first.costs
    if price is None:
        raise Unusable("its first item has neither a price nor a plan")
    interval = price.recurring.interval if price.recurring else price.interval
    if interval is None:
        raise Unusable("its price does not say how often it is paid")
    if not 0 <= found.amount < 2**63:
        raise Unusable("its amount is out of all bounds")
    start, end = found.period
    return {
        "status": found.status,
        "plan": price.name,
        "quantity": first.quantity,
        "amount": found.amount,
        "currency": price.currency,
        "billing_interval": interval,
        "interval_count": price.recurring.interval_count if price.recurring else price.interval_count,
        "started_at": found.start_date or found.created,
        "trial_ends_at": found.trial_end,
        "current_period_start": start,
        "current_period_end": end,
        "cancel_at_period_end": found.cancel_at_period_end,
        "canceled_at": found.canceled_at,
        "ended_at": found.ended_at,
    }
