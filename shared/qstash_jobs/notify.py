"""Telling people that a job has failed for good: in the log, by e-mail, by SNS, and at the job's own callback URL."""

from __future__ import annotations

import json
from datetime import timedelta

from qstash_jobs import relay
from qstash_jobs.errors import ConfigurationError, PublishFailed
from qstash_jobs.executions.upkeep import Failure
from qstash_jobs.qstash import Message
from qstash_jobs.settings import FAILURE_CALLBACK, Settings
from qstash_jobs.telemetry import Telemetry


def notify(failure: Failure, settings: Settings, telemetry: Telemetry) -> None:
    """Tell all who must know. Raises whatever a way of telling raises; telling again tells nobody twice who counts
    by id (the e-mail and the callback carry one)."""
    telemetry.logger.error("Job failed for good", extra=_facts(failure))
    telemetry.count("JobsFailedForGood")
    if settings.notify_topic is not None:
        _publish_to_topic(settings.notify_topic, failure)
    if settings.notify_email is not None:
        _send_mail(settings.notify_email, failure, settings)
    if failure.failure_callback is not None:
        try:
            _call_back(failure.failure_callback, failure)
        except PublishFailed as error:
            if error.status not in relay.REFUSED_FOR_GOOD:
                raise
            telemetry.logger.error("Failure callback refused", extra=_facts(failure) | {"reason": str(error)})


def _facts(failure: Failure) -> dict[str, str | int | None]:
    return {
        "jobId": str(failure.job_id),
        "type": failure.job_type,
        "generation": failure.generation,
        "attempts": failure.attempts,
        "error": failure.error,
        "errorType": failure.error_type,
        "failedAt": failure.completed_at.isoformat(),
        "dlqId": failure.dlq_id,
    }


def _id(failure: Failure) -> str:
    return f"{failure.job_id}-{failure.generation}-failed"


def _text(failure: Failure) -> str:
    return (
        f"Job {failure.job_id} ({failure.job_type}) failed for good after {failure.attempts} attempts.\n\n"
        f"{failure.error_type}: {failure.error}\n\n"
        f"Look at it:      jobs show {failure.job_id}\n"
        f"Send it again:   jobs requeue {failure.job_id}\n"
    )


def _publish_to_topic(topic: str, failure: Failure) -> None:
    try:
        import boto3
    except ImportError as error:  # Lambda's runtime brings it
        raise ConfigurationError("JOBS_NOTIFY_TOPIC: boto3 is not installed here; pip install boto3") from error
    boto3.client("sns", region_name=topic.split(":")[3]).publish(
        TopicArn=topic, Subject=f"Job failed: {failure.job_type}"[:100], Message=_text(failure)
    )


def _send_mail(address: str, failure: Failure, settings: Settings) -> None:
    import resend
    from resend.http_client_requests import RequestsClient

    resend.api_key = settings.secret("RESEND_API_KEY")
    resend.api_url = settings.resend_api_url
    resend.default_http_client = RequestsClient(timeout=10)
    resend.Emails.send(
        {
            "from": settings.email_from,
            "to": [address],
            "subject": f"Job failed: {failure.job_type}",
            "text": _text(failure),
        },
        {"idempotency_key": _id(failure)},
    )


def _call_back(url: str, failure: Failure) -> None:
    relay.qstash().publish(
        Message(
            url=url,
            body=json.dumps(_facts(failure)),
            retries=3,
            timeout=timedelta(seconds=30),
            label=FAILURE_CALLBACK,
            flow_control={"key": FAILURE_CALLBACK, "parallelism": 10},
            deduplication_id=_id(failure),
        )
    )
