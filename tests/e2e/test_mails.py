"""Mails go the whole way, and once, whatever the provider answers."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from qstash_jobs import emails
from tests.e2e.conftest import World


def mails_to(world: World, address: str) -> list[dict[str, Any]]:
    """What the mailbox has for one address."""
    assert world.desk.mailbox is not None
    listed = httpx.get(f"{world.desk.mailbox.url}/api/mails").raise_for_status().json()
    mails: list[dict[str, Any]] = listed["mails"] if isinstance(listed, dict) else listed
    return [mail for mail in mails if address in mail["to"]]


def fail_next(world: World, status: int, **how: object) -> None:
    """Let the provider answer the next mail with this status."""
    assert world.desk.mailbox is not None
    httpx.post(f"{world.desk.mailbox.url}/api/faults", json={"status": status, "count": 1, **how}).raise_for_status()


def test_a_mail_is_sent(world: World) -> None:
    """It is in the mailbox, and the record holds the provider's id of it."""
    address = f"{uuid4().hex}@example.com"
    row = world.wait(emails.welcome(to=address, recipient_name="Ada", user_id=3), "completed")
    mail = mails_to(world, address)
    assert [row["result"]["emailId"]] == [one["id"] for one in mail]


@pytest.mark.parametrize(
    ("status", "how", "attempts"),
    [(500, {}, 2), (500, {"accept": True}, 2)],
    ids=["refused", "accepted, but the answer was lost"],
)
def test_a_mail_is_sent_once_however_often_it_is_tried(
    world: World, status: int, how: dict[str, object], attempts: int
) -> None:
    """The provider's idempotency key is the job's id, so a repetition is the same mail."""
    address = f"{uuid4().hex}@example.com"
    fail_next(world, status, **how)
    row = world.wait(emails.welcome(to=address, recipient_name="Ada"), "completed")
    assert (attempts, 1) == (row["attempts"], len(mails_to(world, address)))


def test_a_mail_that_the_provider_can_never_take_fails_at_once(world: World) -> None:
    """With the provider's reason in the record, and no second attempt."""
    address = f"{uuid4().hex}@example.com"
    fail_next(world, 422)
    row = world.wait(emails.welcome(to=address, recipient_name="Ada"), "failed", "completed")
    assert (row["status"], row["error_type"], row["attempts"]) == ("failed", "NonRetryable", 1)
    assert mails_to(world, address) == []
