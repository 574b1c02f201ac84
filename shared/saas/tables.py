"""The tables of a SaaS app, as its jobs see them: who there is, what they did, what they pay, what was sent to them.

A starter: `docs/use-your-own-tables.md` says how tables of your own take their place. Its migrations are a branch of their
own, which `jobs migrate --saas` brings up.

Text is `text`; what may be said in only a few ways is checked. Money is a whole number of the currency's smallest unit.
Foreign keys say what becomes of a row when what it names is deleted: what only makes sense with it goes too, and what must
outlive it (bills, what was done) forgets it. `job_id` names a job of the record and is no foreign key: the record forgets
jobs sooner than these tables do, and may lie in another database.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import INET, JSONB

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
    }
)

USER_STATUSES = ("active", "suspended")
ROLES = ("owner", "admin", "member")
SUBSCRIPTION_STATUSES = (
    *("incomplete", "incomplete_expired", "trialing", "active"),
    *("past_due", "canceled", "unpaid", "paused"),
)
"""Stripe's."""
INTERVALS = ("day", "week", "month", "year")
"""Stripe's."""
INVOICE_STATUSES = ("draft", "open", "paid", "uncollectible", "void")
"""Stripe's."""
EMAIL_STATUSES = ("sent", "delivered", "delayed", "bounced", "complained")
"""Resend's `email.sent` to `email.complained`."""
SUPPRESSION_REASONS = ("bounced", "complained", "manual")
FILE_KINDS = ("export", "report", "upload", "temporary")

_NOW = text("clock_timestamp()")


def _id() -> Column[Any]:
    return Column("id", BigInteger, Identity(), primary_key=True)


def _time(name: str, *, required: bool = False, comment: str | None = None) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=not required, comment=comment)


def _made(name: str = "created_at") -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=_NOW)


def _of(table: str, column: str, on_delete: str, *, required: bool = False) -> Column[Any]:
    return Column(column, BigInteger, ForeignKey(f"{table}.id", ondelete=on_delete), nullable=not required)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=column)


def _currency() -> CheckConstraint:
    return CheckConstraint("currency ~ '^[a-z]{3}$'", name="currency")


users = Table(
    "users",
    metadata,
    _id(),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    Column("locale", Text, nullable=False, server_default="en"),
    Column("time_zone", Text, nullable=False, server_default="UTC"),
    Column("marketing_consent", Boolean, nullable=False, server_default=text("false")),
    _time("email_verified_at"),
    _made(),
    _made("updated_at"),
    _one_of("status", USER_STATUSES),
    Index("users_email", text("lower(email)"), unique=True),
    Index("users_created", "created_at", "id"),
)

organizations = Table(
    "organizations",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("billing_email", Text),
    Column("country", Text, comment="ISO 3166-1, two letters"),
    Column("stripe_customer_id", Text, comment="none before the first check-out"),
    _made(),
    _made("updated_at"),
    UniqueConstraint("slug"),
    UniqueConstraint("stripe_customer_id"),
    CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
    Index("organizations_created", "created_at", "id"),
)

organization_members = Table(
    "organization_members",
    metadata,
    _of("organizations", "organization_id", "CASCADE", required=True),
    _of("users", "user_id", "CASCADE", required=True),
    Column("role", Text, nullable=False, server_default="member"),
    _made(),
    PrimaryKeyConstraint("organization_id", "user_id"),  # an export of one organization's users runs along it
    _one_of("role", ROLES),
    Index("organization_members_user", "user_id"),
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    _of("users", "user_id", "CASCADE", required=True),
    Column("token_hash", LargeBinary, nullable=False),
    Column("ip_address", INET),
    Column("user_agent", Text),
    _made(),
    _time("expires_at", required=True),
    UniqueConstraint("token_hash"),
    Index("sessions_user", "user_id"),
    Index("sessions_expired", "expires_at", "id"),
)

invitations = Table(
    "invitations",
    metadata,
    _id(),
    _of("organizations", "organization_id", "CASCADE", required=True),
    _of("users", "invited_by", "SET NULL"),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False, server_default="member"),
    Column("token_hash", LargeBinary, nullable=False),
    _made(),
    _time("expires_at", required=True),
    _time("accepted_at"),
    _time("revoked_at"),
    UniqueConstraint("token_hash"),
    _one_of("role", ROLES),
    CheckConstraint("accepted_at IS NULL OR revoked_at IS NULL", name="ended"),
    Index("invitations_address", "organization_id", text("lower(email)")),
    Index("invitations_invited_by", "invited_by"),
    Index("invitations_expired", "expires_at", "id"),
)

