"""Process one event that a provider sent us."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import JsonValue

from qstash_jobs.job import Job, JobOptions


class ProcessWebhook(Job):
    """Process one event that a provider sent us."""

    options = JobOptions(
        name="process-webhook", retries=5, timeout=timedelta(seconds=60), sensitive=True, publishes=True
    )

    source: Literal["stripe", "resend", "custom"]
    """Who sent it."""
    event: str
    """What happened, in the provider's words, e.g. `invoice.paid`."""
    data: dict[str, JsonValue]
    """The event, as the provider sent it."""
    signature: str | None = None
    """The provider's signature over the raw body, for an event that was enqueued without having been verified."""
