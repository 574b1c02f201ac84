"""Resend's events keep what became of each mail, and who is not to be written to again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from functions.process_webhook.handler import process as handle
from functions.send_email.handler import send
from infra.local.mailbox import Mailbox
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.jobs.send_email import SendEmail, WelcomeData
from qstash_jobs.serving import serve
from tests.conftest import forget
from tests.integration.jobs.conftest import Worker
from tests.integration.jobs.webhooks import sample

PERMANENT = {"type": "Permanent", "subType": "General", "message": "There is no such mailbox."}
TIMES = {"sent": 1, "delivery_delayed": 2, "delivered": 3, "bounced": 4, "complained": 5}


@pytest.fixture
def worker(engine: Engine) -> Worker:
    """The function, without any rows."""
    return Worker(serve(ProcessWebhook, handle), engine)


def event(kind: str, second: int | None = None, **data: Any) -> dict[str, Any]:
    """`email.<kind>`, which happened so many seconds into the year."""
    document = sample("resend/delivered")
    document |= {
        "type": f"email.{kind}",
        "created_at": f"2026-01-01T00:00:{TIMES[kind] if second is None else second:02}Z",
    }
    document["data"] |= data
    return document


def process(worker: Worker, document: dict[str, Any]) -> str:
    """What a completed job says it did."""
    event_id = f"msg_{worker.ask('SELECT count(*) FROM job_executions')[0][0]}"
    job = ProcessWebhook(source="resend", event=document["type"], event_id=event_id, data=document)
    row = worker.run(job)
    assert row["status"] == "completed", row["error"]
    return str(row["result"]["outcome"])


def delivery(worker: Worker) -> dict[str, Any]:
    ((row,),) = worker.ask("SELECT to_jsonb(d) FROM email_deliveries d")
    return dict(row)


def suppressed(worker: Worker) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in worker.ask("SELECT address, reason FROM email_suppressions ORDER BY address")]


def test_a_delivery_is_kept_with_the_job_that_sent_it(worker: Worker) -> None:
    """As its tags say; the address in lower case."""
    assert process(worker, event("delivered", to=["Ada <Ada@Example.COM>"])) == "applied"
    kept = delivery(worker)
    assert (kept["resend_id"], kept["address"]) == ("56761188-7520-42d8-8898-ff6fc54ce618", "ada@example.com")
    assert (kept["template"], kept["job_id"]) == ("welcome", "019b7a3c-5e80-7c3a-9d52-3f6a1b2c4d5e")
    assert (kept["status"], kept["sent_at"][:19], kept["delivered_at"][:19]) == (
        "delivered",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:03",
    )


@pytest.mark.parametrize(
    "tags",
    [
        None,
        {},
        {"job_id": "none"},
        [{"name": "template", "value": "welcome"}, {"name": "job_id"}],
    ],
)
def test_mails_of_others_are_kept_too(worker: Worker, tags: object) -> None:
    """The account may send what no job sent."""
    process(worker, event("sent", tags=tags))
    assert (delivery(worker)["status"], delivery(worker)["job_id"]) == ("sent", None)


@pytest.mark.parametrize("order", list(itertools.permutations(["sent", "delivery_delayed", "delivered"])), ids=str)
def test_a_status_never_goes_back(worker: Worker, order: tuple[str, ...]) -> None:
    """In whichever order its events come."""
    for kind in order:
        process(worker, event(kind))
    kept = delivery(worker)
    assert (kept["status"], kept["delivered_at"][:19]) == ("delivered", "2026-01-01T00:00:03")


@pytest.mark.parametrize("order", list(itertools.permutations(["sent", "delivered", "complained"])), ids=str)
def test_of_events_at_one_moment_the_one_further_on_holds(worker: Worker, order: tuple[str, ...]) -> None:
    """What is complained of was delivered before."""
    for kind in order:
        process(worker, event(kind, 1))
    kept = delivery(worker)
    assert (kept["status"], kept["delivered_at"] is not None) == ("complained", True)


def test_an_older_bounce_is_still_noted(worker: Worker) -> None:
    """Its time is kept beside the status, and the address is suppressed all the same."""
    process(worker, event("complained", 9))
    process(worker, event("bounced", 4, bounce=PERMANENT))
    kept = delivery(worker)
    assert (kept["status"], kept["bounced_at"][:19]) == ("complained", "2026-01-01T00:00:04")
    assert datetime.fromisoformat(kept["last_event_at"]).second == 9


@pytest.mark.parametrize(
    ("document", "listed"),
    [
        (event("bounced", bounce=PERMANENT, to="Ada@Example.com"), [("ada@example.com", "bounced")]),
        (event("bounced", bounce={"type": "Transient"}), []),
        (event("bounced"), []),
        (event("complained"), [("ada@example.com", "complained")]),
        (event("delivered"), []),
        (event("complained", to=["a@example.com", "b@example.com"]), []),
    ],
    ids=["permanent", "transient", "untold", "complaint", "delivered", "several addresses"],
)
def test_who_is_not_to_be_written_to_again(
    worker: Worker, document: dict[str, Any], listed: list[tuple[str, str]]
) -> None:
    """A mailbox that is full today may take a mail tomorrow; one that does not exist will not."""
    process(worker, document)
    assert suppressed(worker) == listed


def test_the_first_reason_stays(worker: Worker) -> None:
    """Also one that somebody gave by hand."""
    worker.ask("INSERT INTO email_suppressions (address, reason) VALUES ('ada@example.com', 'manual')")
    process(worker, event("complained"))
    assert suppressed(worker) == [("ada@example.com", "manual")]


@pytest.mark.parametrize("kind", ["opened", "clicked", "failed"])
def test_other_events_are_recorded_and_acknowledged(worker: Worker, kind: str) -> None:
    """Whoever wants them finds them in `webhook_events`."""
    document = event("sent") | {"type": f"email.{kind}"}
    assert process(worker, document) == "ignored"
    assert worker.ask("SELECT event_type, processed_at IS NOT NULL FROM webhook_events") == [(f"email.{kind}", True)]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (event("sent", email_id=None), "lacks what is needed of it: data.email_id"),
        (event("sent", to=[]), "lacks what is needed of it: data.to"),
        (event("sent") | {"created_at": "soon"}, "lacks what is needed of it: created_at"),
        (event("complained", to=["nobody"]), "cannot be used: what it was sent to is no address"),
    ],
)
def test_an_event_without_what_is_needed_fails_with_a_reason(
    worker: Worker, document: dict[str, Any], reason: str
) -> None:
    """At once, and nothing of it is taken over."""
    row = worker.run(ProcessWebhook(source="resend", event=document["type"], event_id="msg_1", data=document))
    assert (row["status"], row["error_type"], row["attempts"]) == ("failed", "NonRetryable", 1)
    assert reason in row["error"]
    assert worker.ask("SELECT 1 FROM email_deliveries") == []


@pytest.fixture
def mailbox(environment: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """Where mails end, in the place of Resend."""
    with Mailbox() as running:
        environment.setenv("RESEND_API_URL", running.url)
        environment.setenv("RESEND_API_KEY", "re_test")
        forget()
        yield running
        forget()


@pytest.fixture
def mails(mailbox: Mailbox, engine: Engine) -> Worker:
    """The function that sends them."""
    return Worker(serve(SendEmail, send), engine)


def test_no_mail_goes_to_a_suppressed_address(worker: Worker, mailbox: Mailbox, mails: Worker) -> None:
    """The job fails at once, with the reason and without the address; off the list, a requeue would send it."""
    welcome = WelcomeData(recipient_name="Ada").addressed("Ada@example.com")
    assert mails.run(welcome)["status"] == "completed"

    process(worker, event("bounced", bounce=PERMANENT))
    row = mails.run(welcome)

    assert (row["status"], row["error_type"], row["attempts"]) == ("failed", "NonRetryable", 1)
    assert "the address is on the suppression list: bounced, since 20" in row["error"]
    assert "ada" not in row["error"].lower()
    assert len(mailbox.mails()) == 1

    mails.ask("DELETE FROM email_suppressions WHERE address = 'ada@example.com'")
    assert mails.run(welcome)["status"] == "completed"


def test_without_the_list_mails_are_sent(mailbox: Mailbox, mails: Worker) -> None:
    """An app may have the record's tables alone; when the list comes, it is honoured at once."""
    welcome = WelcomeData(recipient_name="Ada").addressed("ada@example.com")
    mails.ask("ALTER TABLE email_suppressions RENAME TO elsewhere")
    assert mails.run(welcome)["status"] == "completed"
    mails.ask("ALTER TABLE elsewhere RENAME TO email_suppressions")
    mails.ask("INSERT INTO email_suppressions (address, reason) VALUES ('ada@example.com', 'manual')")
    assert mails.run(welcome)["status"] == "failed"
