"""A report from its job to the mails: each recipient gets one, whatever dies on the way."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import httpx
import pytest
from pypdf import PdfReader
from sqlalchemy import Engine, insert

from functions.download.handler import handler as download
from functions.generate_report import handler as module
from functions.generate_report.handler import generate
from functions.generate_report.source import Source
from functions.send_email.handler import send
from infra.local.mailbox import Mailbox
from infra.seed.load import seed
from infra.seed.scale import SCALES
from qstash_jobs import cancel
from qstash_jobs.bucket import REPORTS, Bucket
from qstash_jobs.errors import InvalidJob
from qstash_jobs.jobs.generate_report import GenerateReport
from qstash_jobs.jobs.send_email import SendEmail
from qstash_jobs.serving import Delivery, serve
from qstash_jobs.settings import settings
from qstash_jobs.testing import Context, create_test_job, function_url_event, signed_event, time_out_after
from saas import tables
from tests.conftest import ROOT
from tests.integration.jobs.conftest import Worker

RECIPIENTS = ["ada@example.com", "grace@example.com", "Alan@example.com"]
PERIOD = {"from": "2026-10-01T00:00:00+02:00", "to": "2026-11-01T00:00:00+01:00"}
JOB = GenerateReport.model_validate(
    {
        "reportType": "billing",
        "dateRange": PERIOD,
        "timeZone": "Europe/Berlin",
        "recipients": RECIPIENTS,
        "format": "pdf",
    }
)


@pytest.fixture
def mailbox(bucket: Bucket, environment: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """Where mails end, and settings that lead there."""
    with Mailbox() as mailbox:
        environment.setenv("RESEND_API_KEY", "re_test")
        environment.setenv("RESEND_API_URL", mailbox.url)
        environment.setenv("PRODUCT_NAME", "Northwind")
        settings.cache_clear()
        yield mailbox


@pytest.fixture
def seeded(engine: Engine) -> Engine:
    """The starter's tables with the small seed's rows."""
    with engine.begin() as connection:
        for _ in seed(connection, SCALES["small"], date(2026, 11, 1)):
            pass
    return engine


@pytest.fixture
def worker(engine: Engine, mailbox: Mailbox) -> Worker:
    """The function."""
    return Worker(serve(GenerateReport, generate), engine)


def send_mails(worker: Worker) -> None:
    """Deliver the mails that were enqueued, each twice, as QStash may."""
    sender = serve(SendEmail, send)
    for row in worker.ask("SELECT job_id, payload FROM job_executions WHERE job_type = 'send-email' ORDER BY job_id"):
        event = signed_event(SendEmail.arrive(row.payload), job_id=row.job_id, by_reference=True)
        outcomes = [json.loads(sender(event, Context(timedelta(seconds=30)))["body"])["outcome"] for _ in range(2)]
        assert outcomes == ["completed", "duplicate"]


def check_one_of_each(worker: Worker, bucket: Bucket, mailbox: Mailbox, job_id: UUID) -> None:
    """One file, one row of it, and one mail to each recipient with that very file."""
    keys = [one.key for page in bucket.pages(REPORTS) for one in page]
    assert keys == [f"reports/{job_id}.pdf"]
    content = bucket.read(keys[0])
    rows = worker.ask("SELECT s3_key, kind, bytes, job_id FROM files")
    assert [tuple(row) for row in rows] == [(keys[0], "report", len(content), job_id)]
    send_mails(worker)
    mails = mailbox.mails()
    assert sorted(mail.to[0] for mail in mails) == sorted(RECIPIENTS)
    assert {file.data for mail in mails for file in mail.attachments} == {content}
    assert {len(mail.attachments) for mail in mails} == {1}


def test_a_report_is_mailed(seeded: Engine, worker: Worker, bucket: Bucket, mailbox: Mailbox) -> None:
    """The file lies in the bucket under the job's id and is attached to one mail for each recipient."""
    row = worker.run(JOB)

    job_id = UUID(row["job_id"])
    content = bucket.read(f"reports/{job_id}.pdf")
    assert row["result"] == {"key": f"reports/{job_id}.pdf", "bytes": len(content), "sent": "attached"}
    assert (row["progress"]["fraction"], row["progress"]["message"]) == (
        1,
        f"{len(content):,} bytes, to be mailed to 3",
    )
    check_one_of_each(worker, bucket, mailbox, job_id)
    mail = mailbox.mails()[0]
    assert "Billing" in mail.subject
    assert mail.attachments[0].filename == "billing-2026-10-01.pdf"
    assert "1 to 31 October 2026" in (mail.text or "")
    pages = PdfReader(io.BytesIO(content)).pages
    assert "Monthly recurring revenue" in pages[0].extract_text()
    (expires,) = worker.ask("SELECT expires_at - created_at FROM files")[0]
    assert timedelta(days=90) - expires < timedelta(minutes=1)