activity_logs = Table(
    "activity_logs",
    metadata,
    _id(),
    _of("organizations", "organization_id", "CASCADE"),
    _of("users", "user_id", "SET NULL"),
    Column("action", Text, nullable=False, comment="what was done to what: document.viewed"),
    Column("target_type", Text),
    Column("target_id", BigInteger),
    Column("ip_address", INET),
    Column("details", JSONB, nullable=False, server_default=text("'{}'")),
    _made(),
    # Exports, reports and the clean-up all ask for a stretch of time, of all or of one organization; an export goes on
    # behind the last (created_at, id) that it wrote.
    Index("activity_logs_created", "created_at", "id"),
    Index("activity_logs_organization", "organization_id", "created_at", "id"),
    Index("activity_logs_user", "user_id", "created_at"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    _id(),
    _of("organizations", "organization_id", "SET NULL"),  # none too while only Stripe's customer is known
    Column("stripe_subscription_id", Text, nullable=False),
    Column("stripe_customer_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column(
        "plan", Text, nullable=False, comment="the lookup key of the price; Stripe's catalogue says which there are"
    ),
    Column("quantity", Integer, nullable=False, server_default="1", comment="seats"),
    Column("amount", BigInteger, nullable=False, comment="for all seats, each interval_count billing intervals"),
    Column("currency", Text, nullable=False),
    Column("billing_interval", Text, nullable=False),
    Column("interval_count", Integer, nullable=False, server_default="1"),
    _time("started_at", required=True),
    _time("trial_ends_at"),
    _time("current_period_start"),
    _time("current_period_end"),
    Column("cancel_at_period_end", Boolean, nullable=False, server_default=text("false")),
    _time("canceled_at"),
    _time("ended_at"),
    _time("last_event_at", required=True, comment="of the newest event applied: an older one changes nothing"),
    _made(),
    _made("updated_at"),
    UniqueConstraint("stripe_subscription_id"),
    _one_of("status", SUBSCRIPTION_STATUSES),
    _one_of("billing_interval", INTERVALS),
    _currency(),
    CheckConstraint("amount >= 0 AND quantity >= 0 AND interval_count >= 1", name="numbers"),
    Index("subscriptions_organization", "organization_id"),
    Index("subscriptions_customer", "stripe_customer_id"),
    Index("subscriptions_paying", "plan", postgresql_where=text("status IN ('active', 'past_due')")),
)

# What a subscription was at any moment: the row above knows only the present, and no report could tell new revenue from
# an upgrade, or what was paid last March. Appended to by each event, also by one that comes too late for the row above.
subscription_changes = Table(
    "subscription_changes",
    metadata,
    _id(),
    _of("subscriptions", "subscription_id", "CASCADE", required=True),
    Column("event_id", Text, nullable=False, comment="Stripe's"),
    Column("status", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("billing_interval", Text, nullable=False),
    Column("interval_count", Integer, nullable=False, server_default="1"),
    _time("changed_at", required=True, comment="when it happened, as the event says"),
    UniqueConstraint("event_id"),
    _one_of("status", SUBSCRIPTION_STATUSES),
    _one_of("billing_interval", INTERVALS),
    _currency(),
    CheckConstraint("amount >= 0 AND quantity >= 0 AND interval_count >= 1", name="numbers"),
    Index("subscription_changes_subscription", "subscription_id", "changed_at", "id"),
    Index("subscription_changes_changed", "changed_at"),
)

invoices = Table(
    "invoices",
    metadata,
    _id(),
    _of("organizations", "organization_id", "SET NULL"),  # none too while only Stripe's customer is known
    Column("stripe_invoice_id", Text, nullable=False),
    Column("stripe_customer_id", Text, nullable=False),
    Column("stripe_subscription_id", Text, comment="no foreign key: an invoice may arrive before its subscription"),
    Column("number", Text),
    Column("status", Text, nullable=False),
    Column("amount_due", BigInteger, nullable=False),
    Column("amount_paid", BigInteger, nullable=False, server_default="0"),
    Column("currency", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0", comment="to collect it"),
    _time("issued_at", required=True),
    _time("due_at"),
    _time("paid_at"),
    _time("failed_at", comment="when a payment last failed, also if a later one succeeded"),
    Column("failure_reason", Text),
    _time("period_start"),
    _time("period_end"),
    _time("last_event_at", required=True, comment="of the newest event applied: an older one changes nothing"),
    _made(),
    _made("updated_at"),
    UniqueConstraint("stripe_invoice_id"),
    _one_of("status", INVOICE_STATUSES),
    _currency(),
    CheckConstraint("amount_paid >= 0 AND attempts >= 0", name="numbers"),
    Index("invoices_organization", "organization_id", "issued_at"),
    Index("invoices_subscription", "stripe_subscription_id"),
    Index("invoices_issued", "issued_at", "status"),
    Index("invoices_failed", "failed_at", postgresql_where=text("failed_at IS NOT NULL")),
)

email_deliveries = Table(
    "email_deliveries",
    metadata,
    _id(),
    Column("resend_id", Text, nullable=False),
    Column("job_id", Uuid, comment="the job that sent it"),
    Column("address", Text, nullable=False),
    Column("template", Text),
    Column("status", Text, nullable=False, server_default="sent"),
    Column("reason", Text, comment="why it bounced or is late, as the other side said"),
    _made("sent_at"),
    _time("delivered_at"),
    _time("bounced_at"),
    _time("complained_at"),
    _time("last_event_at", comment="of the newest event applied: an older one does not change the status"),
    UniqueConstraint("resend_id"),
    _one_of("status", EMAIL_STATUSES),
    Index("email_deliveries_job", "job_id", postgresql_where=text("job_id IS NOT NULL")),
    Index("email_deliveries_address", text("lower(address)"), "sent_at"),
    Index("email_deliveries_sent", "sent_at", "status"),
)

# A table and no partial index on the deliveries: an address stays suppressed when the delivery that was the reason has
# been cleaned up, somebody can put one on the list or take it off by hand, and send-email asks with one look at a key.
email_suppressions = Table(
    "email_suppressions",
    metadata,
    Column("address", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    _of("email_deliveries", "email_delivery_id", "SET NULL"),
    _made(),
    CheckConstraint("address = lower(address)", name="lower"),
    _one_of("reason", SUPPRESSION_REASONS),
    Index(
        "email_suppressions_delivery",
        "email_delivery_id",
        postgresql_where=text("email_delivery_id IS NOT NULL"),
    ),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    _id(),
    Column("provider", Text, nullable=False, comment="stripe, resend or custom/NAME"),
    Column("event_id", Text, nullable=False, comment="the provider's"),
    Column("event_type", Text, nullable=False),
    Column("payload", JSONB, nullable=False, comment="as it came"),
    _made("received_at"),
    _time("processed_at"),
    Column("job_id", Uuid, comment="the job that processes it"),
    UniqueConstraint("provider", "event_id"),
    CheckConstraint("provider ~ '^(stripe|resend|custom/[A-Za-z0-9._-]+)$'", name="provider"),
    Index("webhook_events_received", "received_at", "id"),
    Index("webhook_events_unprocessed", "received_at", postgresql_where=text("processed_at IS NULL")),
    Index("webhook_events_job", "job_id", postgresql_where=text("job_id IS NOT NULL")),
)

files = Table(
    "files",
    metadata,
    _id(),
    _of("organizations", "organization_id", "CASCADE"),
    _of("users", "user_id", "SET NULL"),
    Column("s3_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("job_id", Uuid, comment="the job that made it"),
    _made(),
    _time("expires_at", comment="none: it stays"),
    UniqueConstraint("s3_key"),
    _one_of("kind", FILE_KINDS),
    CheckConstraint("bytes >= 0", name="bytes"),
    Index("files_organization", "organization_id", "created_at"),
    Index("files_user", "user_id"),
    Index("files_expired", "expires_at", "id", postgresql_where=text("expires_at IS NOT NULL")),
    Index("files_job", "job_id", postgresql_where=text("job_id IS NOT NULL")),
)
