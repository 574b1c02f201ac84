"""What can be enqueued as an event, and what is said of what cannot."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from qstash_jobs.jobs.process_webhook import ProcessWebhook

SIGNATURE = {"id": "msg_1", "timestamp": "1767225600", "signature": "v1,AAAA"}


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "stripe", "event": "invoice.paid", "data": {"id": "evt_1"}},
        {"source": "resend", "event": "email.sent", "event_id": "msg_1", "data": {}},
        {"source": "custom", "name": "crm", "event": "contact.created", "data": {}},
        {"source": "stripe", "raw_body": "{}", "signature": "t=1,v1=x"},
        {"source": "stripe", "event": "invoice.paid", "raw_body": "{}", "signature": "t=1,v1=x"},
        {"source": "custom", "name": "crm", "raw_body": "{}", "signature": SIGNATURE},
    ],
)
def test_events_that_are_trusted_or_bring_a_signature(fields: dict[str, Any]) -> None:
    """Both are jobs, and come back from the wire as they were."""
    job = ProcessWebhook(**fields)
    assert ProcessWebhook.arrive(job.wire()) == job


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": "stripe"}, "event and data are needed, or raw_body and signature"),
        ({"source": "stripe", "event": "invoice.paid"}, "event and data are needed"),
        ({"source": "custom", "event": "e", "data": {}}, "custom events need one"),
        ({"source": "stripe", "name": "crm", "event": "e", "data": {}}, "others have none"),
        ({"source": "custom", "name": "a/b", "event": "e", "data": {}}, "pattern"),
        ({"source": "stripe", "event": "e", "data": {}, "signature": "t=1,v1=x"}, "go together"),
        ({"source": "stripe", "raw_body": "{}"}, "go together"),
        ({"source": "stripe", "data": {}, "raw_body": "{}", "signature": "t=1"}, "leave out event_id and data"),
        ({"source": "stripe", "raw_body": "{}", "signature": SIGNATURE}, "is the Stripe-Signature header"),
        ({"source": "resend", "raw_body": "{}", "signature": "t=1"}, "is an object: id, timestamp, signature"),
        ({"source": "stripe", "raw_body": "x" * 1_000_001, "signature": "t=1"}, "at most 1000000 characters"),
        ({"source": "github", "event": "push", "data": {}}, "'stripe', 'resend' or 'custom'"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_the_app(fields: dict[str, Any], said: str) -> None:
    """With what is wrong, and without the event itself, which the app's log would keep."""
    with pytest.raises(ValidationError, match=said) as raised:
        ProcessWebhook(**fields)
    assert "input_value" not in str(raised.value)
