"""An export on the running desk: from `enqueue` to the file that the mail's link downloads."""

from __future__ import annotations

import csv
import io

import httpx

from qstash_jobs import enqueue
from qstash_jobs.jobs.export_data import ExportData
from tests.e2e.conftest import World
from tests.e2e.test_mails import mails_to
from tests.waiting import until


def test_an_export_arrives(world: World) -> None:
    """The job completes, one mail comes, and its link downloads the rows."""
    world.run("INSERT INTO users (email, name) VALUES ('grace@e2e.example', '=Grace') ON CONFLICT DO NOTHING")
    address = "exports@e2e.example"

    job_id = enqueue(ExportData(export_type="users", format="csv", notify_email=address))

    row = world.wait(job_id, "completed")
    until(lambda: mails_to(world, address))
    [mail] = mails_to(world, address)
    assert world.desk.mailbox is not None
    text = httpx.get(f"{world.desk.mailbox.url}/api/mails/{mail['id']}").json()["text"]
    link = next(line for line in text.splitlines() if "/download/" in line)
    file = httpx.get(link, follow_redirects=True)
    assert file.headers["content-disposition"].startswith('attachment; filename="users-')
    lines = list(csv.DictReader(io.StringIO(file.text, newline="")))
    assert len(lines) == row["result"]["rows"]
    assert [line["name"] for line in lines if line["email"] == "grace@e2e.example"] == ["'=Grace"]
