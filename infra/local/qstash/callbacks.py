"""The messages that tell a publisher how an attempt ended."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

from infra.local.qstash.ledger import response_content
from infra.local.qstash.message import Json, Message, header_map, milliseconds, not_before, present
from infra.local.qstash.options import OptionReader
from infra.local.qstash.publication import Headers, Publication
from infra.local.qstash.redaction import BODY
from infra.local.qstash.verdict import Outcome


def callback(message: Message, outcome: Outcome, options: OptionReader) -> Publication | None:
    """What to send after an attempt, whether it succeeded or not."""
    publication = message.publication
    if publication.callback is None:
        return None
    return _publication(message, publication.callback, publication.callback_headers, _body(message, outcome), options)


def failure_callback(
    message: Message, outcome: Outcome, dead_letter_id: str, options: OptionReader
) -> Publication | None:
    """What to send once no attempt is left."""
    publication = message.publication
    if publication.failure_callback is None:
        return None
    body = _body(message, outcome) | {"dlqId": dead_letter_id}
    return _publication(message, publication.failure_callback, publication.failure_callback_headers, body, options)


def _publication(message: Message, url: str, config: Headers, body: Json, options: OptionReader) -> Publication:
    """A message of its own, retried as often as its source unless the callback's headers say otherwise."""
    source = message.publication
    draft = Publication(
        url=url,
        retries=source.retries,
        caller_ip=source.caller_ip,
        body=json.dumps(body, separators=(",", ":")).encode(),
    )
    fields = options.callback_fields(config)
    headers: Headers = fields.pop("headers", ())
    if source.redact:  # its body tells of all that the source has hidden
        fields["redact"] = (*fields.get("redact", ()), BODY)
    if not any(name == "Content-Type" for name, _ in headers):
        headers = (("Content-Type", "application/json"), *headers)
    return replace(draft, headers=headers, **fields)


def _body(message: Message, outcome: Outcome) -> Json:
    """Zero and empty fields are left out, as the service does: `retried` is absent after the first attempt."""
    publication = message.publication
    return {
        "status": outcome.status,
        "maxRetries": publication.retries,
        "sourceMessageId": message.id,
        "url": publication.url,
        "method": publication.method,
        "notBefore": milliseconds(not_before(publication, message.created_at)),
        "createdAt": milliseconds(message.created_at),
        **present(
            {
                "header": header_map(outcome.headers),
                "body": base64.b64encode(response_content(outcome)).decode(),
                "retried": message.retried or None,
                "sourceHeader": header_map(publication.headers),
                "sourceBody": base64.b64encode(publication.body).decode(),
                "topicName": publication.topic,
                "endpointName": publication.endpoint,
                "scheduleId": publication.schedule_id,
                "callerIP": publication.caller_ip,
                "queueName": publication.queue,
            }
        ),
    }
