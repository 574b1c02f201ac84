"""Events of senders of one's own reach the handler of their name and type, with a model each."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from functions.process_webhook.handler import process as handle
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.serving import serve
from tests.integration.jobs.conftest import Worker
from tests.integration.jobs.webhooks import sample


@pytest.fixture
def worker(engine: Engine) -> Worker:
    """The function, and one organization."""
    worker = Worker(serve(ProcessWebhook, handle), engine)
    worker.ask("INSERT INTO organizations (name, slug) VALUES ('Analytical Engines', 'ae')")
    return worker


def run(worker: Worker, name: str = "crm", **changes: Any) -> dict[str, Any]:
    """The job's row, once an attempt has ended."""
    document = sample("custom/contact-created") | changes
    return worker.run(
        ProcessWebhook(source="custom", name=name, event=document["type"], event_id="msg_1", data=document)
    )


def test_a_contact_is_a_line_in_what_happened(worker: Worker) -> None:
    """Once, however often the event comes."""
    assert [run(worker)["result"]["outcome"] for _ in range(2)] == ["applied", "processed before"]
    rows = worker.ask("SELECT organization_id, action, target_type, details FROM activity_logs")
    details = {"source": "crm", "contactId": "contact_42", "name": "Grace Hopper"}
    assert rows == [(1, "contact.created", "contact", details)]


@pytest.mark.parametrize(("name", "event_type"), [("crm", "contact.merged"), ("shop", "contact.created")])
def test_what_has_no_handler_is_recorded_and_acknowledged(worker: Worker, name: str, event_type: str) -> None:
    """Of an unknown type, or an unknown sender."""
    assert run(worker, name, type=event_type)["result"] == {"outcome": "ignored"}
    assert worker.ask("SELECT provider, processed_at IS NOT NULL FROM webhook_events") == [(f"custom/{name}", True)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "lacks what is needed of it"),
        ({"id": "1", "name": "Grace"}, "lacks what is needed of it: organizationId: Field required"),
        ({"id": "1", "name": "Grace", "organizationId": 2}, "cannot be used: there is no organization 2"),
    ],
)
def test_data_that_is_not_as_its_model_says_fails_with_a_reason(worker: Worker, data: object, reason: str) -> None:
    """At once, and the event is left as not processed."""
    row = run(worker, data=data)
    assert (row["status"], row["error_type"], row["attempts"]) == ("failed", "NonRetryable", 1)
    assert reason in row["error"]
