"""A mailbox, empty for each test, and settings that point at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.mailbox import Mailbox
from qstash_jobs.settings import Settings
from tests.conftest import forget


@pytest.fixture(scope="package")
def running_mailbox() -> Iterator[Mailbox]:
    """One for all of them, in memory."""
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def mailbox(running_mailbox: Mailbox) -> Mailbox:
    """Without mails and without faults."""
    running_mailbox.clear()
    return running_mailbox


@pytest.fixture
def mail_settings(mailbox: Mailbox, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The settings of a function that sends to the mailbox; set others with it before the first use. The database has no
    suppression list."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("RESEND_API_KEY", "re_test")
    monkeypatch.setenv("RESEND_API_URL", mailbox.url)
    monkeypatch.setenv("EMAIL_FROM", "Northwind <hello@northwind.example>")
    monkeypatch.setenv("PRODUCT_NAME", "Northwind")
    forget()
    yield monkeypatch
    forget()
