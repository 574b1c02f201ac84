"""The front door for events of providers: each is verified, stored once, and left to a job.

    POST /stripe
    POST /resend
    POST /custom/<name>

The event and its job are written by one statement, so there is never one without the other; the message to QStash is
sent before the answer, because an environment may be frozen after it. A provider repeats what is not answered 2xx.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qstash_jobs.errors import (
    ConfigurationError,
    DatabaseUnreachable,
    InvalidMessage,
    SettingsUnreachable,
    SignatureRejected,
    StatementRefused,
)
from qstash_jobs.jobs.process_webhook import BODY_LIMIT
from qstash_jobs.request import LambdaContext, Request, response
from qstash_jobs.settings import settings
from qstash_jobs.telemetry import Telemetry
from qstash_jobs.webhook_signatures import Sender, signature_in, verify

if TYPE_CHECKING:
    from qstash_jobs.webhook_events import Event

NAME = "webhook-ingress"

_PATH = re.compile(rf"(?:/{NAME})?/(?:(?P<source>stripe|resend)|custom/(?P<name>[A-Za-z0-9._-]{{1,100}}))/?")
"""On the desk, all functions share a host, and the path begins with the function's name."""


class Refused(Exception):  # not an error: the request's early end
    """The request ends here, with this status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """One request of a provider, or of somebody who says so."""
    with telemetry().delivery(context.aws_request_id):
        try:
            status, outcome = 200, _take(_authenticated(event))
        except Refused as refused:
            status, outcome = refused.status, refused.reason
        except (ConfigurationError, SettingsUnreachable) as error:
            from qstash_jobs.verdict import without_settings

            telemetry().without_settings(error)
            answer = without_settings(error)
            status, outcome = answer.status, answer.reason
        return response(status, {"outcome": outcome}, {405: {"Allow": "POST"}}.get(status))


@functools.cache
def telemetry() -> Telemetry:
    """Of this function, for as long as its environment lives."""
    return Telemetry(NAME, settings().metrics_namespace)


def _authenticated(event: Mapping[str, Any]) -> Event:
    """The event in a request that its provider signed. Raises `Refused`."""
    if event["requestContext"]["http"]["method"] != "POST":
        raise Refused(405, "method_not_allowed")
    sender = _sender(event["rawPath"])
    try:
        request = Request.from_event(event)
        if len(request.body) > BODY_LIMIT:
            raise Refused(413, "too_large")
        signature = signature_in(request.headers, sender.source)
        verify(sender, request.body, signature, settings())
    except InvalidMessage:
        telemetry().rejected("undecodable")
        raise Refused(400, "unauthenticated") from None
    except SignatureRejected as error:
        telemetry().rejected(error.reason)
        raise Refused(400, "unauthenticated") from None
    from qstash_jobs.webhook_events import read

    try:
        return read(sender, request.body, signature)
    except InvalidMessage as error:
        raise _invalid(error) from None


def _invalid(error: Exception) -> Refused:
    """Signed, and still of no use: the provider's mistake, or one of ours, so people are to see why."""
    telemetry().logger.error("Webhook refused", extra={"reason": str(error)})
    telemetry().count("WebhooksRefused")
    return Refused(400, "invalid_event")


def _sender(path: str) -> Sender:
    found = _PATH.fullmatch(path)
    if found is None:
        raise Refused(404, "unknown_sender")
    sender = Sender(found["source"]) if found["source"] else Sender("custom", found["name"])  # type: ignore[arg-type]
    telemetry().keep(provider=sender.provider)
    try:
        sender.secret(settings())
    except ConfigurationError as error:
        telemetry().logger.warning("Webhook of an unknown sender", extra={"reason": str(error)})
        raise Refused(404, "unknown_sender") from None
    return sender


def _take(event: Event) -> str:
    """Store the event with its job, and publish that. Raises `Refused`."""
    from functions.webhook_ingress.inbox import publish, store  # what talks to Postgres and QStash: for genuine events
    from qstash_jobs.database import database
    from qstash_jobs.verdict import is_about_data

    telemetry().keep(event_id=event.event_id, event_type=event.type)
    try:
        job_id = store(event, database())
    except DatabaseUnreachable as error:
        telemetry().logger.error("Database unreachable", extra={"reason": str(error)})
        telemetry().count("DatabaseUnreachable")
        raise Refused(503, "database_unreachable") from None
    except StatementRefused as error:
        if is_about_data(error):
            raise _invalid(error) from None
        raise
    if job_id is None:
        telemetry().logger.info("Webhook was received before")
        telemetry().count("WebhooksDuplicate")
        return "duplicate"
    publish(job_id, database())
    telemetry().keep(job_id=str(job_id))
    telemetry().logger.info("Webhook received")
    telemetry().count("WebhooksReceived")
    return "received"
