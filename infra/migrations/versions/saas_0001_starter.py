"""The starter's tables: users, organizations, what they do, pay and are sent.

A branch of its own: an app that has such tables already never sees it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import INET, JSONB

revision = "saas_0001"
down_revision = None
branch_labels = ("saas",)
depends_on = None

NOW = sa.text("clock_timestamp()")


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False)


def _time(name: str, *, required: bool = False, comment: str | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not required, comment=comment)


def _made(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=NOW)


def upgrade() -> None:
    op.create_table(
        "email_deliveries",
        _id(),
        sa.Column("resend_id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Uuid, comment="the job that sent it"),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("template", sa.Text),
        sa.Column("status", sa.Text, server_default="sent", nullable=False),
        sa.Column("reason", sa.Text, comment="why it bounced or is late, as the other side said"),
        _made("sent_at"),
        _time("delivered_at"),
        _time("bounced_at"),
        _time("complained_at"),
        _time("last_event_at", comment="of the newest event applied: an older one does not change the status"),
        sa.CheckConstraint(
            "status IN ('sent', 'delivered', 'delayed', 'bounced', 'complained')", name=op.f("email_deliveries_status")
        ),
        sa.PrimaryKeyConstraint("id", name="email_deliveries_pkey"),
        sa.UniqueConstraint("resend_id", name="email_deliveries_resend_id_key"),
    )
    op.create_index("email_deliveries_address", "email_deliveries", [sa.text("lower(address)"), "sent_at"])
    op.create_index(
        "email_deliveries_job", "email_deliveries", ["job_id"], postgresql_where=sa.text("job_id IS NOT NULL")
    )
    op.create_index("email_deliveries_sent", "email_deliveries", ["sent_at", "status"])
    op.create_table(
        "organizations",
        _id(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("billing_email", sa.Text),
        sa.Column("country", sa.Text, comment="ISO 3166-1, two letters"),
        sa.Column("stripe_customer_id", sa.Text, comment="none before the first check-out"),
        _made("created_at"),
        _made("updated_at"),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name=op.f("organizations_country")),
        sa.PrimaryKeyConstraint("id", name="organizations_pkey"),
        sa.UniqueConstraint("slug", name="organizations_slug_key"),
        sa.UniqueConstraint("stripe_customer_id", name="organizations_stripe_customer_id_key"),
    )
    op.create_index("organizations_created", "organizations", ["created_at", "id"])
    op.create_table(
        "users",
        _id(),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, server_default="active", nullable=False),
        sa.Column("locale", sa.Text, server_default="en", nullable=False),
        sa.Column("time_zone", sa.Text, server_default="UTC", nullable=False),
        sa.Column("marketing_consent", sa.Boolean, server_default=sa.text("false"), nullable=False),
        _time("email_verified_at"),
        _made("created_at"),
        _made("updated_at"),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("users_status")),
        sa.PrimaryKeyConstraint("id", name="users_pkey"),
    )
    op.create_index("users_created", "users", ["created_at", "id"])
    op.create_index("users_email", "users", [sa.text("lower(email)")], unique=True)
    op.create_table(
        "webhook_events",
        _id(),
        sa.Column("provider", sa.Text, nullable=False, comment="stripe, resend or custom/NAME"),
        sa.Column("event_id", sa.Text, nullable=False, comment="the provider's"),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("payload", JSONB, nullable=False, comment="as it came"),
        _made("received_at"),
        _time("processed_at"),
        sa.Column("job_id", sa.Uuid, comment="the job that processes it"),
        sa.CheckConstraint(
            "provider ~ '^(stripe|resend|custom/[A-Za-z0-9._-]+)$'", name=op.f("webhook_events_provider")
        ),
        sa.PrimaryKeyConstraint("id", name="webhook_events_pkey"),
        sa.UniqueConstraint("provider", "event_id", name="webhook_events_provider_event_id_key"),
    )
    op.create_index("webhook_events_job", "webhook_events", ["job_id"], postgresql_where=sa.text("job_id IS NOT NULL"))
    op.create_index("webhook_events_received", "webhook_events", ["received_at", "id"])
    op.create_index(
        "webhook_events_unprocessed",
        "webhook_events",
        ["received_at"],
        postgresql_where=sa.text("processed_at IS NULL"),
    )
    op.create_table(
        "activity_logs",
        _id(),
        sa.Column("organization_id", sa.BigInteger),
        sa.Column("user_id", sa.BigInteger),
        sa.Column("action", sa.Text, nullable=False, comment="what was done to what: document.viewed"),
        sa.Column("target_type", sa.Text),
        sa.Column("target_id", sa.BigInteger),
        sa.Column("ip_address", INET),
        sa.Column("details", JSONB, server_default=sa.text("'{}'"), nullable=False),
        _made("created_at"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="activity_logs_organization_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="activity_logs_user_id_fkey", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="activity_logs_pkey"),
    )
    op.create_index("activity_logs_created", "activity_logs", ["created_at", "id"])
    op.create_index("activity_logs_organization", "activity_logs", ["organization_id", "created_at", "id"])
    op.create_index("activity_logs_user", "activity_logs", ["user_id", "created_at"])
    op.create_table(
        "email_suppressions",
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("email_delivery_id", sa.BigInteger),
        _made("created_at"),
        sa.CheckConstraint("reason IN ('bounced', 'complained', 'manual')", name=op.f("email_suppressions_reason")),
        sa.CheckConstraint("address = lower(address)", name=op.f("email_suppressions_lower")),
        sa.ForeignKeyConstraint(
            ["email_delivery_id"],
            ["email_deliveries.id"],
            name="email_suppressions_email_delivery_id_fkey",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("address", name="email_suppressions_pkey"),
    )
    op.create_index(
        "email_suppressions_delivery",
        "email_suppressions",
        ["email_delivery_id"],
        postgresql_where=sa.text("email_delivery_id IS NOT NULL"),
    )
    op.create_table(
        "files",
        _id(),
        sa.Column("organization_id", sa.BigInteger),
        sa.Column("user_id", sa.BigInteger),
        sa.Column("s3_key", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("job_id", sa.Uuid, comment="the job that made it"),
        _made("created_at"),
        _time("expires_at", comment="none: it stays"),
        sa.CheckConstraint("kind IN ('export', 'report', 'upload', 'temporary')", name=op.f("files_kind")),
        sa.CheckConstraint("bytes >= 0", name=op.f("files_bytes")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="files_organization_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="files_user_id_fkey", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="files_pkey"),
        sa.UniqueConstraint("s3_key", name="files_s3_key_key"),
    )
    op.create_index("files_expired", "files", ["expires_at", "id"], postgresql_where=sa.text("expires_at IS NOT NULL"))
    op.create_index("files_job", "files", ["job_id"], postgresql_where=sa.text("job_id IS NOT NULL"))
    op.create_index("files_organization", "files", ["organization_id", "created_at"])
    op.create_index("files_user", "files", ["user_id"])
    op.create_table(
        "invitations",
        _id(),
        sa.Column("organization_id", sa.BigInteger, nullable=False),
        sa.Column("invited_by", sa.BigInteger),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("role", sa.Text, server_default="member", nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        _made("created_at"),
        _time("expires_at", required=True),
        _time("accepted_at"),
        _time("revoked_at"),
        sa.CheckConstraint("role IN ('owner', 'admin', 'member')", name=op.f("invitations_role")),
        sa.CheckConstraint("accepted_at IS NULL OR revoked_at IS NULL", name=op.f("invitations_ended")),
        sa.ForeignKeyConstraint(["invited_by"], ["users.id"], name="invitations_invited_by_fkey", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="invitations_organization_id_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="invitations_pkey"),
        sa.UniqueConstraint("token_hash", name="invitations_token_hash_key"),
    )
    op.create_index("invitations_address", "invitations", ["organization_id", sa.text("lower(email)")])
    op.create_index("invitations_expired", "invitations", ["expires_at", "id"])
    op.create_index("invitations_invited_by", "invitations", ["invited_by"])
    op.create_table(
        "invoices",
        _id(),
        sa.Column("organization_id", sa.BigInteger),
        sa.Column("stripe_invoice_id", sa.Text, nullable=False),
        sa.Column("stripe_customer_id", sa.Text, nullable=False),
        sa.Column(
            "stripe_subscription_id", sa.Text, comment="no foreign key: an invoice may arrive before its subscription"
        ),
        sa.Column("number", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("amount_due", sa.BigInteger, nullable=False),
        sa.Column("amount_paid", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, server_default="0", nullable=False, comment="to collect it"),
        _time("issued_at", required=True),
        _time("due_at"),
        _time("paid_at"),
        _time("failed_at", comment="when a payment last failed, also if a later one succeeded"),
        sa.Column("failure_reason", sa.Text),
        _time("period_start"),
        _time("period_end"),
        _time("last_event_at", required=True, comment="of the newest event applied: an older one changes nothing"),
        _made("created_at"),
        _made("updated_at"),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("invoices_currency")),
        sa.CheckConstraint(
            "status IN ('draft', 'open', 'paid', 'uncollectible', 'void')", name=op.f("invoices_status")
        ),
        sa.CheckConstraint("amount_paid >= 0 AND attempts >= 0", name=op.f("invoices_numbers")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="invoices_organization_id_fkey", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="invoices_pkey"),
        sa.UniqueConstraint("stripe_invoice_id", name="invoices_stripe_invoice_id_key"),
    )
    op.create_index("invoices_failed", "invoices", ["failed_at"], postgresql_where=sa.text("failed_at IS NOT NULL"))
    op.create_index("invoices_issued", "invoices", ["issued_at", "status"])
    op.create_index("invoices_organization", "invoices", ["organization_id", "issued_at"])
    op.create_index("invoices_subscription", "invoices", ["stripe_subscription_id"])
    op.create_table(
        "organization_members",
        sa.Column("organization_id", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("role", sa.Text, server_default="member", nullable=False),
        _made("created_at"),
        sa.CheckConstraint("role IN ('owner', 'admin', 'member')", name=op.f("organization_members_role")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name="organization_members_organization_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="organization_members_user_id_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "user_id", name="organization_members_pkey"),
    )
    op.create_index("organization_members_user", "organization_members", ["user_id"])
    op.create_table(
        "sessions",
        _id(),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("ip_address", INET),
        sa.Column("user_agent", sa.Text),
        _made("created_at"),
        _time("expires_at", required=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="sessions_user_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="sessions_pkey"),
        sa.UniqueConstraint("token_hash", name="sessions_token_hash_key"),
    )
    op.create_index("sessions_expired", "sessions", ["expires_at", "id"])
    op.create_index("sessions_user", "sessions", ["user_id"])
    op.create_table(
        "subscriptions",
        _id(),
        sa.Column("organization_id", sa.BigInteger),
        sa.Column("stripe_subscription_id", sa.Text, nullable=False),
        sa.Column("stripe_customer_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column(
            "plan",
            sa.Text,
            nullable=False,
            comment="the lookup key of the price; Stripe's catalogue says which there are",
        ),
        sa.Column("quantity", sa.Integer, server_default="1", nullable=False, comment="seats"),
        sa.Column(
            "amount", sa.BigInteger, nullable=False, comment="for all seats, each interval_count billing intervals"
        ),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("billing_interval", sa.Text, nullable=False),
        sa.Column("interval_count", sa.Integer, server_default="1", nullable=False),
        _time("started_at", required=True),
        _time("trial_ends_at"),
        _time("current_period_start"),
        _time("current_period_end"),
        sa.Column("cancel_at_period_end", sa.Boolean, server_default=sa.text("false"), nullable=False),
        _time("canceled_at"),
        _time("ended_at"),
        _time("last_event_at", required=True, comment="of the newest event applied: an older one changes nothing"),
        _made("created_at"),
        _made("updated_at"),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("subscriptions_currency")),
        sa.CheckConstraint(
            "billing_interval IN ('day', 'week', 'month', 'year')", name=op.f("subscriptions_billing_interval")
        ),
        sa.CheckConstraint(
            "status IN ('incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'canceled', 'unpaid', 'paused')",
            name=op.f("subscriptions_status"),
        ),
        sa.CheckConstraint("amount >= 0 AND quantity >= 0 AND interval_count >= 1", name=op.f("subscriptions_numbers")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="subscriptions_organization_id_fkey", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="subscriptions_pkey"),
        sa.UniqueConstraint("stripe_subscription_id", name="subscriptions_stripe_subscription_id_key"),
    )
    op.create_index("subscriptions_customer", "subscriptions", ["stripe_customer_id"])
    op.create_index("subscriptions_organization", "subscriptions", ["organization_id"])
    op.create_index(
        "subscriptions_paying", "subscriptions", ["plan"], postgresql_where=sa.text("status IN ('active', 'past_due')")
    )
    op.create_table(
        "subscription_changes",
        _id(),
        sa.Column("subscription_id", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False, comment="Stripe's"),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("billing_interval", sa.Text, nullable=False),
        sa.Column("interval_count", sa.Integer, server_default="1", nullable=False),
        _time("changed_at", required=True, comment="when it happened, as the event says"),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("subscription_changes_currency")),
        sa.CheckConstraint(
            "billing_interval IN ('day', 'week', 'month', 'year')", name=op.f("subscription_changes_billing_interval")
        ),
        sa.CheckConstraint(
            "status IN ('incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'canceled', 'unpaid', 'paused')",
            name=op.f("subscription_changes_status"),
        ),
        sa.CheckConstraint(
            "amount >= 0 AND quantity >= 0 AND interval_count >= 1", name=op.f("subscription_changes_numbers")
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name="subscription_changes_subscription_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="subscription_changes_pkey"),
        sa.UniqueConstraint("event_id", name="subscription_changes_event_id_key"),
    )
    op.create_index("subscription_changes_changed", "subscription_changes", ["changed_at"])
    op.create_index(
        "subscription_changes_subscription", "subscription_changes", ["subscription_id", "changed_at", "id"]
    )


def downgrade() -> None:
    for table in (
        "subscription_changes",
        "subscriptions",
        "sessions",
        "organization_members",
        "invoices",
        "invitations",
        "files",
        "email_suppressions",
        "activity_logs",
        "webhook_events",
        "users",
        "organizations",
        "email_deliveries",
    ):
        op.drop_table(table)
