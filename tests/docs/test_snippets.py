"""What the pages show does what they say."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from functions.probe.handler import probe
from qstash_jobs.database import Database
from qstash_jobs.executions import outbox
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.serving import serve
from qstash_jobs.settings import settings
from qstash_jobs.testing import Context, signed_event
from tests.conftest import ROOT
from tests.docs.conftest import Load
from tests.docs.pages import PAGES, name, snippets

with_python = [page for page in PAGES if any(not part.not_run for part in snippets(page, "python"))]
with_sql = [page for page in PAGES if snippets(page, "sql")]


@pytest.mark.parametrize("page", with_python, ids=name)
def test_python_runs(page: Path, load: Load, app_database_url: str, database: Database) -> None:
    """The Python of a page is one module, and the tests that it defines pass."""
    parts = [part for part in snippets(page, "python") if part.not_run is None]
    module = load(f"page_{page.stem.replace('-', '_').lower()}", parts)
    for defined in [value for key, value in vars(module).items() if key.startswith("test_")]:
        defined()


def test_there_is_python_to_run() -> None:
    """The extractor finds what the pages show."""
    assert {"docs/add-a-job-type.md", "docs/test-your-jobs.md"} <= {name(page) for page in with_python}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_not_run_says_why(page: Path) -> None:
    """Each Python snippet that is left out has a reason, and names the test that runs it, if one does."""
    for part in snippets(page, "python"):
        if part.not_run is not None:
            assert re.fullmatch(r"not run: .{10,}|not run here: (tests/\S+\.py) .+", part.not_run)
        if part.not_run is not None and part.not_run.startswith("not run here"):
            assert (ROOT / part.not_run.split()[3]).is_file()


@pytest.mark.parametrize("page", with_sql, ids=name)
def test_sql_runs(page: Path, database: Database) -> None:
    """Postgres takes each statement of a page."""
    with database.engine.begin() as connection:
        for part in snippets(page, "sql"):
            connection.execute(text(part.code.replace(":", "\\:")))


def test_a_row_inserted_by_hand_is_published_by_the_relay(database: Database) -> None:
    """The statement for publishers with the database at hand makes a job that waits for its message."""
    (insert,) = snippets(ROOT / "docs/publish-from-another-language.md", "sql")
    with database.engine.begin() as connection:
        connection.execute(text(insert.code))
    due = outbox.due(database.run_pooled, timedelta(days=7), timedelta(0), 10)
    assert [(one.job_type, one.attempts_left) for one in due] == [("probe", 3)]


def test_a_message_from_another_language_is_a_job(database: Database) -> None:
    """The message that the page shows is delivered, runs, and is recorded as the page says."""
    message, *_ = snippets(ROOT / "docs/publish-from-another-language.md", "json")
    event = signed_event(message.code.encode(), url=settings().url("probe"))
    answer = serve(Probe, probe)(event, Context(timedelta(seconds=10)))
    assert (answer["statusCode"], json.loads(answer["body"])["outcome"]) == (200, "completed")
    rows = database.run_pooled("SELECT job_id::text, user_id, idempotency_key FROM job_executions")
    assert [json.loads(message.code)["jobId"], 1, "order-7"] == list(rows[0])
