"""A report goes the whole way on the running desk: job, file, mail, attachment."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
from pypdf import PdfReader

from qstash_jobs import enqueue
from qstash_jobs.jobs.generate_report import GenerateReport
from tests.e2e.conftest import World
from tests.waiting import until


def mails_to(mailbox: str, address: str) -> list[dict[str, Any]]:
    """What the mailbox has for one address."""
    mails = httpx.get(f"{mailbox}/api/mails").raise_for_status().json()["mails"]
    return [mail for mail in mails if address in mail["to"]]


def test_a_report_is_mailed(world: World) -> None:
    """One job ends with one mail in the mailbox, with the typeset report attached."""
    assert world.desk.mailbox is not None
    mailbox, address = world.desk.mailbox.url, f"{uuid4().hex}@example.com"
    job = GenerateReport(
        report_type="analytics",
        date_range={"from": datetime(2026, 3, 1, tzinfo=UTC), "to": datetime(2026, 4, 1, tzinfo=UTC)},  # type: ignore[arg-type]
        recipients=[address],
        format="pdf",
    )

    row = world.wait(enqueue(job), "completed", "failed")
    until(lambda: mails_to(mailbox, address))

    assert (row["status"], row["result"]["sent"]) == ("completed", "attached")
    (listed,) = mails_to(mailbox, address)
    mail = httpx.get(f"{mailbox}/api/mails/{listed['id']}").json()
    (attached,) = mail["attachments"]
    assert (attached["filename"], attached["size"]) == ("analytics-2026-03-01.pdf", row["result"]["bytes"])
    content = httpx.get(mailbox + attached["path"]).content
    pages = PdfReader(io.BytesIO(content)).pages
    assert "Analytics" in pages[0].extract_text()
    assert "1 to 31 March 2026" in pages[0].extract_text()
