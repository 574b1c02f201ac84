"""Enqueue each mail with its variables as arguments; what `enqueue` takes besides its job may follow them.

>>> from qstash_jobs import emails
>>> job_id = emails.welcome(to="ada@example.com", recipient_name="Ada", user_id=1)

Asynchronous services: `await enqueue_async(WelcomeData(recipient_name="Ada").addressed("ada@example.com"))`.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Literal, Unpack
from uuid import UUID

from qstash_jobs.jobs.send_email import (
    EmailChangeData,
    EmailData,
    ExportReadyData,
    PasswordChangedData,
    PasswordResetData,
    PaymentFailedData,
    ReportReadyData,
    SubscriptionCreatedData,
    TeamInvitationData,
    WelcomeData,
)

if TYPE_CHECKING:
    from qstash_jobs.dispatch import EnqueueOptions


def welcome(*, to: str, recipient_name: str, login_url: str | None = None, **options: Unpack[EnqueueOptions]) -> UUID:
    """Greet someone who has signed up."""
    return _enqueue(to, WelcomeData(recipient_name=recipient_name, login_url=login_url), options)


def password_reset(
    *,
    to: str,
    recipient_name: str,
    reset_url: str,
    expires_in_minutes: int = 60,
    **options: Unpack[EnqueueOptions],
) -> UUID:
    """Let someone choose a new password."""
    data = PasswordResetData(recipient_name=recipient_name, reset_url=reset_url, expires_in_minutes=expires_in_minutes)
    return _enqueue(to, data, options)


def password_changed(
    *,
    to: str,
    recipient_name: str,
    changed_at: datetime,
    ip_address: IPv4Address | IPv6Address | str | None = None,
    reset_url: str | None = None,
    **options: Unpack[EnqueueOptions],
) -> UUID:
    """Tell someone that their password was changed."""
    data = PasswordChangedData.model_validate(
        {"recipient_name": recipient_name, "changed_at": changed_at, "ip_address": ip_address, "reset_url": reset_url}
    )
    return _enqueue(to, data, options)


def email_change(
    *,
    to: str,
    recipient_name: str,
    new_email: str,
    confirm_url: str,
    expires_in_minutes: int | None = None,
    **options: Unpack[EnqueueOptions],
) -> UUID:
    """Let someone confirm their new address; `to` is usually that address."""
    data = EmailChangeData(
        recipient_name=recipient_name,
        new_email=new_email,
        confirm_url=confirm_url,
        expires_in_minutes=expires_in_minutes,
    )
    return _enqueue(to, data, options)


def team_invitation(
    *,
    to: str,
    inviter_name: str,
    organization_name: str,
    invite_url: str,
    role: str | None = None,
    expires_at: datetime | None = None,
    **options: Unpack[EnqueueOptions],
) -> UUID:
    """Invite someone into an organization."""
    data = TeamInvitationData(
        inviter_name=inviter_name,
        organization_name=organization_name,
        invite_url=invite_url,
        role=role,
        expires_at=expires_at,
    )
    return _enqueue(to, data, options)


def subscription_created(
    *,
    to: str,
    recipient_name: str,
    plan_name: str,
    amount: Decimal,
    currency: str,
    next_billing_date: date,
    interval: Literal["month", "year"] = "month",
    manage_url: str | None = None,
    **options: Unpack[EnqueueOptions],
) -> UUID:
    """Confirm a subscription."""
    data = SubscriptionCreatedData(
        recipient_name=recipient_name,
        plan_name=plan_name,
        amount=amount,
        currency=currency,
        interval=interval,
        next_billing_date=next_billing_date,
        manage_url=manage_url,
    )
    return _enqueue(to, data, options)


def payment_failed(
    *,
    to: str,
    recipient_name: str,
    amount: Decimal,
    currency: str,
    update_payment_url: str,
    retry_date: date | None = None,
    plan_name: str | None = None,
    **options: Unpack[EnqueueOptions],
) -> UUID:
    """Tell someone that their payment did not go through."""
    data = PaymentFailedData(
        recipient_name=recipient_name,
        amount=amount,
        currency=currency,
        update_payment_url=update_payment_url,
        retry_date=retry_date,
        plan_name=plan_name,
    )
    return _enqueue(to, data, options)


def export_ready(
    *,
    to: str,
    dataset_name: str,
    format: str,  # noqa: A002  # the wire's name
    rows: int,
    size: int,
    download_url: str,
    expires_at: datetime,
    **options: Unpack[EnqueueOptions],
) -> UUID:
    """Tell someone where their export is; `size` is in bytes."""
    data = ExportReadyData(
        dataset_name=dataset_name,
        format=format,
        rows=rows,
        size=size,
        download_url=download_url,
        expires_at=expires_at,
    )
    return _enqueue(to, data, options)


def report_ready(
    *,
    to: str,
    report_name: str,
    period: str,
    download_url: str | None = None,
    expires_at: datetime | None = None,
    **options: Unpack[EnqueueOptions],
) -> UUID:
    """Tell someone where their report is."""
    data = ReportReadyData(report_name=report_name, period=period, download_url=download_url, expires_at=expires_at)
    return _enqueue(to, data, options)


def _enqueue(to: str, data: EmailData, options: EnqueueOptions) -> UUID:
    from qstash_jobs.dispatch import enqueue  # brings the database driver: loaded when the first mail is enqueued

    return enqueue(data.addressed(to), **options)
