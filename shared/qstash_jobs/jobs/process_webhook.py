"""Process one event that a provider sent us.

The function `webhook-ingress` enqueues these, and an app may: an event that it trusts as `event`, `event_id` and `data`,
or one that it has only received as `raw_body` and `signature`, which the job verifies.

>>> ProcessWebhook(source="stripe", event="invoice.paid", data={"id": "evt_1", ...})
>>> ProcessWebhook(source="stripe", raw_body=body, signature=headers["Stripe-Signature"])
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from qstash_jobs.job import Job, JobOptions, Payload

Source = Literal["stripe", "resend", "custom"]
"""Who sends events."""

SenderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
Words = Annotated[str, Field(min_length=1, max_length=255)]

BODY_LIMIT = 1_000_000
"""Bytes of an event; the providers' own are a few thousand."""


class StandardSignature(Payload):
    """What signs an event by Standard Webhooks: three headers, `webhook-…`, or `svix-…` from Resend.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """

    id: Words
    """`webhook-id`: of the event, the same each time it is sent."""
    timestamp: Words
    """`webhook-timestamp`: when it was sent, in unix seconds."""
    signature: Annotated[str, Field(min_length=1, max_length=5000)]
    """`webhook-signature`: one or several, with blanks between them."""


class ProcessWebhook(Job):
    """Process one event that a provider sent us."""

    options = JobOptions(
        name="process-webhook",
        retries=5,
        timeout=timedelta(seconds=60),
        sensitive=True,
        publishes=True,
        secrets=("STRIPE_WEBHOOK_SECRET", "RESEND_WEBHOOK_SECRET", "CUSTOM_WEBHOOK_SECRETS"),
    )

    model_config = ConfigDict(hide_input_in_errors=True)

    source: Source
    """Who sent it."""
    name: SenderName | None = None
    """Which of the custom senders, e.g. `crm`."""
    event: Words | None = None
    """What happened, in the provider's words, e.g. `invoice.paid`."""
    event_id: Words | None = None
    """The provider's id of the event, under which it is processed once; without one, Stripe's `id` in its data, or else
    the job's own id."""
    data: dict[str, JsonValue] | None = None
    """The event, as the provider sent it."""
    raw_body: Annotated[str, Field(min_length=1, max_length=BODY_LIMIT)] | None = None
    """The body of an event that nobody has verified, as it came; with a signature, and in the place of the data."""
    signature: Annotated[str, Field(min_length=1, max_length=5000)] | StandardSignature | None = None
    """The provider's signature over the raw body: Stripe's header, or the three headers of Standard Webhooks."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.source == "custom") != (self.name is not None):
            raise ValueError("name says which custom sender it was: custom events need one, and others have none")
        if self.raw_body is not None or self.signature is not None:
            self._check_unverified()
        elif self.event is None or self.data is None:
            raise ValueError("event and data are needed, or raw_body and signature")
        return self

    def _check_unverified(self) -> None:
        if self.raw_body is None or self.signature is None:
            raise ValueError("raw_body and signature go together: one proves the other")
        if self.event_id is not None or self.data is not None:
            raise ValueError("with a raw_body, leave out event_id and data: they are read from what is verified")
        if isinstance(self.signature, str) != (self.source == "stripe"):
            kind = "the Stripe-Signature header" if self.source == "stripe" else "an object: id, timestamp, signature"
            raise ValueError(f"the signature of a {self.source} event is {kind}")
