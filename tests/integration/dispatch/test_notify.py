"""A job that has failed for good is told of: in the log, by SNS, by e-mail, and at its own callback; once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends

from qstash_jobs.dispatch import enqueue, requeue
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.recovery import tell
from qstash_jobs.settings import settings
from qstash_jobs.telemetry import Telemetry
from tests.integration.dispatch.conftest import reread
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.serving.conftest import Function, Record

REGION = "eu-central-1"


class Resend:
    """Takes mails as Resend does, and remembers them with their idempotency keys."""

    def __init__(self) -> None:
        self.mails: list[tuple[dict[str, Any], str | None]] = []
        self.status = 200
        resend = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                body = self.rfile.read(int(self.headers["content-length"]))
                if resend.status == 200:
                    resend.mails.append((json.loads(body), self.headers.get("idempotency-key")))
                answer = json.dumps({"id": "mail_1", "statusCode": resend.status, "name": "x", "message": "no"})
                self.send_response(resend.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests read `mails` instead."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def resend(environment: pytest.MonkeyPatch) -> Iterator[Resend]:
    """E-mail is configured, and goes here."""
    server = Resend()
    environment.setenv("RESEND_API_KEY", "re_test")
    environment.setenv("RESEND_API_URL", server.url)
    environment.setenv("JOBS_NOTIFY_EMAIL", "ops@example.com")
    reread()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def topic(environment: pytest.MonkeyPatch, s3_url: str) -> str:
    """An SNS topic is configured; moto's server stands in for AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.setenv(name, "testing")
    environment.setenv("AWS_ENDPOINT_URL", s3_url)
    arn = str(boto3.client("sns", region_name=REGION).create_topic(Name=f"failures-{uuid4()}")["TopicArn"])
    environment.setenv("JOBS_NOTIFY_TOPIC", arn)
    reread()
    return arn


@pytest.fixture
def tell_all(record: Record, telemetry: Telemetry) -> Callable[[], tuple[int, list[str]]]:
    """One pass of telling: how many were told of, and what went wrong."""

    def once() -> tuple[int, list[str]]:
        troubles: list[str] = []
        return tell(record.database.run_pooled, settings(), telemetry, troubles), troubles

    return once


Tell = Callable[[], tuple[int, list[str]]]


def failed_job(function: Function, **options: Any) -> UUID:
    """A job that has just failed for good."""
    job_id = enqueue(Probe(), retries=0, publish="relay", **options)
    function.raises(RuntimeError("the printer is on fire"))
    assert function.deliver(job_id).status == 489
    return job_id


def logged(capsys: pytest.CaptureFixture[str], message: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("message") == message]


def test_the_log_always_hears_of_it(function: Function, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """One line at ERROR, without payload; the second pass has nothing to tell."""
    job_id = failed_job(function)
    telemetry = Telemetry("test-log", "Test")
    run = record.database.run_pooled
    assert [tell(run, settings(), telemetry, []) for _ in range(2)] == [1, 0]
    [line] = logged(capsys, "Job failed for good")
    expected = {"level": "ERROR", "jobId": str(job_id), "type": "probe", "attempts": 1, "errorType": "RuntimeError"}
    assert expected == {name: line.get(name) for name in expected}
    assert "payload" not in line
    assert record.row(job_id)["notified_at"] is not None


def test_by_sns(topic: str, function: Function, tell_all: Tell) -> None:
    """The topic is told what failed, why, and what to do."""
    job_id = failed_job(function)
    assert tell_all() == (1, [])
    [sent] = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[topic].sent_notifications
    _id, text, subject, *_rest = sent
    assert subject == "Job failed: probe"
    assert f"jobs requeue {job_id}" in text
    assert "RuntimeError: the printer is on fire" in text


def test_by_mail(resend: Resend, function: Function, tell_all: Tell) -> None:
    """Under an idempotency key of this failure's own: a repetition is no second mail."""
    job_id = failed_job(function)
    assert tell_all() == (1, [])
    [(mail, key)] = resend.mails
    assert (mail["to"], mail["subject"]) == (["ops@example.com"], "Job failed: probe")
    assert f"jobs show {job_id}" in mail["text"]
    assert key == f"{job_id}-1-failed"


def test_at_the_jobs_own_callback(qstash: QStashStandIn, function: Function, tell_all: Tell) -> None:
    """Through QStash, which retries it and knows a repetition by its deduplication id."""
    job_id = failed_job(function, failure_callback="https://example.com/failed?by=qstash")
    assert tell_all() == (1, [])
    [message] = qstash.messages
    assert message.url.startswith("https://example.com/failed")
    assert message.deduplication_id == f"{job_id}-1-failed"
    facts = json.loads(message.body)
    expected = {
        "jobId": str(job_id),
        "type": "probe",
        "attempts": 1,
        "error": "the printer is on fire",
        "generation": 1,
    }
    assert expected == {name: facts[name] for name in expected}


def test_what_cannot_be_told_is_told_at_the_next_pass(
    resend: Resend, qstash: QStashStandIn, function: Function, record: Record, tell_all: Tell
) -> None:
    """The trouble is named, the others' turn comes all the same, and nobody is told of them twice."""
    stuck = failed_job(function, failure_callback="https://example.com/failed")
    fine = failed_job(function)
    qstash.answers(500)
    told, [trouble] = tell_all()
    assert (told, "QStash answered 500" in trouble) == (1, True)
    assert [record.row(job_id)["notified_at"] is None for job_id in (stuck, fine)] == [True, False]
    qstash.works()
    assert tell_all() == (1, [])
    assert [key for _mail, key in resend.mails] == [f"{stuck}-1-failed", f"{fine}-1-failed", f"{stuck}-1-failed"]


def test_a_mail_that_is_refused_is_told_at_the_next_pass(resend: Resend, function: Function, tell_all: Tell) -> None:
    """Resend away or refusing."""
    failed_job(function)
    resend.status = 500
    assert tell_all()[0] == 0
    resend.status = 200
    assert tell_all() == (1, [])


def test_a_topic_that_is_none_names_itself(
    environment: pytest.MonkeyPatch, function: Function, record: Record, tell_all: Tell
) -> None:
    """A wrong setting is a trouble in each pass's report, not a crash."""
    environment.setenv("JOBS_NOTIFY_TOPIC", "failures")
    reread()
    job_id = failed_job(function)
    told, troubles = tell_all()
    assert (told, len(troubles)) == (0, 1)
    assert record.row(job_id)["notified_at"] is None


def test_a_second_failure_is_told_of_again(resend: Resend, function: Function, tell_all: Tell) -> None:
    """After a requeue the job is another generation, and its failure another mail."""
    job_id = failed_job(function)
    tell_all()
    requeue(job_id)
    function.deliver(job_id, generation=2)
    assert tell_all() == (1, [])
    assert [key for _mail, key in resend.mails] == [f"{job_id}-1-failed", f"{job_id}-2-failed"]


def test_who_requeued_in_between_is_not_forgotten(function: Function, record: Record, tell_all: Tell) -> None:
    """A job that lives again is no failure to tell of."""
    job_id = failed_job(function)
    requeue(job_id)
    assert tell_all() == (0, [])
    assert record.status(job_id) == "pending"
