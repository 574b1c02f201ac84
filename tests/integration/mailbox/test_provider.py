"""What becomes of a mail for each way in which the provider may answer, over real HTTP."""

from __future__ import annotations

import logging
import socket
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from resend.exceptions import ResendError

from functions.send_email import provider
from functions.send_email.handler import ATTACHMENTS_LIMIT, send
from infra.local.mailbox import Mailbox
from qstash_jobs.bucket import Bucket, FileType
from qstash_jobs.errors import NonRetryable, Retry, Steering
from qstash_jobs.jobs.send_email import Attachment, EmailTemplate, ReportReadyData, SendEmail
from qstash_jobs.serving import serve
from qstash_jobs.settings import settings
from qstash_jobs.testing import Context, deliver_twice, run_inline, signed_event
from tests.unit.send_email.samples import ADDRESS, SAMPLES

pytestmark = pytest.mark.usefixtures("mail_settings")


def attempt(job_id: UUID | None = None, template: EmailTemplate = "passwordReset", number: int = 1) -> object:
    return run_inline(send, SAMPLES[template].addressed(ADDRESS), job_id=job_id, attempt=number)


@pytest.mark.parametrize("template", sorted(SAMPLES))
def test_sends_each_template(mailbox: Mailbox, template: EmailTemplate) -> None:
    """Every template arrives as HTML and plain text, and the result names the provider's id."""
    result = attempt(template=template)

    (mail,) = mailbox.mails()
    assert result == {"emailId": mail.id}
    assert (mail.to, mail.from_) == ([ADDRESS], "Northwind <hello@northwind.example>")
    assert mail.html is not None
    assert mail.text is not None
    assert mail.subject in mail.html


def test_marks_the_mail(mailbox: Mailbox, mail_settings: pytest.MonkeyPatch) -> None:
    """The job's id is the idempotency key and a tag; answers go where the settings say."""
    mail_settings.setenv("EMAIL_REPLY_TO", "help@northwind.example")
    job_id = uuid4()

    attempt(job_id)

    (mail,) = mailbox.mails()
    assert mail.idempotency_key == str(job_id)
    assert {tag.name: tag.value for tag in mail.tags} == {"template": "passwordReset", "job_id": str(job_id)}
    assert mail.reply_to == ["help@northwind.example"]
    assert mail.headers == {"X-Entity-Ref-ID": str(job_id), "Auto-Submitted": "auto-generated"}


def test_a_second_attempt_sends_nothing_more(mailbox: Mailbox) -> None:
    """Two attempts of one job are one mail and one result."""
    job_id = uuid4()

    assert attempt(job_id) == attempt(job_id)
    assert len(mailbox.mails()) == 1


@pytest.mark.parametrize("status", [408, 500, 502, 503])
def test_an_outage_is_retried(mailbox: Mailbox, status: int) -> None:
    """An outage is an ordinary failure of the attempt, and the next one sends the mail."""
    mailbox.fail(status)
    job_id = uuid4()

    with pytest.raises(ResendError) as caught:
        attempt(job_id)
    assert not isinstance(caught.value, Steering)

    attempt(job_id)
    assert len(mailbox.mails()) == 1


def test_a_lost_answer_sends_one_mail(mailbox: Mailbox) -> None:
    """When the mail was taken and only the answer lost, the next attempt finds it sent."""
    mailbox.fail(500, accept=True)
    job_id = uuid4()

    with pytest.raises(ResendError):
        attempt(job_id)

    (mail,) = mailbox.mails()
    assert attempt(job_id) == {"emailId": mail.id}
    assert len(mailbox.mails()) == 1


