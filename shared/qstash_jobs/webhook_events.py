"""What an event of a provider says of itself: an id, under which it is processed once, and what happened."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import JsonValue

from qstash_jobs.errors import InvalidMessage
from qstash_jobs.executions.literals import NotStorable, storable_json
from qstash_jobs.jobs.process_webhook import StandardSignature
from qstash_jobs.webhook_signatures import Sender

_LONGEST = 255


@dataclass(frozen=True)
class Event:
    """One event, of a sender who has been verified or is trusted."""

    sender: Sender
    event_id: str
    type: str
    data: dict[str, JsonValue]
    """All of it, as it came."""


def read(sender: Sender, body: bytes, signature: str | StandardSignature) -> Event:
    """The event in a body whose signature holds. Raises `InvalidMessage` when there is none, or when Postgres could not
    store it."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"the event is not JSON: {str(error)[:200]}") from None
    if not isinstance(data, dict):
        raise InvalidMessage(f"an event is a JSON object, not {type(data).__name__}")
    event_id = signature.id if isinstance(signature, StandardSignature) else _text(data, "id")
    event = Event(sender, event_id, _text(data, "type"), data)
    check_storable(event)
    return event


def check_storable(event: Event) -> None:
    """Raises `InvalidMessage` for what is no text or JSON to Postgres: NUL, half characters, NaN, absurd depth."""
    try:
        storable_json([event.event_id, event.type, {"payload": event.data}])
    except NotStorable as error:
        raise InvalidMessage(f"the event cannot be stored: {error}") from None


def _text(data: dict[str, JsonValue], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST:
        raise InvalidMessage(f"the event has no {name!r} that is a text of 1 to {_LONGEST} characters")
    return value
