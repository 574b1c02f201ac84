"""The mails that Stripe's events lead to, enqueued in the transaction that takes the event over.

A mail that cannot be made (nobody to send it to, terms that its template has no words for) is logged and left out: the
subscription is what it is all the same.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Row, func, select

from functions.process_webhook.stripe_models import Invoice
from qstash_jobs.dispatch import enqueue
from qstash_jobs.jobs.send_email import EmailData, PaymentFailedData, SubscriptionCreatedData
from qstash_jobs.run import Run
from qstash_jobs.settings import settings
from saas.money import main_units
from saas.tables import organization_members, organizations, users

NAMELESS = "Paid"
"""What a plan is called whose price has neither a lookup key nor a nickname: Acme Paid, your Paid subscription."""

NOT_SENT = "Billing mail not enqueued"


def subscription_created(connection: Connection, subscription: Row[Any], run: Run) -> None:
    """Thank whoever subscribed; once for each subscription."""
    if subscription.interval_count != 1 or subscription.billing_interval not in {"month", "year"}:
        run.logger.warning(NOT_SENT, extra={"reason": "the template has no words for this billing interval"})
        return
    if subscription.current_period_end is None:
        run.logger.warning(NOT_SENT, extra={"reason": "Stripe does not say when the next payment is due"})
        return
    _enqueue(
        connection,
        f"subscription-created:{subscription.stripe_subscription_id}",
        subscription.organization_id,
        lambda name: SubscriptionCreatedData(
            recipient_name=name,
            plan_name=plan_name(subscription.plan) or NAMELESS,
            amount=main_units(subscription.amount, subscription.currency),
            currency=subscription.currency.upper(),
            interval=subscription.billing_interval,
            next_billing_date=subscription.current_period_end.date(),
        ),
        run,
    )


def payment_failed(
    connection: Connection, invoice: Invoice, organization_id: int | None, plan: str | None, run: Run
) -> None:
    """Tell whoever pays; once for each attempt to collect the invoice."""
    due = invoice.amount_due if invoice.amount_remaining is None else invoice.amount_remaining
    retry_at = invoice.next_payment_attempt
    _enqueue(
        connection,
        f"payment-failed:{invoice.id}:{invoice.attempt_count}",
        organization_id,
        lambda name: PaymentFailedData(
            recipient_name=name,
            amount=main_units(due, invoice.currency),
            currency=invoice.currency.upper(),
            update_payment_url=invoice.hosted_invoice_url or settings().app_url,
            retry_date=retry_at.date() if retry_at else None,
            plan_name=plan_name(plan),
        ),
        run,
    )


def plan_name(plan: str | None) -> str | None:
    """A lookup key as people read it: `team_yearly` is `Team yearly`. None for Stripe's own ids."""
    if plan is None or plan.startswith(("price_", "plan_")):
        return None
    words = plan.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:] or None


def _enqueue(connection: Connection, key: str, organization_id: int | None, data: Any, run: Run) -> None:
    found = _addressee(connection, organization_id)
    if found is None:
        run.logger.warning(NOT_SENT, extra={"reason": "it is not known whose it is, or nobody there has an address"})
        return
    address, name = found
    try:
        made: EmailData = data(name)
        job = made.addressed(address)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        run.logger.warning(NOT_SENT, extra={"reason": f"{place}: {first['msg']}"})
        return
    enqueue(job, connection=connection, idempotency_key=key, organization_id=organization_id)


def _addressee(connection: Connection, organization_id: int | None) -> tuple[str, str] | None:
    """The organization's address for bills, else that of its first owner; and whom the mail greets."""
    owner = (
        select(users.c.email, users.c.name)
        .join(organization_members, organization_members.c.user_id == users.c.id)
        .where(
            organization_members.c.organization_id == organizations.c.id,
            organization_members.c.role == "owner",
            users.c.status == "active",
        )
        .order_by(organization_members.c.created_at, users.c.id)
        .limit(1)
        .lateral()
    )
    address = func.coalesce(organizations.c.billing_email, owner.c.email)
    found = connection.execute(
        select(address, func.coalesce(owner.c.name, organizations.c.name))
        .select_from(organizations.outerjoin(owner, owner.c.email.is_not(None)))
        .where(organizations.c.id == organization_id, address.is_not(None))
    ).one_or_none()
    return None if found is None else (found[0], found[1])