KILLS = {
    "before the upload": "Bucket.put = die",
    "after the upload": "saas.files.note_file = die",
    "after the file's row": "module._mails = die",
    "before the end is recorded": "Delivery._settle = die",
    "before the answer": "Delivery._respond = die",
}

PROGRAM = """
import json, os, sys
from datetime import timedelta
import saas.files
from functions.generate_report import handler as module
from qstash_jobs import cancel
from qstash_jobs.bucket import Bucket
from qstash_jobs.serving import Delivery
from qstash_jobs.testing import Context
def die(*_arguments, **_named):
    os._exit(9)
{kill}
module.handler(json.load(sys.stdin), Context(timedelta(seconds=180)))
"""


@pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS.keys())
def test_a_killed_attempt_leaves_nothing_twice(
    seeded: Engine, worker: Worker, bucket: Bucket, mailbox: Mailbox, kill: str
) -> None:
    """A process that is killed at any step, and another one after its lease, make one file, one row and one mail for
    each recipient."""
    job_id = create_test_job(JOB)
    event = json.dumps(signed_event(JOB, job_id=job_id, by_reference=True))
    died = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(kill=kill)], input=event, text=True, cwd=ROOT, check=False
    )
    assert died.returncode == 9
    worker.ask("UPDATE job_executions SET lease_until = clock_timestamp() WHERE status = 'processing'")

    again = worker.deliver(JOB, job_id)

    assert again.outcome == ("duplicate" if "_respond" in kill else "completed")
    check_one_of_each(worker, bucket, mailbox, job_id)


