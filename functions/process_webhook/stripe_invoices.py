"""Stripe's invoices: what was asked for and paid, and the mail when a payment fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from functions.process_webhook.billing_mails import payment_failed
from functions.process_webhook.stripe_models import Invoice, StripeEvent
from qstash_jobs.run import Run
from qstash_jobs.webhook_events import Event
from saas.tables import invoices, subscriptions, webhook_events

LATEST_CHECKOUT = timedelta(days=3)
"""For so long Stripe repeats an event that was not taken, so a check-out comes no later after what came out of it.
Source: https://docs.stripe.com/webhooks#retries"""

SETTLED = ("paid", "void")
"""Stripe never leaves these. Source: https://docs.stripe.com/invoicing/overview#invoice-statuses"""


def keep(
    connection: Connection, event: Event, said: StripeEvent, found: Invoice, organization_id: int | None, run: Run
) -> str:
    """Take over what the event says, unless a newer one has come before; `applied` or `older`."""
    failed = event.type == "invoice.payment_failed"
    row = _row(found, said, failed=failed)
    made = insert(invoices).values(
        **row, organization_id=organization_id, stripe_invoice_id=found.id, last_event_at=said.created
    )
    upsert = made.on_conflict_do_update(
        index_elements=["stripe_invoice_id"],
        set_={
            **{name: made.excluded[name] for name in (*row, "last_event_at")},
            "organization_id": func.coalesce(invoices.c.organization_id, made.excluded.organization_id),
            "paid_at": func.coalesce(made.excluded.paid_at, invoices.c.paid_at),
            "updated_at": func.clock_timestamp(),
        },
        where=or_(
            invoices.c.last_event_at < said.created,
            and_(invoices.c.last_event_at == said.created, invoices.c.status.not_in(SETTLED)),
        ),
    ).returning(invoices.c.id)
    applied = connection.scalar(upsert)
    if failed:
        _note_failure(connection, found, said)
        _mail(connection, found, run)
    return "applied" if applied else "older than what is known"


def tell_of_failures(connection: Connection, customer: str, run: Run) -> None:
    """Mail what could not be mailed while nobody knew whose customer it was: payments that failed before the check-out
    came, as the events say that are kept. The mails' keys see to it that none goes twice."""
    events = webhook_events.c
    kept = (
        select(events.payload)
        .where(
            events.provider == "stripe",
            events.event_type == "invoice.payment_failed",
            events.received_at > func.clock_timestamp() - LATEST_CHECKOUT,
            events.payload["data"]["object"]["customer"].astext == customer,
            events.processed_at.is_not(None),
        )
        .order_by(events.received_at)
    )
    for payload in connection.scalars(kept).all():
        _mail(connection, Invoice.model_validate(StripeEvent.model_validate(payload).data.object), run)


def _note_failure(connection: Connection, found: Invoice, said: StripeEvent) -> None:
    """When a payment last failed is kept beside the status, also when a later one has succeeded already."""
    latest = or_(invoices.c.failed_at.is_(None), invoices.c.failed_at <= said.created)
    values = {"failed_at": said.created, "failure_reason": found.failure_reason}
    connection.execute(update(invoices).where(invoices.c.stripe_invoice_id == found.id, latest).values(values))


def _mail(connection: Connection, found: Invoice, run: Run) -> None:
    """Nobody is to hear of a failed payment after it went through."""
    kept = connection.execute(
        select(invoices.c.organization_id, invoices.c.status).where(invoices.c.stripe_invoice_id == found.id)
    ).one()
    if kept.status in SETTLED:
        return
    plan = connection.scalar(
        select(subscriptions.c.plan).where(subscriptions.c.stripe_subscription_id == found.subscription_id)
    )
    payment_failed(connection, found, kept.organization_id, plan, run)


def _row(found: Invoice, said: StripeEvent, *, failed: bool) -> dict[str, Any]:
    paid_at = None if failed else found.status_transitions.paid_at or said.created
    return {
        "stripe_customer_id": found.customer,
        "stripe_subscription_id": found.subscription_id,
        "number": found.number,
        "status": found.status,
        "amount_due": found.amount_due,
        "amount_paid": found.amount_paid,
        "currency": found.currency,
        "attempts": found.attempt_count,
        "issued_at": found.status_transitions.finalized_at or found.created,
        "due_at": found.due_date,
        "paid_at": paid_at,
        "period_start": found.period_start,
        "period_end": found.period_end,
    }
