"""Stripe's objects, as far as they are read; everything else in them is let be.

Stripe sends each in the API version of the webhook endpoint, so older and newer shapes are understood: a subscription's
period moved to its items, an invoice's subscription into `parent` (both in 2025-03-31.basil), and a price's
predecessor was a plan.
Source: https://docs.stripe.com/changelog/basil
"""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

Number = Annotated[int, Field(ge=0, lt=2**31)]
Money = Annotated[int, Field(gt=-(2**63), lt=2**63)]
"""In the currency's smallest unit."""
Currency = Annotated[str, Field(pattern=r"^[a-z]{3}$")]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Interval = Literal["day", "week", "month", "year"]
SubscriptionStatus = Literal[
    "incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused"
]
InvoiceStatus = Literal["draft", "open", "paid", "uncollectible", "void"]


def _id(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) else value


Id = Annotated[Text, BeforeValidator(_id)]
"""Of another object, which Stripe may have expanded in its place."""


class _Object(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Recurring(_Object):
    """How often a price is paid."""

    interval: Interval
    interval_count: Annotated[Number, Field(ge=1)] = 1
    usage_type: str | None = None


class Price(_Object):
    """What an item costs; a legacy plan says the same in other words."""

    id: Text
    lookup_key: Text | None = None
    nickname: Text | None = None
    unit_amount: Money | None = None
    unit_amount_decimal: Annotated[Decimal, Field(max_digits=40)] | None = None
    amount: Money | None = None
    currency: Currency
    recurring: Recurring | None = None
    interval: Interval | None = None
    interval_count: Annotated[Number, Field(ge=1)] = 1
    usage_type: str | None = None

    @property
    def name(self) -> str:
        """What people call it, or else its id."""
        return self.lookup_key or self.nickname or self.id

    @property
    def each(self) -> Decimal:
        """For one seat, in the smallest unit, of which it may be a fraction; nothing where it depends on usage."""
        if "metered" in (self.usage_type, self.recurring and self.recurring.usage_type):
            return Decimal(0)
        return self.unit_amount_decimal or Decimal(self.unit_amount or self.amount or 0)


class Item(_Object):
    """One line of a subscription."""

    price: Price | None = None
    plan: Price | None = None
    quantity: Number = 1
    current_period_start: AwareDatetime | None = None
    current_period_end: AwareDatetime | None = None

    @property
    def costs(self) -> Price | None:
        """Its price, in whichever shape it came."""
        return self.price or self.plan


class Items(_Object):
    """The lines of a subscription."""

    data: Annotated[list[Item], Field(min_length=1)]


class Subscription(_Object):
    """A customer's subscription."""

    id: Text
    customer: Id
    status: SubscriptionStatus
    items: Items
    start_date: AwareDatetime | None = None
    created: AwareDatetime
    trial_end: AwareDatetime | None = None
    current_period_start: AwareDatetime | None = None
    current_period_end: AwareDatetime | None = None
    cancel_at_period_end: bool = False
    canceled_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None

    @property
    def period(self) -> tuple[datetime | None, datetime | None]:
        """The present one."""
        first = self.items.data[0]
        return (
            self.current_period_start or first.current_period_start,
            self.current_period_end or first.current_period_end,
        )

    @property
    def amount(self) -> int:
        """For all seats of all lines, in the smallest unit."""
        total = sum((one.costs.each * one.quantity for one in self.items.data if one.costs), Decimal(0))
        return int(total.to_integral_value(ROUND_HALF_EVEN))


class SubscriptionItem(_Object):
    """A subscription's invoice names it in one of two places."""

    subscription: Id | None = None


class InvoiceParent(_Object):
    """What an invoice is for."""

    subscription_details: SubscriptionItem | None = None


class Transitions(_Object):
    """When an invoice came into its statuses."""

    finalized_at: AwareDatetime | None = None
    paid_at: AwareDatetime | None = None


class PaymentProblem(_Object):
    """Why a payment failed."""

    code: str | None = None
    decline_code: str | None = None
    message: str | None = None


class PaymentIntent(_Object):
    """An attempt to collect, if Stripe expanded it."""

    last_payment_error: PaymentProblem | None = None


def _expanded(value: Any) -> Any:
    return value if isinstance(value, dict) else None


class Invoice(_Object):
    """A bill."""

    id: Text
    customer: Id
    subscription: Id | None = None
    parent: InvoiceParent | None = None
    number: Text | None = None
    status: InvoiceStatus
    amount_due: Money
    amount_paid: Annotated[Money, Field(ge=0)] = 0
    amount_remaining: Money | None = None
    currency: Currency
    attempt_count: Number = 0
    created: AwareDatetime
    due_date: AwareDatetime | None = None
    next_payment_attempt: AwareDatetime | None = None
    hosted_invoice_url: str | None = None
    period_start: AwareDatetime | None = None
    period_end: AwareDatetime | None = None
    status_transitions: Transitions = Transitions()
    payment_intent: Annotated[PaymentIntent | None, BeforeValidator(_expanded)] = None

    @property
    def subscription_id(self) -> str | None:
        """What it is for, in whichever shape it came."""
        details = self.parent.subscription_details if self.parent else None
        return self.subscription or (details.subscription if details else None)

    @property
    def failure_reason(self) -> str | None:
        """In Stripe's words, when it says so."""
        problem = self.payment_intent.last_payment_error if self.payment_intent else None
        said = problem and (problem.decline_code or problem.code or problem.message)
        return said[:500] if said else None


class CheckoutSession(_Object):
    """A check-out that was completed."""

    id: Text
    customer: Id | None = None
    client_reference_id: str | None = None
    metadata: dict[str, str] | None = None
    subscription: Id | None = None

    @property
    def organization(self) -> str | None:
        """Whose it is, as the app said when it made the session."""
        metadata = self.metadata or {}
        return self.client_reference_id or metadata.get("organizationId") or metadata.get("organization_id")


class PreviousAttributes(_Object):
    """What an `updated` event says of before."""

    status: str | None = None


class EventData(_Object):
    """An event's object, and what was different before."""

    object: dict[str, Any]
    previous_attributes: PreviousAttributes = PreviousAttributes()


class StripeEvent(_Object):
    """The envelope of all events."""

    created: AwareDatetime
    data: EventData