def test_no_connection_is_retried(mail_settings: pytest.MonkeyPatch) -> None:
    """A refused connection is an ordinary failure."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        mail_settings.setenv("RESEND_API_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")

        with pytest.raises(ResendError) as caught:
            attempt()
    assert caught.value.error_type == "HttpClientError"


def test_no_answer_is_given_up(mail_settings: pytest.MonkeyPatch) -> None:
    """A provider that never answers fails the attempt, in less time than the job has."""
    assert timedelta(seconds=2 * provider.TIMEOUT_SECONDS) < SendEmail.options.timeout
    mail_settings.setattr(provider, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mail_settings.setenv("RESEND_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")

        with pytest.raises(ResendError, match="timed out"):
            attempt()


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"retry-after": "7"}, timedelta(seconds=7)),
        ({"Retry-After": "7", "ratelimit-reset": "1"}, timedelta(seconds=7)),
        ({"ratelimit-reset": "3"}, timedelta(seconds=3)),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, timedelta(minutes=1)),
        ({"retry-after": "999999999"}, timedelta(days=1)),
        ({}, timedelta(minutes=1)),
    ],
)
def test_throttled(mailbox: Mailbox, headers: dict[str, str], after: timedelta) -> None:
    """A throttled mail waits for as long as the provider asks, within reason."""
    mailbox.fail(429, headers=headers)

    with pytest.raises(Retry) as caught:
        attempt()

    assert caught.value.after == after


@pytest.mark.parametrize(("name", "hours"), [("daily_quota_exceeded", 8), ("monthly_quota_exceeded", 24)])
def test_quota_used_up(mailbox: Mailbox, caplog: pytest.LogCaptureFixture, name: str, hours: int) -> None:
    """A used-up quota alarms, and is not mistaken for a rate limit that ends in a second."""
    mailbox.fail(429, name=name, headers={"ratelimit-reset": "1"})

    with pytest.raises(Retry) as caught:
        attempt()

    assert (caught.value.after, caught.value.free) == (timedelta(hours=hours), True)
    assert provider.QUOTA_USED_UP in [record.message for record in caplog.records if record.levelno == logging.ERROR]


@pytest.mark.parametrize(
    ("status", "options"),
    [
        (401, {}),
        (403, {}),
        (403, {"name": "validation_error", "message": "The northwind.example domain is not verified."}),
        (404, {}),
        (405, {"name": "method_not_allowed"}),
        (422, {"name": "invalid_from_address"}),
        (422, {"name": "validation_error", "message": "Invalid `from` field."}),
        (400, {"name": "validation_error", "message": "API key is invalid"}),
    ],
)
def test_our_misconfiguration(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture, status: int, options: dict[str, str]
) -> None:
    """What is wrong with our set-up is no mail's fault: it waits an hour, and an alarm is raised."""
    mailbox.fail(status, **options)

    with pytest.raises(Retry) as caught:
        attempt()

    assert (caught.value.after, caught.value.free) == (timedelta(hours=1), True)
    assert [record.message for record in caplog.records] == ["email provider refuses our credentials"]
    assert caplog.records[0].levelno == logging.ERROR


def test_patience_ends(mailbox: Mailbox) -> None:
    """After three days of such hours the mail spends its budget, so that it does not wait for ever."""
    for number, free in ((72, True), (73, False)):
        mailbox.fail(401)
        with pytest.raises(Retry) as caught:
            attempt(number=number)
        assert caught.value.free is free


