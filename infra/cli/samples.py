"""One of each mail and of each kind of work, as the demo enqueues them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from infra.local.service import ROOT
from qstash_jobs.job import Job
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.jobs.export_data import ExportData
from qstash_jobs.jobs.generate_report import DateRange, GenerateReport
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.jobs.reconcile_jobs import ReconcileJobs
from qstash_jobs.jobs.send_email import (
    EmailChangeData,
    ExportReadyData,
    PasswordChangedData,
    PasswordResetData,
    PaymentFailedData,
    ReportReadyData,
    SubscriptionCreatedData,
    TeamInvitationData,
    WelcomeData,
)

_ADA = "ada@example.com"

MAILS = (
    WelcomeData(recipient_name="Ada Lovelace").addressed(_ADA),
    PasswordResetData(recipient_name="Ada Lovelace", reset_url="https://app.example.com/reset?token=3f9a").addressed(
        _ADA
    ),
    PasswordChangedData(
        recipient_name="Ada Lovelace", changed_at=datetime(2026, 3, 14, 9, 26, tzinfo=UTC), ip_address="203.0.113.7"
    ).addressed(_ADA),
    EmailChangeData(
        recipient_name="Ada Lovelace",
        new_email="ada@analytical.example",
        confirm_url="https://app.example.com/confirm?token=81c2",
    ).addressed("ada@analytical.example"),
    TeamInvitationData(
        inviter_name="Charles Babbage",
        organization_name="Analytical Engines",
        role="engineer",
        invite_url="https://app.example.com/invitations/5d1e",
    ).addressed(_ADA),
    SubscriptionCreatedData(
        recipient_name="Ada Lovelace",
        plan_name="Team",
        amount=Decimal("29.00"),
        currency="EUR",
        next_billing_date=date(2026, 4, 14),
    ).addressed(_ADA),
    PaymentFailedData(
        recipient_name="Ada Lovelace",
        amount=Decimal("29.00"),
        currency="EUR",
        update_payment_url="https://app.example.com/billing",
        retry_date=date(2026, 4, 17),
    ).addressed(_ADA),
    ExportReadyData(
        dataset_name="activity logs",
        format="CSV",
        rows=12_345,
        size=1_834_000,
        download_url="https://download.example.com/eyJhbGciOiJIUzI1NiJ9.3f9a",
        expires_at=datetime(2026, 3, 21, 9, 26, tzinfo=UTC),
    ).addressed(_ADA),
    ReportReadyData(
        report_name="Billing",
        period="1 to 31 March 2026",
        download_url="https://download.example.com/eyJhbGciOiJIUzI1NiJ9.81c2",
        expires_at=datetime(2026, 4, 8, 6, 0, tzinfo=UTC),
    ).addressed(_ADA),
)
"""All of them to made-up people."""


def work(now: datetime) -> dict[str, Job]:
    """What the other job types do, by what people call it, on made-up data that ends `now`."""
    event = json.loads((ROOT / "events/webhooks/stripe/checkout-session-completed.json").read_text(encoding="utf-8"))
    month = DateRange(from_=now - timedelta(days=30), to=now)
    return {
        "Stripe: a check-out": ProcessWebhook(source="stripe", event=event["type"], data=event),
        "export: users, csv": ExportData(export_type="users", format="csv", notify_email=_ADA),
        "export: activity, xlsx": ExportData(export_type="activity-logs", format="xlsx", notify_email=_ADA),
        "report: billing, pdf": GenerateReport(
            report_type="billing", date_range=month, recipients=[_ADA], format="pdf"
        ),
        "report: analytics, html": GenerateReport(
            report_type="analytics", date_range=month, recipients=[_ADA], format="html"
        ),
        "clean-up: sessions, counted": CleanupOldData(cleanup_type="old-sessions", days_old=30, dry_run=True),
        "clean-up: invitations": CleanupOldData(cleanup_type="expired-invitations", days_old=7),
        "reconcile": ReconcileJobs(),
    }
