"""Events as providers send them, signed by the providers' own libraries."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import stripe
import svix

from functions.webhook_ingress.handler import handler
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.testing import Context, function_url_event
from tests.conftest import ROOT

SECRETS = {
    "STRIPE_WEBHOOK_SECRET": "whsec_stripe_test",
    "RESEND_WEBHOOK_SECRET": "whsec_cmVzZW5kIHRlc3Q=",
    "CUSTOM_WEBHOOK_SECRETS": '{"crm": "whsec_Y3JtIHRlc3Q="}',
}
STANDARD = {"resend": ("svix", "whsec_cmVzZW5kIHRlc3Q="), "custom/crm": ("webhook", "whsec_Y3JtIHRlc3Q=")}
INGRESS = "http://127.0.0.1:9/webhook-ingress"
NOW = int(time.time())


def sample(path: str) -> dict[str, Any]:
    """One of `events/webhooks/`, with an id of its own."""
    document: dict[str, Any] = json.loads((ROOT / "events" / "webhooks" / f"{path}.json").read_text())
    if "id" in document:
        document["id"] = f"evt_{uuid4().hex}"
    return document


def stripe_event(name: str, at: int = NOW, previous: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A sample of Stripe's that happened at a time, with some of its object's fields changed."""
    event = sample(f"stripe/{name}")
    event["created"] = at
    event["data"]["object"] |= changes
    if previous is not None:
        event["data"]["previous_attributes"] = previous
    return event


def headers(sender: str, body: str, event_id: str | None = None, age: timedelta = timedelta(0)) -> dict[str, str]:
    """What the provider sends along, signed with its own library."""
    moment = datetime.now(UTC) - age
    if sender == "stripe":
        signed = stripe.WebhookSignature.generate_signature_header(
            body, SECRETS["STRIPE_WEBHOOK_SECRET"], int(moment.timestamp())
        )
        return {"stripe-signature": signed}
    kind, secret = STANDARD[sender]
    event_id = event_id or f"msg_{uuid4().hex}"
    return {
        f"{kind}-id": event_id,
        f"{kind}-timestamp": str(int(moment.timestamp())),
        f"{kind}-signature": svix.Webhook(secret).sign(event_id, moment, body),
    }


@dataclass(frozen=True)
class Answer:
    """What a provider is told."""

    status: int
    outcome: str
    headers: dict[str, str] = field(default_factory=dict)


def post(
    sender: str,
    document: object,
    *,
    event_id: str | None = None,
    method: str = "POST",
    signed: dict[str, str] | None = None,
    age: timedelta = timedelta(0),
) -> Answer:
    """One request at the front door; a text is the body as it stands."""
    body = document if isinstance(document, str) else json.dumps(document)
    sent = headers(sender, body, event_id, age) if signed is None else signed
    event = function_url_event(f"{INGRESS}/{sender}", body.encode(), sent, method)
    answer = handler(event, Context(timedelta(seconds=30)))
    return Answer(answer["statusCode"], json.loads(answer["body"])["outcome"], answer["headers"])


def job(document: dict[str, Any]) -> ProcessWebhook:
    """The job of an event of Stripe's that has been verified, as the front door enqueues it."""
    event = copy.deepcopy(document)
    return ProcessWebhook(source="stripe", event=event["type"], event_id=event["id"], data=event)
