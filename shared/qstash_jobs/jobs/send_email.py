"""Send one transactional e-mail through Resend.

What a mail says besides its template's words are its variables: one model for each template. They are checked when the
job is made, so a missing one fails in the app and not in the worker.

>>> SendEmail(template="welcome", to="ada@example.com", data={"recipientName": "Ada"})
>>> WelcomeData(recipient_name="Ada").addressed("ada@example.com")  # the same job, typed
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from qstash_jobs.addresses import Email, Link
from qstash_jobs.job import Job, JobOptions, Payload, Rate

EmailTemplate = Literal[
    "welcome",
    "passwordReset",
    "passwordChanged",
    "emailChange",
    "teamInvitation",
    "subscriptionCreated",
    "paymentFailed",
    "exportReady",
    "reportReady",
]
"""The mails that there are."""

_GAPS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")


def _one_line(value: object) -> object:
    # Names come from people: a line break in one would write headers or paragraphs, a bidi override reverse the text.
    return _GAPS.sub(" ", value).strip() if isinstance(value, str) else value


Line = Annotated[str, BeforeValidator(_one_line), Field(min_length=1, max_length=200)]
"""A name or other short text; line breaks and control characters become spaces."""
Amount = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=3)]
"""Money in the currency's main unit, e.g. 29.00; exact, so a string on the wire."""
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""A currency by its ISO 4217 code, e.g. EUR."""


class EmailData(Payload):
    """The base of what one template's mail says."""

    model_config = ConfigDict(hide_input_in_errors=True)

    template: ClassVar[EmailTemplate]

    def addressed(self, to: str, *attachments: Attachment) -> SendEmail:
        """The job that sends this mail to that address. Raises `pydantic.ValidationError`."""
        return SendEmail(template=self.template, to=to, data=self, attachments=attachments)


class WelcomeData(EmailData):
    """Someone has signed up."""

    template = "welcome"

    recipient_name: Line
    """Who signed up."""
    login_url: Link | None = None
    """Where they begin; without one, the app's address."""


class PasswordResetData(EmailData):
    """Someone has forgotten their password."""

    template = "passwordReset"

    recipient_name: Line
    """Whose password it is."""
    reset_url: Link
    """Where a new one is chosen, with its token."""
    expires_in_minutes: Annotated[int, Field(ge=1, le=10_080)] = 60
    """How long the link is good for, at most a week."""


class PasswordChangedData(EmailData):
    """A password has been changed: a notice to its owner, who may not have done it."""

    template = "passwordChanged"

    recipient_name: Line
    """Whose password it is."""
    changed_at: AwareDatetime
    """When, with a time zone."""
    ip_address: IPv4Address | IPv6Address | None = None
    """From where."""
    reset_url: Link | None = None
    """Where the owner takes the account back; without one, the support address is named."""


class EmailChangeData(EmailData):
    """Someone wants another address for their account: sent to the new one, to be confirmed."""

    template = "emailChange"

    recipient_name: Line
    """Whose account it is."""
    new_email: Email
    """The address to confirm."""
    confirm_url: Link
    """Where it is confirmed, with its token."""
    expires_in_minutes: Annotated[int, Field(ge=1, le=10_080)] | None = None
    """How long the link is good for, at most a week."""


class TeamInvitationData(EmailData):
    """Someone is invited into an organization."""

    template = "teamInvitation"

    inviter_name: Line
    """Who invites."""
    organization_name: Line
    """Into which organization."""
    invite_url: Link
    """Where the invitation is accepted, with its token."""
    role: Line | None = None
    """As what, e.g. `admin`."""
    expires_at: AwareDatetime | None = None
    """Until when it can be accepted, with a time zone."""


class SubscriptionCreatedData(EmailData):
    """A subscription has begun."""

    template = "subscriptionCreated"

    recipient_name: Line
    """Who subscribed."""
    plan_name: Line
    """To what."""
    amount: Amount
    """What each period costs."""
    currency: Currency
    """Of the amount."""
    interval: Literal["month", "year"] = "month"
    """The period."""
    next_billing_date: date
    """When the next payment is due."""
    manage_url: Link | None = None
    """Where the subscription is managed; without one, the app's address."""


