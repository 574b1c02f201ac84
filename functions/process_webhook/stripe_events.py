"""Stripe's events: which are acted on, and how they find their organization.

Stripe promises no order. Each event carries its whole object, so the newest that came is what is kept: an older event
(by `created`, in whole seconds) overwrites nothing. Within one second the last to arrive wins, except that `created`
never overwrites, and nothing overwrites a status that Stripe never leaves again.
Source: https://docs.stripe.com/webhooks#event-ordering
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, exists, func, literal, select, update

from functions.process_webhook import stripe_invoices, stripe_subscriptions
from functions.process_webhook.outcome import IGNORED
from functions.process_webhook.stripe_models import CheckoutSession, Invoice, StripeEvent, Subscription
from qstash_jobs.run import Run
from qstash_jobs.webhook_events import Event
from saas.tables import invoices, organizations, subscriptions


def act(connection: Connection, event: Event, run: Run) -> str:
    """Take one event over; what was done, in a few words. Raises `ValidationError` for an object without what is needed."""
    handle = HANDLERS.get(event.type)
    if handle is None:
        return IGNORED
    return handle(connection, event, StripeEvent.model_validate(event.data), run)


def _checkout_completed(connection: Connection, event: Event, said: StripeEvent, run: Run) -> str:
    """Link Stripe's customer to the organization that checked out, and what came before to it as well. A new customer
    takes the place of the organization's last one, whose subscriptions stay the organization's."""
    session = CheckoutSession.model_validate(said.data.object)
    if session.customer is None:
        return "no customer: a check-out by a guest"
    lock(connection, session.customer)
    number = session.organization
    organization_id = int(number) if number and number.isdecimal() and len(number) < 19 else None
    known = organization_id is not None and connection.scalar(
        select(exists().where(organizations.c.id == organization_id))
    )
    if not known:
        run.logger.warning("Checkout without an organization", extra={"session": session.id})
        return "no organization: client_reference_id names none of ours"
    if customer_of(connection, session.customer) not in (None, organization_id):
        run.logger.warning("Stripe customer is another organization's", extra={"session": session.id})
        return "not linked: the customer is another organization's"
    link = (
        update(organizations)
        .where(
            organizations.c.id == organization_id,
            organizations.c.stripe_customer_id.is_distinct_from(session.customer),
        )
        .values(stripe_customer_id=session.customer, updated_at=func.clock_timestamp())
    )
    linked = connection.execute(link).rowcount == 1
    for table in (subscriptions, invoices):
        of_it = (table.c.stripe_customer_id == session.customer, table.c.organization_id.is_(None))
        connection.execute(update(table).where(*of_it).values(organization_id=organization_id))
    if session.subscription is not None:
        stripe_subscriptions.greet(connection, session.subscription, run)
    stripe_invoices.tell_of_failures(connection, session.customer, run)
    return "linked" if linked else "linked before"


def _subscription(connection: Connection, event: Event, said: StripeEvent, run: Run) -> str:
    found = Subscription.model_validate(said.data.object)
    lock(connection, found.customer)
    return stripe_subscriptions.keep(connection, event, said, found, customer_of(connection, found.customer), run)


def _invoice(connection: Connection, event: Event, said: StripeEvent, run: Run) -> str:
    found = Invoice.model_validate(said.data.object)
    lock(connection, found.customer)
    return stripe_invoices.keep(connection, event, said, found, customer_of(connection, found.customer), run)


def lock(connection: Connection, customer: str) -> None:
    """One event of a customer at a time, until the transaction ends: an event that looks for the organization must not
    miss the check-out which is just being taken over beside it."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(literal(f"stripe:{customer}"), 0))))


def customer_of(connection: Connection, customer: str) -> int | None:
    """Whose customer it is: the organization that has it, or had it when it subscribed."""
    direct = select(organizations.c.id, literal(0).label("rank")).where(organizations.c.stripe_customer_id == customer)
    earlier = select(subscriptions.c.organization_id, literal(1)).where(
        subscriptions.c.stripe_customer_id == customer, subscriptions.c.organization_id.is_not(None)
    )
    both = direct.union_all(earlier).subquery()
    return connection.scalar(select(both.c.id).order_by(both.c.rank).limit(1))


Handle = Callable[[Connection, Event, StripeEvent, Run], str]

HANDLERS: dict[str, Handle] = {
    "checkout.session.completed": _checkout_completed,
    "customer.subscription.created": _subscription,
    "customer.subscription.updated": _subscription,
    "customer.subscription.deleted": _subscription,
    "invoice.paid": _invoice,
    "invoice.payment_failed": _invoice,
}
