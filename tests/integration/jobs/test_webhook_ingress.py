"""The front door: what a provider signed becomes one event and one job, and of everything else nothing is left."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from logging.handlers import BufferingHandler
from typing import Any

import pytest
from sqlalchemy import Engine

from functions.webhook_ingress import handler as ingress
from functions.webhook_ingress import inbox
from infra.local.qstash import QStashServer
from qstash_jobs.database import Database
from qstash_jobs.errors import DatabaseUnreachable, StatementRefused
from qstash_jobs.settings import Settings, settings
from qstash_jobs.testing import Context
from qstash_jobs.webhook_events import Event
from qstash_jobs.webhook_signatures import Sender
from tests.conftest import ROOT, forget
from tests.integration.jobs.conftest import Worker
from tests.integration.jobs.webhooks import SECRETS, headers, post, sample

STRIPE = "stripe/invoice-paid"


@pytest.fixture(autouse=True)
def secrets(environment: pytest.MonkeyPatch) -> Iterator[None]:
    """The front door knows its senders, and QStash is away: what it took waits in the outbox."""
    for name, value in SECRETS.items():
        environment.setenv(name, value)
    environment.setenv("QSTASH_TIMEOUT", "1")
    forget()
    ingress.telemetry.cache_clear()
    yield
    ingress.telemetry.cache_clear()


@pytest.fixture
def record(engine: Engine) -> Worker:
    """What is in the database."""
    return Worker(ingress.handler, engine)


@pytest.fixture
def log() -> Iterator[list[logging.LogRecord]]:
    """What the function logs."""
    handler = BufferingHandler(capacity=100)
    logger = logging.getLogger("webhook-ingress")
    logger.addHandler(handler)
    yield handler.buffer
    logger.removeHandler(handler)


def stored(record: Worker) -> list[Any]:
    return [tuple(row) for row in record.ask("SELECT provider, event_type FROM webhook_events ORDER BY id")]


def count(record: Worker) -> tuple[int, int]:
    """Events and jobs."""
    return len(stored(record)), len(record.jobs("process-webhook"))


@pytest.mark.parametrize(
    ("sender", "path", "event_type"),
    [
        ("stripe", STRIPE, "invoice.paid"),
        ("resend", "resend/bounced", "email.bounced"),
        ("custom/crm", "custom/contact-created", "contact.created"),
    ],
)
def test_an_event_is_stored_with_its_job(record: Worker, sender: str, path: str, event_type: str) -> None:
    """As it came, under the provider's id; the job has it too, and nobody processed it yet."""
    document = sample(path)
    assert post(sender, document, event_id="msg_1").status == 200

    ((provider, event_id, found, payload, processed_at, job_id),) = record.ask(
        "SELECT provider, event_id, event_type, payload, processed_at, job_id FROM webhook_events"
    )
    assert (provider, found, payload, processed_at) == (sender, event_type, document, None)
    assert event_id == (document["id"] if sender == "stripe" else "msg_1")
    row = record.row(job_id)
    assert (row["status"], row["payload"]["eventId"], row["payload"]["data"]) == ("pending", event_id, document)
    assert row["payload"]["name"] == ("crm" if sender == "custom/crm" else None)


def test_the_message_is_sent_before_the_answer(qstash: QStashServer, record: Worker) -> None:
    """An environment may be frozen after it."""
    assert post("stripe", sample(STRIPE)).outcome == "received"
    ((published, message_id),) = record.ask("SELECT published_at IS NOT NULL, message_id FROM job_executions")
    assert published
    assert message_id.startswith("msg_")


def test_qstash_away_loses_nothing(record: Worker) -> None:
    """The provider is answered, the row is the outbox."""
    assert post("stripe", sample(STRIPE)).status == 200
    assert record.ask("SELECT status, published_at FROM job_executions") == [("pending", None)]


def test_a_duplicate_is_answered_without_a_second_job(record: Worker) -> None:
    """The provider hears that all is well, and stops repeating."""
    document = sample(STRIPE)
    answers = [post("stripe", document) for _ in range(3)]
    assert [(one.status, one.outcome) for one in answers] == [(200, "received"), (200, "duplicate"), (200, "duplicate")]
    assert count(record) == (1, 1)


def test_the_same_id_of_another_provider_is_another_event(record: Worker) -> None:
    """Ids are each provider's own."""
    post("resend", sample("resend/bounced"), event_id="msg_1")
    post("custom/crm", sample("custom/contact-created"), event_id="msg_1")
    assert count(record) == (2, 2)