def test_missing_key(mail_settings: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A function without its key waits likewise, and says where to get one."""
    mail_settings.delenv("RESEND_API_KEY")

    with pytest.raises(Retry, match=r"RESEND_API_KEY: it is not set.*https://resend\.com/api-keys") as caught:
        attempt()

    assert caught.value.after == timedelta(hours=1)
    assert [record.message for record in caplog.records] == ["email provider refuses our credentials"]


@pytest.mark.parametrize("status", [400, 413, 422, 451])
def test_a_mail_that_can_never_be_sent(mailbox: Mailbox, status: int) -> None:
    """A mail that the provider refuses for good fails at once; the reason names no address."""
    mailbox.fail(status, message=f"Invalid `to` field: <{ADDRESS}> is no address.")

    with pytest.raises(NonRetryable, match=rf"{status} .*Invalid `to` field: <…> is no address") as caught:
        attempt()

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_words_changed_between_attempts(mailbox: Mailbox, mail_settings: pytest.MonkeyPatch) -> None:
    """A deploy that changes the template between two attempts sends no second mail, and the job is done."""
    job_id = uuid4()
    attempt(job_id)
    mail_settings.setenv("PRODUCT_NAME", "Southwind")
    settings.cache_clear()

    assert attempt(job_id) == {
        "emailId": None,
        "note": "an earlier attempt's mail was accepted; its words have changed since",
    }
    assert len(mailbox.mails()) == 1


def test_an_earlier_attempt_is_still_being_answered(mailbox: Mailbox) -> None:
    """While the provider works on the same mail, the job waits a moment."""
    mailbox.fail(409, name="concurrent_idempotent_requests")

    with pytest.raises(Retry) as caught:
        attempt()

    assert caught.value.after == timedelta(seconds=10)


def test_logs_tell_no_addresses(mailbox: Mailbox, caplog: pytest.LogCaptureFixture) -> None:
    """What is logged names the template and the provider's id, not the person or the link."""
    caplog.set_level(logging.INFO, "qstash_jobs.testing")

    attempt()

    (record,) = (record for record in caplog.records if record.name == "qstash_jobs.testing")
    assert (record.message, vars(record)["template"]) == ("Email sent", "passwordReset")
    assert not [word for word in (ADDRESS, "token=", "Ada") if word in str(vars(record))]


def test_a_delivery_sends_one_mail(mailbox: Mailbox, environment: pytest.MonkeyPatch) -> None:
    """A signed delivery and its repetition, through the whole function, are one mail."""
    environment.setenv("RESEND_API_KEY", "re_test")
    environment.setenv("RESEND_API_URL", mailbox.url)
    event = signed_event(SAMPLES["welcome"].addressed(ADDRESS), job_id=uuid4())

    first, second = deliver_twice(serve(SendEmail, send), event)

    assert (first["statusCode"], second["statusCode"]) == (200, 200)
    assert [mail.to for mail in mailbox.mails()] == [[ADDRESS]]


def test_a_refused_mail_fails_for_good(mailbox: Mailbox, environment: pytest.MonkeyPatch) -> None:
    """Through the whole function, a mail that can never be sent is not tried again."""
    environment.setenv("RESEND_API_KEY", "re_test")
    environment.setenv("RESEND_API_URL", mailbox.url)
    mailbox.fail(422)
    event = signed_event(SAMPLES["welcome"].addressed(ADDRESS), job_id=uuid4())

    answer = serve(SendEmail, send)(event, Context(timedelta(seconds=30)))

    assert answer["statusCode"] == 489
    assert mailbox.mails() == []


@pytest.fixture
def files(bucket: Bucket, mailbox: Mailbox, environment: pytest.MonkeyPatch) -> Bucket:
    """A bucket, and settings that lead to it and to the mailbox."""
    environment.setenv("RESEND_API_KEY", "re_test")
    environment.setenv("RESEND_API_URL", mailbox.url)
    settings.cache_clear()
    return bucket


REPORT = ReportReadyData(report_name="Billing", period="1 to 31 March 2026")
PDF = FileType(content_type="application/pdf", filename="billing.pdf")


def test_sends_what_is_attached(mailbox: Mailbox, files: Bucket) -> None:
    """Files of the bucket arrive with the mail, each under its name and byte for byte."""
    content = bytes(range(256)) * 40
    files.put("reports/a.pdf", content, PDF)
    files.put("exports/b.csv", b"id\r\n", PDF)
    mail_job = REPORT.addressed(
        ADDRESS,
        Attachment(key="reports/a.pdf", filename="Bericht März.pdf"),
        Attachment(key="exports/b.csv", filename="b.csv"),
    )

    run_inline(send, mail_job)

    (mail,) = mailbox.mails()
    assert [(file.filename, file.data) for file in mail.attachments] == [
        ("Bericht März.pdf", content),
        ("b.csv", b"id\r\n"),
    ]
    assert "The report is attached to this mail." in (mail.text or "")


def test_a_second_attempt_attaches_the_same(mailbox: Mailbox, files: Bucket) -> None:
    """A repeated attempt sends the same request, which the provider knows to be the same mail."""
    files.put("reports/a.pdf", b"%PDF", PDF)
    mail_job, job_id = REPORT.addressed(ADDRESS, Attachment(key="reports/a.pdf", filename="a.pdf")), uuid4()
    mailbox.fail(500, accept=True)

    with pytest.raises(ResendError):
        run_inline(send, mail_job, job_id=job_id)

    (mail,) = mailbox.mails()
    assert run_inline(send, mail_job, job_id=job_id) == {"emailId": mail.id}
    assert len(mailbox.mails()) == 1


def test_a_file_that_is_gone_fails_for_good(mailbox: Mailbox, files: Bucket) -> None:
    """No repetition brings a deleted file back; the reason names it, and nothing is sent."""
    gone = Attachment(key="reports/gone.pdf", filename="March.pdf")

    with pytest.raises(NonRetryable, match=r"March\.pdf cannot be attached.*reports/gone\.pdf"):
        run_inline(send, REPORT.addressed(ADDRESS, gone))

    assert mailbox.mails() == []


def test_what_is_too_large_fails_for_good(mailbox: Mailbox, files: Bucket) -> None:
    """Files that no mail can carry, alone or together, are refused before they are read, with the way out."""
    half = bytes(ATTACHMENTS_LIMIT // 2 + 1)
    files.put("reports/half.pdf", half, PDF)
    attached = [Attachment(key="reports/half.pdf", filename=f"{number}.pdf") for number in range(2)]

    with pytest.raises(NonRetryable, match=r"more than 20,000,000 bytes: send a link instead"):
        run_inline(send, REPORT.addressed(ADDRESS, *attached))

    assert mailbox.mails() == []
