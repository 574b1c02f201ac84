"""Jobs go the whole way through what a deployment uploads: enqueued, published, delivered by QStash to a function's URL, run
in Lambda's runtime, recorded; and the libraries in the packages do their work there."""

from __future__ import annotations

import io
import json
import re
import time
from datetime import UTC, datetime, timedelta

import httpx
import openpyxl
import pytest
from pypdf import PdfReader
from standardwebhooks import Webhook
from stripe import WebhookSignature

from qstash_jobs.jobs.export_data import ExportData
from qstash_jobs.jobs.generate_report import DateRange, GenerateReport
from qstash_jobs.jobs.probe import Probe, ProbeMode
from qstash_jobs.jobs.send_email import WelcomeData
from tests.conftest import ROOT
from tests.runtime.conftest import World
from tests.runtime.stage import WEBHOOK_SECRETS
from tests.waiting import until


def test_a_mail_goes_the_whole_way(world: World) -> None:
    """Enqueued by an app service that looks the address up in Parameter Store; sent once."""
    job_id = world.enqueue(WelcomeData(recipient_name="Ada").addressed("ada@runtime.example"), user_id=7)
    row = world.wait(job_id, "completed", "failed")
    assert (row["status"], row["attempts"], row["user_id"]) == ("completed", 1, 7), world.log
    assert row["message_id"].startswith("msg_")
    [mail] = world.stage.mailbox.mails("ada@runtime.example")
    assert (mail.subject, mail.idempotency_key) == ("Welcome to Northwind", str(job_id))
    assert row["result"] == {"emailId": mail.id}


def test_qstash_repeats_what_failed(world: World) -> None:
    """500, a backoff, which is passed by here, and 200."""
    job_id = world.enqueue(Probe(mode=ProbeMode.FAIL_ONCE))
    world.wait(job_id, "retrying")
    pass_time_until_ended(world, job_id)
    assert world.outcomes(job_id) == ["retried", "completed"]


def test_qstash_repeats_what_crashed(world: World) -> None:
    """502, then 409 or the next attempt: by itself, within a lease and QStash's waits."""
    job_id = world.enqueue(Probe(mode=ProbeMode.CRASH_ONCE))
    until(lambda: world.outcomes(job_id) == [None])
    pass_time_until_ended(world, job_id)
    assert world.outcomes(job_id) == [None, "completed"]


def pass_time_until_ended(world: World, job_id: object) -> None:
    """Let QStash's waits be over, minute by minute, until the job has completed."""

    def ended() -> bool:
        world.stage.qstash.advance(60)
        return bool(world.ask(f"SELECT 1 FROM job_executions WHERE job_id = '{job_id}' AND status = 'completed'"))

    until(ended, timedelta(seconds=30), lambda: world.log)


def test_people_hear_of_a_job_that_failed(world: World) -> None:
    """QStash calls the failure callback at the address that the stage published."""
    before = len(world.stage.environment("failure-callback").invocations)
    job_id = world.enqueue(Probe(mode=ProbeMode.NOT_RETRYABLE))
    world.wait(job_id, "failed")
    callback = world.stage.environment("failure-callback")
    until(lambda: len(callback.invocations) > before)
    until(lambda: str(job_id) in callback.log, otherwise=lambda: callback.log)
    assert not [line for line in world.stage.urls.failures if line.startswith("failure-callback")]


def test_stripes_event_changes_the_tables(world: World) -> None:
    """It comes in at one function, which publishes a job for another."""
    event = json.loads((ROOT / "events/webhooks/stripe/subscription-created.json").read_text())
    customer, subscription = "cus_runtime", "sub_runtime"
    event["id"] = "evt_runtime"
    event["data"]["object"] |= {"id": subscription, "customer": customer}
    world.ask(f"INSERT INTO organizations (name, slug, stripe_customer_id) VALUES ('Runtime', 'runtime', '{customer}')")
    body = json.dumps(event).encode()
    signature = WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRETS["STRIPE_WEBHOOK_SECRET"])
    answer = world.send(
        "webhook-ingress",
        path="/stripe",
        headers={"stripe-signature": signature, "content-type": "application/json"},
        content=body,
    )
    assert answer.status == 200, world.log
    job_id = world.ask("SELECT job_id FROM job_executions WHERE payload::text LIKE '%evt_runtime%'")[0][0]
    row = world.wait(job_id, "completed", "failed")
    assert row["status"] == "completed", row
    found = world.ask(
        f"SELECT slug, status FROM subscriptions JOIN organizations o ON organization_id = o.id WHERE stripe_subscription_id = '{subscription}'"
    )
    assert [("runtime", event["data"]["object"]["status"])] == [tuple(one) for one in found]