def test_of_simultaneous_duplicates_one_makes_a_job(record: Worker, database_url: str) -> None:
    """Two environments with a connection each: one statement decides."""
    event = Event(Sender("stripe"), "evt_1", "invoice.paid", {"id": "evt_1"})
    barrier, found = threading.Barrier(8), []

    def arrive() -> None:
        own = Database(database_url, timedelta(seconds=20))
        barrier.wait()
        found.append(inbox.store(event, own))
        own.close()

    threads = [threading.Thread(target=arrive) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len([one for one in found if one is not None]) == 1
    assert count(record) == (1, 1)


@pytest.mark.parametrize("sender", ["stripe", "resend", "custom/crm"])
def test_a_wrong_signature_leaves_nothing(record: Worker, sender: str) -> None:
    """Neither one for another body, nor an old one, nor none."""
    body = json.dumps(sample(STRIPE))
    for answer in (
        post(sender, body + " ", signed=headers(sender, body)),
        post(sender, body, age=timedelta(minutes=6)),
        post(sender, body, signed={}),
    ):
        assert (answer.status, answer.outcome) == (400, "unauthenticated")
    assert count(record) == (0, 0)


@pytest.mark.parametrize(
    "path", ["", "github", "custom", "custom/", "custom/unknown", "custom/crm/more", "custom/%63rm", "Stripe"]
)
def test_an_unknown_sender_is_not_found(record: Worker, path: str) -> None:
    """Whoever it is, and whatever it signed."""
    assert post(path, "{}", signed=headers("custom/crm", "{}")).status == 404
    assert count(record) == (0, 0)


def test_a_sender_whose_secret_is_not_set_is_unknown(
    environment: pytest.MonkeyPatch, record: Worker, log: list[logging.LogRecord]
) -> None:
    """The log says which setting is missing; nothing is accepted without one."""
    environment.delenv("STRIPE_WEBHOOK_SECRET")
    settings.cache_clear()
    assert post("stripe", sample(STRIPE)).status == 404
    (line,) = log
    assert vars(line)["reason"].startswith("STRIPE_WEBHOOK_SECRET: it is not set")
    assert count(record) == (0, 0)


@pytest.mark.parametrize("name", ["STRIPE_WEBHOOK_SECRET", "RESEND_WEBHOOK_SECRET"])
def test_blanks_around_a_secret_are_no_part_of_it(environment: pytest.MonkeyPatch, record: Worker, name: str) -> None:
    """One that was piped into a secret store ends in a line break, with which every event would be refused."""
    environment.setenv(name, f" {SECRETS[name]}\n")
    settings.cache_clear()
    sender, path = ("stripe", STRIPE) if name.startswith("STRIPE") else ("resend", "resend/bounced")
    assert post(sender, sample(path)).status == 200
    assert count(record) == (1, 1)


def test_a_body_that_is_too_large_is_refused(record: Worker) -> None:
    """Before its signature is computed; a megabyte is accepted."""
    assert post("stripe", "x" * 1_000_001).status == 413
    document = sample("custom/contact-created")
    document["data"]["name"] = "x" * (999_990 - len(json.dumps(document)))
    assert post("custom/crm", document).status == 200
    assert count(record) == (1, 1)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_post_is_allowed(record: Worker, method: str) -> None:
    """As the answer says."""
    answer = post("stripe", sample(STRIPE), method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert count(record) == (0, 0)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        '"text"',
        "null",
        "{}",
        '{"id": "evt_1"}',
        '{"id": 1, "type": "a"}',
        '{"id": "evt_1", "type": ""}',
        f'{{"id": "{"e" * 256}", "type": "a"}}',
        '{"id": "evt_1", "type": "a", "data": "\\u0000"}',
        '{"id": "evt_\\u0000", "type": "a"}',
        '{"id": "evt_1", "type": "a", "\\ud800": 1}',
        '{"id": "evt_1", "type": "a", "data": NaN}',
        '{"id": "evt_1", "type": "a", "data": 1e999}',
        '{"id": "evt_1", "type": "a", "data": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"id": "evt_1", "type": "a", "data": ' + "[" * 199 + "]" * 199 + "}",
        '{"id": "evt_1", "type": "a", "data": ' + "9" * 5000 + "}",
    ],
    ids=lambda body: body[:45],
)
def test_what_is_signed_and_no_event_is_refused(record: Worker, body: str, log: list[logging.LogRecord]) -> None:
    """With a line in the log that says why, and never with an error of ours."""
    answer = post("stripe", body)
    assert (answer.status, answer.outcome) == (400, "invalid_event")
    assert [line.getMessage() for line in log] == ["Webhook refused"]
    assert count(record) == (0, 0)