def test_a_failed_upload_is_retried(
    seeded: Engine, worker: Worker, bucket: Bucket, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While S3 is away the attempt fails and another one follows; no mail goes out before the file is there."""
    job_id = create_test_job(JOB)
    with monkeypatch.context() as away:
        away.setitem(vars(bucket), "client", boto3.client("s3", endpoint_url="http://127.0.0.1:9"))
        assert worker.deliver(JOB, job_id).status == 500
    assert worker.jobs("send-email") == []

    assert worker.deliver(JOB, job_id).outcome == "completed"
    check_one_of_each(worker, bucket, mailbox, job_id)


@pytest.mark.parametrize("written_as", ["pdf", "html", "json"])
def test_the_same_report_is_the_same_file(seeded: Engine, worker: Worker, bucket: Bucket, written_as: str) -> None:
    """Two jobs over the same rows write the same bytes, so a repeated attempt overwrites its file with itself."""
    job = JOB.model_copy(update={"format": written_as})

    first, second = (bucket.read(worker.run(job)["result"]["key"]) for _ in range(2))

    assert len(first) > 1000
    assert first == second


def test_a_large_report_is_linked_to(
    seeded: Engine, worker: Worker, bucket: Bucket, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too large to attach is linked to: the link leads to the file, and the mail says until when."""
    monkeypatch.setattr(module, "ATTACHED_LIMIT", 1000)
    row = worker.run(JOB)
    send_mails(worker)

    assert row["result"]["sent"] == "linked"
    assert len(mailbox.mails()) == len(RECIPIENTS)
    mail = mailbox.mails()[0]
    assert mail.attachments == []
    (payload, *_) = worker.jobs("send-email")
    assert payload["data"]["downloadUrl"] in (mail.text or "")
    opened = download(
        function_url_event(payload["data"]["downloadUrl"], b"", {}, "GET"), time_out_after(timedelta(seconds=30))
    )
    saved = httpx.get(opened["headers"]["Location"])
    assert saved.content == bucket.read(row["result"]["key"])
    assert saved.headers["content-disposition"].startswith('attachment; filename="billing-2026-10-01.pdf"')


def test_recipients_that_are_the_same_get_one_mail(seeded: Engine, worker: Worker) -> None:
    """Who is named twice, however it is written, gets the report once, at the address as it was first written."""
    twice = ["Ada@Example.com", "ada@example.COM", "grace@example.com", "ada@example.com"]
    worker.run(GenerateReport.model_validate(JOB.wire() | {"recipients": twice}))

    assert sorted(one["to"] for one in worker.jobs("send-email")) == ["Ada@example.com", "grace@example.com"]


def test_whose_file_it_is(seeded: Engine, worker: Worker) -> None:
    """The file belongs to the organization that it tells of, or that asked, and to who asked, as far as there are any."""
    usage = {"reportType": "usage", "organizationId": 3}
    worker.run(GenerateReport.model_validate(JOB.wire() | usage), user_id=5, organization_id=7)
    worker.run(JOB, user_id=5, organization_id=7)
    worker.run(JOB, user_id=10**9, organization_id=10**9)

    found = worker.ask("SELECT organization_id, user_id FROM files ORDER BY id")
    assert [tuple(row) for row in found] == [(3, 5), (7, 5), (None, None)]


def test_an_organization_that_there_is_not(worker: Worker) -> None:
    """Fails at once, with a reason, and mails nothing."""
    row = worker.run(GenerateReport.model_validate(JOB.wire() | {"reportType": "usage", "organizationId": 404}))

    assert (row["status"], row["attempts"], row["error"]) == ("failed", 1, "there is no organization 404")
    assert worker.jobs("send-email") == []


@pytest.fixture
def own_zone(tmp_path: Path) -> Iterator[str]:
    """A time zone that this machine has, and Postgres has not."""
    (tmp_path / "Here").mkdir()
    (tmp_path / "Here/Only").write_bytes(files("tzdata.zoneinfo").joinpath("UTC").read_bytes())
    zoneinfo.reset_tzpath([str(tmp_path)])
    yield "Here/Only"
    zoneinfo.reset_tzpath()


def test_a_time_zone_that_postgres_lacks(worker: Worker, own_zone: str) -> None:
    """Fails at once, with a reason."""
    row = worker.run(GenerateReport.model_validate(JOB.wire() | {"timeZone": own_zone}))

    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert row["error"].startswith("Postgres knows no time zone 'Here/Only'")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reportType": "custom"}, "a custom report needs a name"),
        ({"name": "email-delivery"}, "only custom reports have a name"),
        ({"reportType": "custom", "name": "weather"}, "'email-delivery'"),
        ({"organizationId": 3}, "only usage can be reported of one organization"),
        ({"timeZone": "Berlin"}, "there is no time zone 'Berlin'"),
        ({"timeZone": "localtime"}, "there is no time zone 'localtime'"),
        ({"timeZone": "../../etc/passwd"}, "there is no time zone"),
        ({"recipients": []}, "at least 1 item"),
        ({"recipients": [f"{number}@b.example" for number in range(51)]}, "at most 50 items"),
        ({"recipients": ["ada"]}, "not a valid email address"),
        ({"format": "docx"}, "'pdf', 'html' or 'json'"),
        ({"dateRange": PERIOD | {"to": PERIOD["from"]}}, "a period must begin before it ends"),
        ({"dateRange": PERIOD | {"from": "2020-01-01T00:00:00Z"}}, "at most 1,830 days"),
        ({"dateRange": PERIOD | {"from": "0001-01-01T00:00:00Z"}}, "between the years 1970 and 2999"),
        ({"dateRange": PERIOD | {"to": "2026-11-01T00:00:00"}}, "timezone"),
    ],
)
def test_bad_input_is_refused_when_it_is_enqueued(worker: Worker, change: dict[str, Any], sentence: str) -> None:
    """The app is told in a sentence, and nothing is stored."""
    with pytest.raises((ValueError, InvalidJob), match=sentence):
        create_test_job(GenerateReport.model_validate(JOB.wire() | change))

    assert worker.ask("SELECT FROM job_executions") == []