def test_an_event_of_a_sender_of_ones_own_is_taken_by_its_secret(world: World) -> None:
    """The map of secrets is in one of Secrets Manager's."""
    secret, now = WEBHOOK_SECRETS["CUSTOM_WEBHOOK_SECRETS"]["crm"], datetime.now(UTC)
    body = json.loads((ROOT / "events/webhooks/custom/contact-created.json").read_text())
    text = json.dumps(body)
    headers = {
        "content-type": "application/json",
        "webhook-id": "msg_runtime",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_runtime", now, text),
    }
    assert world.send("webhook-ingress", path="/custom/crm", headers=headers, content=text).status == 200, world.log
    forged = {**headers, "webhook-id": "msg_other"}
    assert world.send("webhook-ingress", path="/custom/crm", headers=forged, content=text).status == 400


def test_an_export_is_written_and_its_link_downloads_it(world: World) -> None:
    """A spreadsheet by way of S3, a mail with a link, and the function that the link leads to."""
    world.ask("INSERT INTO users (email, name) VALUES ('grace@runtime.example', 'Grace') ON CONFLICT DO NOTHING")
    address = "exports@runtime.example"
    job_id = world.enqueue(ExportData(export_type="users", format="xlsx", notify_email=address))
    row = world.wait(job_id, "completed", "failed")
    assert row["status"] == "completed", row
    file = download(world, address)
    sheet = openpyxl.load_workbook(io.BytesIO(file)).active
    assert sheet is not None
    header, *rows = [list(line) for line in sheet.iter_rows(values_only=True)]
    assert (len(rows), "grace@runtime.example") == (
        row["result"]["rows"],
        next(line[header.index("email")] for line in rows if "grace@runtime.example" in line),
    )


@pytest.mark.parametrize("form", ["pdf", "html"])
def test_a_report_is_rendered_and_sent(world: World, form: str) -> None:
    """Typst and its fonts, Jinja and its templates, out of the package; attached to a mail, out of S3."""
    address = f"reports-{form}@runtime.example"
    month = DateRange(from_=datetime(2026, 3, 1, tzinfo=UTC), to=datetime(2026, 4, 1, tzinfo=UTC))
    job = GenerateReport(report_type="billing", date_range=month, recipients=[address], format=form)  # type: ignore[arg-type]
    row = world.wait(world.enqueue(job), "completed", "failed")
    assert row["status"] == "completed", row
    [attached] = world.stage.mailbox.wait_for_mail(address).attachments
    file = attached.data
    if form == "pdf":
        pages = PdfReader(io.BytesIO(file)).pages
        assert "Billing" in "".join(page.extract_text() for page in pages)
    else:
        assert b"<html" in file


def download(world: World, address: str) -> bytes:
    """The file that the link in the mail to somebody leads to."""
    text = world.stage.mailbox.wait_for_mail(address).text or ""
    found = re.search(rf"{re.escape(world.stage.address('download'))}(/\S+)", text)
    assert found, text
    answer = world.send("download", "GET", found[1])
    assert answer.status == 302, world.log
    file = httpx.get(answer.headers["location"])
    assert file.status_code == 200, file.text
    return file.content


def test_a_schedule_fires_by_itself(world: World) -> None:
    """A cron of QStash's, a message without a job id, a job of its own for each firing."""
    from qstash_jobs import schedule_changes
    from qstash_jobs.relay import qstash
    from qstash_jobs.schedules import SCHEDULES
    from qstash_jobs.settings import settings

    wanted = schedule_changes.wanted_schedules(SCHEDULES)
    changes = schedule_changes.changes(wanted, qstash().schedules(), settings().schedule_prefix)
    schedule_changes.apply(changes, qstash())
    before = time.time()
    world.stage.qstash.advance(600)
    fired = "SELECT status FROM job_executions WHERE job_type = 'reconcile-jobs' AND schedule_id IS NOT NULL"
    until(lambda: ("completed",) in [tuple(row) for row in world.ask(fired)], otherwise=lambda: world.log)
    assert time.time() - before < 60
