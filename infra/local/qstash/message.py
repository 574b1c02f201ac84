"""A message: a publication on its way, and how it is shown to a client."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from infra.local.qstash.publication import FlowControl, Headers, Publication
from infra.local.qstash.redaction import shown_body, shown_headers
from infra.local.qstash.state import MOVES, State, Verb

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """The place in a queue that a message takes, shared with its callbacks: the next one waits for all of them."""

    queue: str
    holder: str
    """The id of the message that was enqueued."""


@dataclass(slots=True, eq=False)
class Message:
    """One accepted message. Only the engine changes it."""

    id: str
    sequence: int
    """The order of acceptance, over restarts too."""
    publication: Publication
    created_at: float
    """Unix seconds, wall time."""
    due_at: float
    """Unix seconds on the timeline; on the wall clock if `due_by_wall`."""
    due_by_wall: bool = False
    state: State = State.CREATED
    retried: int = 0
    """Attempts after the first one that have begun, or are waited for."""
    place: Place | None = None
    cancel_requested: bool = False

    def move(self, verb: Verb) -> None:
        """Raises ValueError if the state does not allow it."""
        move = MOVES[verb]
        if self.state not in move.sources:
            raise ValueError(f"cannot {verb} message {self.id}: it is {self.state}")
        self.state = move.target


def new_id(prefix: str) -> str:
    """A fresh id such as msg_…, scd_…"""
    return f"{prefix}_{uuid.uuid4().hex}"


def milliseconds(seconds: float) -> int:
    return round(seconds * 1_000)


def header_map(headers: Headers) -> dict[str, list[str]]:
    """Name -> values, as QStash shows headers."""
    shown: dict[str, list[str]] = {}
    for name, value in headers:
        shown.setdefault(name, []).append(value)
    return shown


def text_or_base64(content: bytes, name: str) -> Json:
    """`{name: text}`, or `{nameBase64: …}` if it is no UTF-8; nothing for nothing."""
    if not content:
        return {}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}Base64": base64.b64encode(content).decode()}


def present(fields: Json) -> Json:
    """Without what is None or empty: absent fields are left out of an answer."""
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [], {}, ())}


def flow_control_json(control: FlowControl | None) -> Json:
    if control is None:
        return {}
    return present(
        {
            "flowControlKey": control.key,
            "parallelism": control.parallelism,
            "rate": control.rate,
            "period": control.period_seconds,
        }
    )


def forwarded_callback_headers(config: Headers, hidden: Collection[str]) -> dict[str, list[str]]:
    """What of a callback's configuration is sent to its receiver, as it is shown."""
    prefix = "Forward-"
    forwarded = tuple((name.removeprefix(prefix), value) for name, value in config if name.startswith(prefix))
    return header_map(shown_headers(forwarded, hidden))


def publication_json(publication: Publication) -> Json:
    """The fields that messages, dead letters, events and schedules have in common, without the body."""
    return present(
        {
            "method": publication.method,
            "header": header_map(shown_headers(publication.headers, publication.redact)),
            "callback": publication.callback,
            "callbackHeader": forwarded_callback_headers(publication.callback_headers, publication.redact),
            "failureCallback": publication.failure_callback,
            "failureCallbackHeader": forwarded_callback_headers(
                publication.failure_callback_headers, publication.redact
            ),
            "topicName": publication.topic,
            "endpointName": publication.endpoint,
            "queueName": publication.queue,
            "scheduleId": publication.schedule_id,
            "callerIP": publication.caller_ip,
            "label": publication.labels[0] if publication.labels else None,
            "labels": list(publication.labels),
            "retryDelayExpression": publication.retry_delay,
            **flow_control_json(publication.flow_control),
        }
    )


def not_before(publication: Publication, created_at: float) -> float:
    """Unix seconds before which the publisher wants no delivery."""
    if publication.not_before is not None:
        return publication.not_before
    return created_at + publication.delay_seconds


def message_json(message_id: str, publication: Publication, created_at: float) -> Json:
    """A message as `GET /v2/messages/{id}` shows it."""
    return {
        "messageId": message_id,
        "url": publication.url,
        "maxRetries": publication.retries,
        "notBefore": milliseconds(not_before(publication, created_at)),
        "createdAt": milliseconds(created_at),
        **publication_json(publication),
        **text_or_base64(shown_body(publication), "body"),
    }