class PaymentFailedData(EmailData):
    """A payment did not go through."""

    template = "paymentFailed"

    recipient_name: Line
    """Whose payment it is."""
    amount: Amount
    """What was due."""
    currency: Currency
    """Of the amount."""
    update_payment_url: Link
    """Where the payment method is changed."""
    retry_date: date | None = None
    """When it will be tried again."""
    plan_name: Line | None = None
    """What it pays for."""


class ExportReadyData(EmailData):
    """An export has been written: a link to its file."""

    template = "exportReady"

    dataset_name: Line
    """What was exported, e.g. `activity logs`."""
    format: Line
    """The file's format, e.g. `CSV`."""
    rows: Annotated[int, Field(ge=0)]
    """How many rows it has."""
    size: Annotated[int, Field(ge=0)]
    """How large it is, in bytes."""
    download_url: Link
    """Where it is."""
    expires_at: AwareDatetime
    """Until when the link is good, with a time zone."""


class ReportReadyData(EmailData):
    """A report has been made: it is attached, or there is a link to it."""

    template = "reportReady"

    report_name: Line
    """What it reports on, e.g. `Billing`."""
    period: Line
    """Over which period, e.g. `1 to 31 March 2026`."""
    download_url: Link | None = None
    """Where it is, when it is not attached."""
    expires_at: AwareDatetime | None = None
    """Until when the link is good, with a time zone."""


class Attachment(Payload):
    """A file of the bucket that goes with a mail."""

    key: Annotated[str, Field(pattern=r"^(exports|reports)/[!-~]+$", max_length=1000)]
    """Its key in the bucket."""
    filename: Line
    """What it is called in the mail."""


class _Tagged(dict[str, Any]):
    """Variables that know their template, which stands beside them on the wire and not within."""

    def __init__(self, template: EmailTemplate, data: Mapping[str, Any]) -> None:
        super().__init__(data)
        self.template = template


def _template(data: object) -> str | None:
    return getattr(data, "template", None)


AnyEmailData = Annotated[
    Annotated[WelcomeData, Tag("welcome")]
    | Annotated[PasswordResetData, Tag("passwordReset")]
    | Annotated[PasswordChangedData, Tag("passwordChanged")]
    | Annotated[EmailChangeData, Tag("emailChange")]
    | Annotated[TeamInvitationData, Tag("teamInvitation")]
    | Annotated[SubscriptionCreatedData, Tag("subscriptionCreated")]
    | Annotated[PaymentFailedData, Tag("paymentFailed")]
    | Annotated[ExportReadyData, Tag("exportReady")]
    | Annotated[ReportReadyData, Tag("reportReady")],
    Discriminator(
        _template,
        custom_error_type="email_data",
        custom_error_message="an object with the variables of a known template is needed",
    ),
]


class SendEmail(Job):
    """Send one transactional e-mail through Resend."""

    options = JobOptions(
        name="send-email",
        retries=3,
        timeout=timedelta(seconds=30),
        rate=Rate(limit=5),  # what Resend allows a team by default; beyond it, refusals would use up the attempts
        sensitive=True,
        secrets=("RESEND_API_KEY",),
        grants=("s3:read",),
    )

    model_config = ConfigDict(hide_input_in_errors=True)

    template: EmailTemplate
    """Which mail."""
    to: Email
    """Who gets it."""
    data: AnyEmailData
    """What it says: the variables of its template."""
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=5)] = ()
    """Files that go with it."""

    @field_validator("data", mode="before")
    @classmethod
    def _of_the_template(cls, data: object, info: ValidationInfo) -> object:
        template: EmailTemplate | None = info.data.get("template")
        if isinstance(data, EmailData) and template not in (None, data.template):
            raise ValueError(f"these are the variables of {data.template!r}")
        if isinstance(data, Mapping) and template is not None:
            return _Tagged(template, data)
        return data
