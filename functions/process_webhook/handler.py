"""Processes one event of a provider: what it says is taken over into our tables, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from qstash_jobs.errors import ConfigurationError, InvalidMessage, NonRetryable, SignatureRejected
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.run import Run
from qstash_jobs.serving import serve
from qstash_jobs.settings import settings
from qstash_jobs.webhook_signatures import Sender, verify

if TYPE_CHECKING:
    from qstash_jobs.webhook_events import Event


def process(payload: ProcessWebhook, run: Run) -> JsonValue:
    """Do what the event is for, and mark it as processed, in one transaction; `{"outcome": what was done}`."""
    # SQLAlchemy and the tables are loaded by the first event, not by a request that turns out to be forged.
    from functions.process_webhook import custom, inbox, resend_events, stripe_events
    from functions.process_webhook.outcome import Unusable

    event = _event(payload, run)
    act = {"stripe": stripe_events.act, "resend": resend_events.act, "custom": custom.act}[event.sender.source]
    with run.connection() as connection:
        if not inbox.take(connection, event, run.job_id):
            return {"outcome": "processed before"}
        try:
            outcome = act(connection, event, run)
        except ValidationError as error:
            raise NonRetryable(f"this {event.type} lacks what is needed of it: {_first(error)}") from None
        except Unusable as error:
            raise NonRetryable(f"this {event.type} cannot be used: {error}") from None
        inbox.finish(connection, event)
    run.logger.info("Webhook processed", extra={"event_type": event.type, "outcome": outcome})
    return {"outcome": outcome}


def _event(payload: ProcessWebhook, run: Run) -> Event:
    from qstash_jobs.webhook_events import Event, check_storable, read

    sender = Sender(payload.source, payload.name)
    try:
        if payload.raw_body is not None and payload.signature is not None:
            body = payload.raw_body.encode()
            # Its signature was made when the event was sent; how long the job has waited since says nothing of it.
            verify(sender, body, payload.signature, settings(), however_old=True)
            event = read(sender, body, payload.signature)
            if payload.event not in (None, event.type):
                raise NonRetryable(f"the raw body is a {event.type}, and the job calls it {payload.event}")
            return event
        assert payload.data is not None
        assert payload.event is not None
        stripe_id = payload.data.get("id") if payload.source == "stripe" else None
        known = payload.event_id or (stripe_id if isinstance(stripe_id, str) else None) or f"job:{run.job_id}"
        event = Event(sender, known, payload.event, payload.data)
        check_storable(event)
    except SignatureRejected as error:
        raise NonRetryable(f"{sender.provider} did not sign this raw body: {error}") from None
    except (ConfigurationError, InvalidMessage) as error:
        raise NonRetryable(str(error)) from None
    return event


def _first(error: ValidationError) -> str:
    """Which field, and why, without its value."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


handler = serve(ProcessWebhook, process)