def test_progress_is_told(seeded: Engine, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """People see how far the work is, and what is being done."""
    monkeypatch.setattr("qstash_jobs.serving.PROGRESS_INTERVAL_SECONDS", 0.0)
    told: list[dict[str, Any]] = []
    genuine = Delivery._report

    def report(delivery: Delivery, attempt: int, fraction: float, message: str | None) -> None:
        genuine(delivery, attempt, fraction, message)
        told.extend(row[0] for row in worker.ask("SELECT progress FROM job_executions WHERE progress IS NOT NULL"))

    monkeypatch.setattr(Delivery, "_report", report)
    worker.run(JOB)

    fractions = [one["fraction"] for one in told]
    assert fractions == sorted(fractions)
    *messages, last = dict.fromkeys(one["message"] for one in told)
    assert messages == ["Asking the database", "Typesetting", "Writing the file"]
    assert (told[-1]["fraction"], last) == (1, told[-1]["message"])


def test_a_cancelled_job_stops_between_two_questions(
    seeded: Engine, worker: Worker, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written and nobody gets a mail."""
    monkeypatch.setattr("qstash_jobs.serving.PROGRESS_INTERVAL_SECONDS", 0.0)
    job_id = create_test_job(JOB)
    genuine = Source.rows

    def rows(source: Source, statement: Any) -> Any:
        cancel(job_id)
        return genuine(source, statement)

    monkeypatch.setattr(Source, "rows", rows)

    assert worker.deliver(JOB, job_id).outcome == "cancelled"
    assert [one for page in bucket.pages(REPORTS) for one in page] == []
    assert worker.jobs("send-email") == []


def test_all_numbers_are_of_one_moment(
    engine: Engine, worker: Worker, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written while a report asks is not in some of its numbers and missing in others."""
    genuine = Source.row

    def row(source: Source, statement: Any) -> Any:
        found = genuine(source, statement)
        with engine.begin() as other:
            other.execute(
                insert(tables.activity_logs), [{"action": "late", "created_at": datetime(2026, 10, 5, tzinfo=UTC)}]
            )
        return found

    with engine.begin() as connection:
        connection.execute(
            insert(tables.activity_logs), [{"action": "early", "created_at": datetime(2026, 10, 5, tzinfo=UTC)}]
        )
    monkeypatch.setattr(Source, "row", row)

    made = worker.run(GenerateReport.model_validate(JOB.wire() | {"reportType": "usage", "format": "json"}))

    report = json.loads(bucket.read(made["result"]["key"]))
    found = [one for section in report["sections"] for one in section["tables"]]
    assert {
        one["title"]: sum(row[-3 if one["columns"][-1]["unit"] == "change" else -1] for row in one["rows"])
        for one in found[:3]
    } == {
        "By action": 1,
        "By day": 1,
        "By organization": 1,
    }
    assert report["sections"][0]["figures"][0]["value"] == 1
    assert worker.ask("SELECT count(*) FROM activity_logs")[0][0] > 1


def test_a_period_that_has_not_ended_says_so(worker: Worker, bucket: Bucket) -> None:
    """Whoever reads it must not take it for the whole."""
    ahead = {"from": "2026-10-01T00:00:00Z", "to": (datetime.now(UTC) + timedelta(days=5)).isoformat()}
    ahead["from"] = (datetime.now(UTC) - timedelta(days=5)).isoformat()

    made = worker.run(GenerateReport.model_validate(JOB.wire() | {"dateRange": ahead, "format": "json"}))

    notes = json.loads(bucket.read(made["result"]["key"]))["notes"]
    assert notes == ["The period had not ended when this report was made."]
