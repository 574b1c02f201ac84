"""One mail of each template, with all its variables."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_address

from qstash_jobs.jobs.send_email import (
    EmailChangeData,
    EmailData,
    EmailTemplate,
    ExportReadyData,
    PasswordChangedData,
    PasswordResetData,
    PaymentFailedData,
    ReportReadyData,
    SubscriptionCreatedData,
    TeamInvitationData,
    WelcomeData,
)

ADDRESS = "ada@example.com"
LINK = "https://app.example.com/go?token=a%2Fb.c-d&next=%2Fhome"

SAMPLES: dict[EmailTemplate, EmailData] = {
    data.template: data
    for data in (
        WelcomeData(recipient_name="Ada", login_url=LINK),
        PasswordResetData(recipient_name="Ada", reset_url=LINK, expires_in_minutes=90),
        PasswordChangedData(
            recipient_name="Ada",
            changed_at=datetime(2026, 3, 3, 9, 5, tzinfo=UTC),
            ip_address=ip_address("2001:db8::1"),
            reset_url=LINK,
        ),
        EmailChangeData(recipient_name="Ada", new_email="ada@example.org", confirm_url=LINK, expires_in_minutes=60),
        TeamInvitationData(
            inviter_name="Charles",
            organization_name="Analytical Engines",
            invite_url=LINK,
            role="Admin",
            expires_at=datetime(2026, 3, 10, tzinfo=UTC),
        ),
        SubscriptionCreatedData(
            recipient_name="Ada",
            plan_name="Team",
            amount=Decimal("1290.00"),
            currency="EUR",
            interval="year",
            next_billing_date=date(2027, 3, 3),
            manage_url=LINK,
        ),
        PaymentFailedData(
            recipient_name="Ada",
            amount=Decimal("29.00"),
            currency="CHF",
            update_payment_url=LINK,
            retry_date=date(2026, 3, 6),
            plan_name="Team",
        ),
        ExportReadyData(
            dataset_name="activity logs",
            format="CSV",
            rows=12_345,
            size=1_834_000,
            download_url=LINK,
            expires_at=datetime(2026, 3, 10, tzinfo=UTC),
        ),
        ReportReadyData(
            report_name="Billing",
            period="1 to 31 March 2026",
            download_url=LINK,
            expires_at=datetime(2026, 3, 10, tzinfo=UTC),
        ),
    )
}


def least(data: EmailData) -> EmailData:
    """The same mail without what may be left out."""
    required = {name for name, field in type(data).model_fields.items() if field.is_required()}
    return type(data).model_validate(data.model_dump(include=required))