def test_deep_events_are_taken(record: Worker) -> None:
    """As deep as what is stored may be."""
    assert post("stripe", '{"id": "evt_1", "type": "a", "data": ' + "[" * 150 + "]" * 150 + "}").status == 200
    assert count(record) == (1, 1)


def test_a_body_in_base64_is_verified_as_the_bytes_that_it_stands_for(record: Worker) -> None:
    """Lambda encodes what is no text to it."""
    body = json.dumps(sample(STRIPE))
    event = json.loads((ROOT / "events" / "webhook-ingress.json").read_text())
    event |= {"body": base64.b64encode(body.encode()).decode(), "isBase64Encoded": True}
    event["headers"] |= headers("stripe", body)
    assert ingress.handler(event, Context(timedelta(seconds=30)))["statusCode"] == 200
    event["body"] = "%"
    assert ingress.handler(event, Context(timedelta(seconds=30)))["statusCode"] == 400
    assert count(record) == (1, 1)


def test_without_a_database_the_provider_is_asked_to_repeat(environment: pytest.MonkeyPatch) -> None:
    """503; the provider tries again for days."""
    environment.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    forget()
    assert post("stripe", sample(STRIPE)).status == 503


def test_a_reply_of_the_database_that_got_lost_is_found_again(monkeypatch: pytest.MonkeyPatch, record: Worker) -> None:
    """The first statement was carried out, its repetition finds the event known and the job its own."""
    run, lost = Database.run, []

    def lose_the_first(self: Database, sql: str, within: timedelta | None = None) -> Any:
        rows = run(self, sql, within)
        if not lost:
            lost.append(sql)
            raise DatabaseUnreachable("the reply was lost")
        return rows

    monkeypatch.setattr(Database, "run", lose_the_first)
    assert post("stripe", sample(STRIPE)).outcome == "received"
    assert count(record) == (1, 1)


def test_what_postgres_itself_refuses_to_store_is_refused(record: Worker) -> None:
    """By its class of error, whatever it was that we had not thought of."""
    record.ask("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not this' USING ERRCODE = 'program_limit_exceeded'; END $$""")
    record.ask("CREATE TRIGGER refuse BEFORE INSERT ON webhook_events EXECUTE FUNCTION refuse()")
    assert post("stripe", sample(STRIPE)).outcome == "invalid_event"
    assert count(record) == (0, 0)


def test_a_job_and_its_event_are_never_without_each_other(record: Worker) -> None:
    """When the job cannot be inserted, the event is not either, and its repetition is welcome."""
    record.ask("ALTER TABLE job_executions ADD CONSTRAINT none CHECK (job_type <> 'process-webhook')")
    with pytest.raises(StatementRefused, match="none"):
        post("stripe", document := sample(STRIPE))
    assert count(record) == (0, 0)
    record.ask("ALTER TABLE job_executions DROP CONSTRAINT none")
    assert post("stripe", document).outcome == "received"


def test_a_forged_request_loads_nothing_heavy() -> None:
    """Neither Postgres nor QStash nor, unless it concerns them, a provider's library."""
    code = f"""
import json, sys
from datetime import timedelta
from logging.handlers import BufferingHandler
from functions.webhook_ingress.handler import handler
class Context:
    aws_request_id = "1"
event = json.loads(open({str(ROOT / "events" / "webhook-ingress.json")!r}).read())
event["rawPath"] = "/custom/crm"
assert handler(event, Context())["statusCode"] == 400
event["headers"] |= {{"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}}
assert handler(event, Context())["statusCode"] == 400
heavy = {{"sqlalchemy", "boto3", "httpx", "qstash", "stripe", "pg8000", "psycopg", "resend"}}
sys.exit(", ".join(heavy & set(sys.modules)) or 0)
"""
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'shared'}", "PATH": "/usr/bin", **SECRETS}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_all_settings_of_senders_are_secrets() -> None:
    """No log line or error shows one."""
    assert "whsec_" not in repr(Settings.read(SECRETS))
