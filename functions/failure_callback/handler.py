"""QStash tells of a message that it gave up: its job, if it still lives, gets another, and people hear of the dead."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qstash_jobs.database import database
from qstash_jobs.errors import (
    ConfigurationError,
    DatabaseUnreachable,
    InvalidMessage,
    SettingsUnreachable,
    SignatureRejected,
)
from qstash_jobs.executions import outbox
from qstash_jobs.request import LambdaContext, Request, response
from qstash_jobs.settings import FAILURE_CALLBACK, settings
from qstash_jobs.telemetry import Telemetry
from qstash_jobs.verdict import METHOD_NOT_ALLOWED, UNAUTHENTICATED, UNREACHABLE, Answer, final, without_settings

if TYPE_CHECKING:
    from qstash_jobs.recovery import GivenUp


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """One failure callback."""
    with telemetry().delivery(context.aws_request_id):
        try:
            answer = _answer(event)
        except (ConfigurationError, SettingsUnreachable) as error:
            telemetry().without_settings(error)
            answer = without_settings(error)
        return response(answer.status, {"outcome": answer.reason}, answer.headers)


@functools.cache
def telemetry() -> Telemetry:
    """Of this function, for as long as its environment lives."""
    return Telemetry(FAILURE_CALLBACK, settings().metrics_namespace)


def _answer(event: Mapping[str, Any]) -> Answer:
    try:
        request = Request.from_event(event)
        if request.method != "POST":
            return METHOD_NOT_ALLOWED
        request.authenticate(settings(), FAILURE_CALLBACK)
    except SignatureRejected as error:
        telemetry().rejected(error.reason)
        return UNAUTHENTICATED
    except InvalidMessage:
        telemetry().rejected("undecodable")
        return UNAUTHENTICATED
    from qstash_jobs.recovery import from_callback  # brings QStash's client: not loaded by a request that is forged

    try:
        given_up = from_callback(request.body)
    except InvalidMessage as error:
        telemetry().logger.error("Message refused", extra={"reason": str(error)})
        return final("invalid_message")
    telemetry().count("MessagesGivenUp")
    if given_up is None:
        telemetry().logger.error("QStash gave up a message that carried no job of ours")
        return Answer(200, "no_job")
    return _take_note(given_up)


def _take_note(given_up: GivenUp) -> Answer:
    from qstash_jobs import relay
    from qstash_jobs.recovery import message_lost, tell

    carrier = given_up.carrier
    telemetry().keep(job_id=str(carrier.job_id), message_id=carrier.message_id, dlq_id=given_up.dlq_id)
    run = database().run
    try:
        lost = message_lost(run, given_up, settings())
        if lost:
            telemetry().logger.warning("Message lost", extra={"publication": carrier.publication})
            relay.publish_now(run, outbox.unpublished(run, [carrier.job_id], relay.longest_delay()))
        troubles: list[str] = []
        tell(run, settings(), telemetry(), troubles, carrier.job_id)
    except DatabaseUnreachable as error:
        telemetry().logger.error("Database unreachable", extra={"reason": str(error)})
        return UNREACHABLE
    return Answer(200, "noted" if lost else "nothing_to_do")
