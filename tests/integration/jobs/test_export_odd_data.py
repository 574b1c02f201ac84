"""Exports of what is odd and possible: times that Python does not know, huge cells, databases with settings of their own."""

from __future__ import annotations

import tracemalloc
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from functions.export_data import handler as exporting
from functions.export_data import pages
from qstash_jobs.bucket import Bucket
from qstash_jobs.database import copy_out
from qstash_jobs.jobs.export_data import ExportData
from qstash_jobs.serving import serve
from tests.conftest import forget
from tests.integration.jobs.conftest import Worker
from tests.integration.jobs.test_exports import FORMATS, ask, exported, people


@pytest.fixture(params=["pg8000", "psycopg"])
def worker(
    request: pytest.FixtureRequest,
    engine: Engine,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    saas_database_url: str,
) -> Worker:
    """With either driver."""
    environment.setenv("DATABASE_URL", saas_database_url.replace("postgresql://", f"postgresql+{request.param}://"))
    forget()
    return Worker(serve(ExportData, exporting.export), engine)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of three rows, so that a few rows are many pages."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 3)


def set_database(worker: Worker, setting: str) -> None:
    """As an administrator sets it for all sessions to come."""
    [(name,)] = worker.ask("SELECT current_database()")
    worker.ask(f'ALTER DATABASE "{name}" SET {setting}')
    forget()


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(
    "made", ["-infinity", "0044-03-15 00:00Z BC", "0001-01-01 00:00Z", "2026-01-01 00:00:00.000001Z"]
)
@pytest.mark.parametrize("form", FORMATS)
def test_a_page_may_end_at_any_time_that_postgres_knows(worker: Worker, bucket: Bucket, form: str, made: str) -> None:
    """Also before the year 1, of which Python knows nothing."""
    people(worker, 7, created_at=f"timestamptz '{made}'")

    rows = exported(bucket, worker.run(ask(form=form)), form)

    assert [one["email"] for one in rows] == [f"u{i}@example.com" for i in range(1, 8)]


@pytest.mark.parametrize("form", FORMATS)
def test_a_cell_may_be_huge(worker: Worker, bucket: Bucket, form: str) -> None:
    """Whole in a text file; a spreadsheet has as much of it as a cell can hold."""
    people(worker, 1, name="repeat('x', 1000000)")

    [row] = exported(bucket, worker.run(ask(form=form)), form)

    assert len(row["name"]) == (32_767 if form == "xlsx" else 1_000_000)


def test_a_spreadsheet_s_page_of_large_cells_is_not_held_in_memory(worker: Worker, bucket: Bucket) -> None:
    """Which a function has less of than a page of 100,000 rows may have text."""
    people(worker, 1_500, name="repeat('x', 100000)")
    worker.run(ask(form="xlsx", filters={"status": "suspended"}))  # what is loaded once
    tracemalloc.start()

    row = worker.run(ask(form="xlsx"))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert row["result"]["rows"] == 1_500
    assert peak < 100 * 2**20


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_is_utf_8_whatever_the_database_s_clients_are(worker: Worker, bucket: Bucket, form: str) -> None:
    """Its content type says so."""
    set_database(worker, "client_encoding = 'LATIN1'")
    people(worker, 1, name=r"U&'\00fc \20ac'")

    [row] = exported(bucket, worker.run(ask(form=form)), form)

    assert row["name"] == "ü €"


@pytest.mark.parametrize("form", FORMATS)
def test_times_are_written_in_one_way_wherever_the_database_stands(worker: Worker, bucket: Bucket, form: str) -> None:
    """ISO 8601, in UTC."""
    set_database(worker, "timezone = 'America/New_York'")
    set_database(worker, "DateStyle = 'SQL, DMY'")
    people(worker, 1, created_at="timestamptz '2026-02-01 03:04:05Z'")

    [row] = exported(bucket, worker.run(ask(form=form)), form)

    made: Any = row["created_at"]
    made = made if isinstance(made, datetime) else datetime.fromisoformat(made)
    assert made.replace(tzinfo=None) == datetime(2026, 2, 1, 3, 4, 5)
    assert made.utcoffset() in (None, datetime.fromisoformat("2026-01-01T00:00Z").utcoffset())


@pytest.mark.usefixtures("small_pages")
def test_the_header_comes_once_also_when_a_page_s_rows_were_deleted(
    worker: Worker, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for its end and the copying of its rows."""
    people(worker, 5)

    def meanwhile(*arguments: Any) -> int:
        worker.ask("DELETE FROM users WHERE id <= 3")
        return copy_out(*arguments)

    monkeypatch.setattr(pages, "copy_out", meanwhile)

    assert [one["id"] for one in exported(bucket, worker.run(ask()))] == ["4", "5"]
