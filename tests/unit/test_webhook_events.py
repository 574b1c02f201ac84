"""What a verified body says, or why it is no event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstash_jobs.errors import InvalidMessage
from qstash_jobs.executions.literals import storable_json
from qstash_jobs.jobs.process_webhook import StandardSignature
from qstash_jobs.webhook_events import read
from qstash_jobs.webhook_signatures import Sender

STRIPE, CRM = Sender("stripe"), Sender("custom", "crm")
SIGNATURE = StandardSignature(id="msg_1", timestamp="1767225600", signature="v1,AAAA")


def test_the_id_is_where_each_provider_has_it() -> None:
    """Stripe's in the body, that of Standard Webhooks beside it: an `id` in such a body is something else."""
    body = b'{"id": "evt_1", "type": "invoice.paid", "data": {"amount": 1}}'
    assert read(STRIPE, body, "t=1,v1=x").event_id == "evt_1"
    event = read(CRM, body, SIGNATURE)
    assert (event.event_id, event.type, event.data) == ("msg_1", "invoice.paid", json.loads(body))
    assert (STRIPE.provider, CRM.provider) == ("stripe", "custom/crm")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "the event is not JSON"),
        ("[]", "an event is a JSON object, not list"),
        ("{}", "the event has no 'type'"),
        ('{"type": 1}', "the event has no 'type'"),
        ('{"type": "a", "b": "\\u0000"}', "cannot be stored: text with a NUL character"),
        ('{"type": "a\\u0000"}', "cannot be stored: text with a NUL character"),
        ('{"type": "a", "b": NaN}', "cannot be stored: not JSON"),
        ("[" * 100_000, "the event is not JSON"),
    ],
)
def test_what_is_no_event_is_said(body: str, said: str) -> None:
    """In a line for the log."""
    with pytest.raises(InvalidMessage, match=said):
        read(CRM, body.encode(), SIGNATURE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(body=st.binary() | JSON.map(lambda value: json.dumps({"type": "a", "data": value}).encode()))
def test_whatever_is_signed_is_an_event_that_can_be_stored_or_is_refused(body: bytes) -> None:
    """Nothing else escapes, and nothing that Postgres would refuse gets through."""
    try:
        event: Any = read(CRM, body, SIGNATURE)
    except InvalidMessage:
        return
    assert storable_json(event.data)
    assert event.data == json.loads(body)
