"""`jobs webhook`: an event sent as its provider would."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from functions.webhook_ingress import handler as ingress
from infra.local.desk import DEVELOPMENT_WEBHOOK_SECRETS
from qstash_jobs.testing import Context, function_url_event
from tests.conftest import forget
from tests.integration.cli.conftest import Jobs, sql


@pytest.fixture
def database_url(saas_database_url: str) -> str:
    """With the table of events."""
    return saas_database_url


@pytest.fixture
def door(environment: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """The front door over HTTP, as a desk has it; the headers of each request that came."""
    seen: list[dict[str, str]] = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append({name.lower(): value for name, value in self.headers.items()})
            event = function_url_event(f"http://{self.headers['Host']}{self.path}", body, seen[-1])
            answer: dict[str, Any] = ingress.handler(event, Context(timedelta(seconds=30)))
            self.send_response(answer["statusCode"])
            self.end_headers()
            self.wfile.write(answer["body"].encode())

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    environment.setenv("JOBS_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    for name, value in DEVELOPMENT_WEBHOOK_SECRETS.items():
        environment.setenv(name, value)
    forget()
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("sender", "event", "event_type"),
    [
        ("stripe", "invoice-paid", "invoice.paid"),
        ("resend", "bounced", "email.bounced"),
        ("custom/crm", "contact-created", "contact.created"),
    ],
)
def test_a_sample_is_signed_and_taken(
    door: list[dict[str, str]], jobs: Jobs, sender: str, event: str, event_type: str
) -> None:
    """Each time as another event, with one job."""
    for _ in range(2):
        done = jobs("webhook", sender, event)
        assert (done.code, '200 {"outcome": "received"}' in done.out) == (0, True)
    assert sql("SELECT provider, event_type FROM webhook_events") == [[sender, event_type]] * 2
    assert sql("SELECT count(*) FROM job_executions") == [[2]]


@pytest.mark.parametrize(("sender", "event"), [("stripe", "invoice-paid"), ("resend", "bounced")])
def test_a_sample_as_it_is_comes_once(door: list[dict[str, str]], jobs: Jobs, sender: str, event: str) -> None:
    """The second time, it is a duplicate."""
    said = [jobs("webhook", sender, event, "--as-it-is").out for _ in range(2)]
    assert ["received" in said[0], "duplicate" in said[1]] == [True, True]
    assert sql("SELECT count(*) FROM job_executions") == [[1]]


def test_an_event_of_ones_own_is_sent(door: list[dict[str, str]], jobs: Jobs, tmp_path: Path) -> None:
    """From any file."""
    (tmp_path / "mine.json").write_text(json.dumps({"type": "ticket.closed", "data": {}}))
    assert jobs("webhook", "custom/crm", "mine.json").code == 0
    assert sql("SELECT event_type FROM webhook_events") == [["ticket.closed"]]


@pytest.mark.parametrize(
    ("arguments", "content", "said"),
    [
        (("github", "push"), "", "it is stripe, resend, or custom/NAME"),
        (("custom", "contact-created"), "", "it is stripe, resend, or custom/NAME"),
        (("stripe/x", "invoice-paid"), "", "it is stripe, resend, or custom/NAME"),
        (("stripe", "refund"), "", "there are checkout-session-completed, invoice-paid,"),
        (("stripe", "event.json"), "{", "is not JSON"),
        (("stripe", "event.json"), "[]", "is no event"),
        (("stripe", "folder.json"), "", "cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_sent_is_said(
    environment: pytest.MonkeyPatch, jobs: Jobs, tmp_path: Path, arguments: tuple[str, str], content: str, said: str
) -> None:
    """With what there is instead."""
    (tmp_path / "event.json").write_text(content)
    (tmp_path / "folder.json").mkdir()
    done = jobs("webhook", *arguments)
    assert done.code == 2
    assert said in done.sentence


def test_a_refusal_ends_with_1(
    door: list[dict[str, str]], jobs: Jobs, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the front door says it."""
    (tmp_path / "event.json").write_text('{"no": "type"}')
    done = jobs("webhook", "custom/crm", "event.json")
    assert done.code == 1
    assert done.err.strip().endswith('400 {"outcome": "invalid_event"}')


def test_a_sender_without_a_secret_is_named(door: list[dict[str, str]], jobs: Jobs) -> None:
    """There is nothing to sign with."""
    done = jobs("webhook", "custom/shop", "contact-created")
    assert done.code == 1
    assert done.sentence.startswith("Error: CUSTOM_WEBHOOK_SECRETS: it has no 'shop'")


def test_a_door_that_does_not_answer_is_said(environment: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """With what to do."""
    environment.setenv("STRIPE_WEBHOOK_SECRET", "whsec_test")
    forget()
    done = jobs("webhook", "stripe", "invoice-paid")
    assert done.code == 1
    assert "does not answer" in done.sentence
    assert "make dev" in done.sentence
