"""Exports: every row once, in each format, whatever dies on the way; one file and one mail."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import openpyxl
import pytest
from sqlalchemy import Engine

import saas.files
from functions.download.handler import handler as download
from functions.export_data import handler as exporting
from functions.export_data import pages, spreadsheet, textfile
from qstash_jobs.bucket import EXPORTS, Bucket
from qstash_jobs.dispatch import cancel
from qstash_jobs.drivers import Copied
from qstash_jobs.jobs.export_data import ExportData
from qstash_jobs.serving import serve
from qstash_jobs.testing import create_test_job, function_url_event, run_inline, time_out_after
from tests.integration.jobs.conftest import Worker

FORMATS = ["csv", "json", "ndjson", "xlsx"]


@pytest.fixture
def worker(engine: Engine, bucket: Bucket) -> Worker:
    return Worker(serve(ExportData, exporting.export), engine)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of three rows, so that a few rows are many pages."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 3)


def ask(export_type: str = "users", form: str = "csv", **fields: Any) -> ExportData:
    return ExportData.model_validate(
        {"exportType": export_type, "format": form, "notifyEmail": "ada@example.com", **fields}
    )


def people(worker: Worker, number: int, **values: str) -> None:
    """Users, two of them at a time made at the same moment."""
    columns = {
        "email": "'u' || i || '@example.com'",
        "name": "'User ' || i",
        "created_at": "timestamptz '2026-01-01 00:00Z' + i / 2 * interval '1 minute'",
        **values,
    }
    worker.ask(
        f"INSERT INTO users ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"FROM generate_series(1, {number}) AS i"
    )


def read(form: str, content: bytes) -> list[dict[str, Any]]:
    """The rows of a file, with every value as text, as a reader of that format finds them."""
    match form:
        case "csv":
            rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        case "json":
            rows = json.loads(content)
        case "ndjson":
            rows = [json.loads(line) for line in content.splitlines()]
        case _:
            rows = []
            for sheet in openpyxl.load_workbook(io.BytesIO(content)):
                header, *lines = sheet.iter_rows(values_only=True)
                rows += [dict(zip(header, line, strict=True)) for line in lines if any(line)]
    return rows


def exported(bucket: Bucket, row: dict[str, Any], form: str = "csv") -> list[dict[str, Any]]:
    assert row["status"] == "completed", row["error"]
    return read(form, bucket.read(row["result"]["key"]))


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("form", FORMATS)
def test_every_row_is_exported_once(worker: Worker, bucket: Bucket, form: str) -> None:
    """Page after page, in the order in which the rows were made, also where two were made at the same moment."""
    people(worker, 11)

    row = worker.run(ask(form=form))

    assert [one["email"] for one in exported(bucket, row, form)] == [f"u{i}@example.com" for i in range(1, 12)]
    assert (row["result"]["rows"], row["result"]["bytes"]) == (11, bucket.look(row["result"]["key"]).size)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dataset", ["users", "organizations", "activity-logs", "invoices"])
def test_each_data_set_is_the_same_in_each_format(worker: Worker, bucket: Bucket, dataset: str, form: str) -> None:
    """Names, numbers and times are those of the database, as the database itself tells them."""
    people(worker, 2)
    worker.ask("""
        INSERT INTO organizations (name, slug, country, created_at) VALUES ('Bücher & Co', 'buecher', 'DE', '2026-01-01Z');
        INSERT INTO activity_logs (organization_id, user_id, action, target_id, ip_address, details, created_at)
            SELECT 1, 1, 'document.viewed', 7, '2001:db8::1', '{"title": "A \\"b\\"\\n, c"}', '2026-01-02 03:04:05.678901Z';
        INSERT INTO invoices (organization_id, stripe_invoice_id, stripe_customer_id, number, status, amount_due, currency,
            issued_at, last_event_at) VALUES (1, 'in_1', 'cus_1', 'A-1', 'paid', 2900, 'eur', '2026-01-03Z', '2026-01-03Z')
    """)
    table = dataset.replace("-", "_")
    told = worker.ask(f"SELECT to_jsonb(t) FROM {table} AS t ORDER BY id")
    named = {"exportType": "custom", "name": dataset} if dataset == "invoices" else {"exportType": dataset}

    rows = exported(bucket, worker.run(ask(form=form, **named)), form)

    assert len(rows) == len(told)
    for got, (expected,) in zip(rows, told, strict=True):
        for name, value in got.items():
            assert same(value, expected[name.removesuffix("_minor")]), name


def same(value: Any, expected: Any) -> bool:
    """Whether a cell says what the database says, in whichever way its format can."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC, microsecond=0) == datetime.fromisoformat(expected).replace(microsecond=0)
    if value in (None, "") or expected is None:
        return value in (None, "") and expected in (None, "")
    if isinstance(expected, str) and expected[:4].isdigit() and "T" in expected:
        return datetime.fromisoformat(value) == datetime.fromisoformat(expected)
    if isinstance(expected, dict):
        return (json.loads(value) if isinstance(value, str) else value) == expected
    if isinstance(value, float):  # as spreadsheets count
        return value == expected
    return str(value).lower() == str(expected).lower()


@pytest.mark.parametrize(
    ("filters", "emails"),
    [
        ({"since": "2026-01-01T00:01:00Z"}, [2, 3, 4]),
        ({"until": "2026-01-01T00:01:00Z"}, [1]),
        ({"since": "2026-01-01T01:01:00+01:00", "until": "2026-01-01T00:02:00Z"}, [2, 3]),
        ({"organizationId": 1}, [2, 4]),
        ({"organizationId": 1, "status": "suspended"}, [4]),
        ({"status": "suspended"}, [3, 4]),
        ({"organizationId": 99}, []),
    ],
)
def test_filters_narrow_an_export(worker: Worker, bucket: Bucket, filters: dict[str, Any], emails: list[int]) -> None:
    """`since` belongs to it and `until` does not; several filters hold together."""
    people(worker, 4, status="CASE WHEN i > 2 THEN 'suspended' ELSE 'active' END")
    worker.ask("INSERT INTO organizations (name, slug) VALUES ('A', 'a')")
    worker.ask("INSERT INTO organization_members (organization_id, user_id) VALUES (1, 2), (1, 4)")

    rows = exported(bucket, worker.run(ask(filters=filters)))

    assert [one["email"] for one in rows] == [f"u{i}@example.com" for i in emails]


def test_activity_is_narrowed_by_who_did_what(worker: Worker, bucket: Bucket) -> None:
    """Organization, user and action are filters of the activity logs."""
    people(worker, 2)
    worker.ask("""
        INSERT INTO organizations (name, slug) VALUES ('A', 'a');
        INSERT INTO activity_logs (organization_id, user_id, action)
            VALUES (1, 1, 'document.viewed'), (1, 2, 'document.viewed'), (NULL, 1, 'document.viewed'), (1, 1, 'user.invited')
    """)
    filters = {"organizationId": 1, "userId": 1, "action": "document.viewed"}

    rows = exported(bucket, worker.run(ask("activity-logs", filters=filters)))

    assert [one["id"] for one in rows] == ["1"]


DANGEROUS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "＋1", "－1", "＠x"]


def test_no_cell_of_a_csv_is_a_formula(worker: Worker, bucket: Bucket) -> None:
    """What a spreadsheet would run is made text by a quote before it; nothing else is touched."""
    for number, name in enumerate([*DANGEROUS, "a=1", "'=1", "", "Ada"]):
        worker.ask("INSERT INTO users (email, name) VALUES (:email, :name)", email=f"u{number}@example.com", name=name)

    rows = exported(bucket, worker.run(ask()))

    assert [one["name"] for one in rows] == [*(f"'{name}" for name in DANGEROUS), "a=1", "'=1", "", "Ada"]


def test_no_cell_of_a_spreadsheet_is_a_formula(worker: Worker, bucket: Bucket) -> None:
    """There each cell says that it is text, and the text is as it was."""
    worker.ask("INSERT INTO users (email, name) VALUES ('a@example.com', :name)", name='=HYPERLINK("http://x")')

    row = worker.run(ask(form="xlsx"))

    cell = openpyxl.load_workbook(io.BytesIO(bucket.read(row["result"]["key"]))).active["C2"]
    assert (cell.value, cell.data_type) == ('=HYPERLINK("http://x")', "s")


def test_a_spreadsheet_has_typed_cells_and_a_header_that_stays(worker: Worker, bucket: Bucket) -> None:
    """Numbers count, times are times, what Excel cannot hold exactly stays text, and the header is in view."""
    people(worker, 1, marketing_consent="true", email_verified_at="'1066-10-14Z'", name="repeat('x', 40000)")
    worker.ask(f"UPDATE users SET id = {2**60}, updated_at = 'infinity'")

    row = worker.run(ask(form="xlsx"))

    sheet = openpyxl.load_workbook(io.BytesIO(bucket.read(row["result"]["key"])))["users"]
    header, line = list(sheet.iter_rows(values_only=True))
    cells = dict(zip(header, line, strict=True))
    assert cells["id"] == str(2**60)
    assert cells["marketing_consent"] is True
    assert cells["created_at"] == datetime(2026, 1, 1)  # Excel knows no zones
    assert cells["email_verified_at"] == "1066-10-14 00:00:00+00"
    assert cells["updated_at"] == "infinity"
    assert len(cells["name"]) == 32_767
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:J2"


@pytest.mark.usefixtures("small_pages")
def test_a_full_sheet_goes_on_in_another(worker: Worker, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has the header, and no row is lost at the edge."""
    monkeypatch.setattr(spreadsheet, "SHEET_ROWS", 4)
    people(worker, 10)

    row = worker.run(ask(form="xlsx"))

    book = openpyxl.load_workbook(io.BytesIO(bucket.read(row["result"]["key"])))
    assert [(sheet.title, sheet.max_row - 1) for sheet in book] == [("users", 4), ("users 2", 4), ("users 3", 2)]
    assert [one["email"] for one in exported(bucket, row, "xlsx")] == [f"u{i}@example.com" for i in range(1, 11)]


def test_a_spreadsheet_that_nobody_could_open_is_refused(
    worker: Worker, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it begins, with the limit and what to do instead."""
    monkeypatch.setattr(spreadsheet, "ROWS_LIMIT", 2)
    people(worker, 3)

    row = worker.run(ask(form="xlsx"))

    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert "at most 2 rows, and these are 3: narrow the filters, or ask for csv" in row["error"]
    assert list(bucket.pages("")) == [[]]


@pytest.mark.parametrize(("form", "content"), [("csv", None), ("json", b"[]\n"), ("ndjson", b""), ("xlsx", None)])
def test_an_export_of_nothing_is_a_file(worker: Worker, bucket: Bucket, form: str, content: bytes | None) -> None:
    """With a header where there is one, and valid to whoever reads it."""
    row = worker.run(ask(form=form))

    assert exported(bucket, row, form) == []
    if content is not None:
        assert bucket.read(row["result"]["key"]) == content
    elif form == "csv":
        assert bucket.read(row["result"]["key"]).startswith(b"id,email,name,")


def test_rows_that_come_while_it_runs_are_left_out(
    worker: Worker, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, small_pages: None
) -> None:
    """An export is of what there was when it began, or it might never end."""
    people(worker, 7)
    copy = pages.Query.copy_page

    def meanwhile(self: pages.Query, *arguments: Any, **options: Any) -> Any:
        worker.ask("INSERT INTO users (email, name) VALUES (gen_random_uuid() || '@example.com', 'late')")
        return copy(self, *arguments, **options)

    monkeypatch.setattr(pages.Query, "copy_page", meanwhile)

    assert worker.run(ask())["result"]["rows"] == 7


def test_a_link_to_the_file_is_mailed(worker: Worker, bucket: Bucket) -> None:
    """Once, with the completion; it leads to the file, under a name that says what it is."""
    people(worker, 2)

    row = worker.run(ask())

    [mail] = worker.jobs("send-email")
    assert (mail["template"], mail["to"]) == ("exportReady", "ada@example.com")
    assert (mail["data"]["datasetName"], mail["data"]["rows"], mail["data"]["format"]) == ("users", 2, "CSV")
    event = function_url_event(mail["data"]["downloadUrl"], b"", {}, "GET")
    opened = download(event, time_out_after(timedelta(seconds=30)))
    assert opened["statusCode"] == 302
    assert row["result"]["key"] in opened["headers"]["Location"]
    head = bucket.client.head_object(Bucket=bucket.name, Key=row["result"]["key"])
    assert head["ContentDisposition"].startswith('attachment; filename="users-20')
    assert head["ContentType"] == "text/csv; charset=utf-8"


def test_the_app_is_told_of_the_file(worker: Worker, bucket: Bucket) -> None:
    """In `files`, with whose it is, its size, and when it ends."""
    people(worker, 1)
    worker.ask("INSERT INTO organizations (name, slug) VALUES ('A', 'a')")

    row = worker.run(ask(), user_id=1, organization_id=1)

    [(file,)] = worker.ask("SELECT to_jsonb(f) FROM files AS f")
    assert (file["s3_key"], file["kind"], file["bytes"]) == (row["result"]["key"], "export", row["result"]["bytes"])
    assert (file["user_id"], file["organization_id"], file["job_id"]) == (1, 1, row["job_id"])
    assert datetime.fromisoformat(file["expires_at"]) > datetime.now(UTC) + timedelta(days=29)


def test_an_export_for_somebody_who_is_gone_is_nobody_s(worker: Worker, bucket: Bucket) -> None:
    """Whoever asked may have been deleted since: no reason to fail."""
    row = worker.run(ask(), user_id=404, organization_id=404)

    assert row["status"] == "completed"
    assert worker.ask("SELECT user_id, organization_id FROM files") == [(None, None)]


def test_a_page_is_found_by_its_index(worker: Worker, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows there are beside it: an export of millions would read them all for each page otherwise."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 1_000)
    people(worker, 30_000)
    worker.ask("ANALYZE users")
    asked: list[str] = []
    copy = pages.copy_out

    def noting(connection: Any, query: str, *rest: Any) -> Copied:
        asked.append(query)
        return copy(connection, query, *rest)

    monkeypatch.setattr(pages, "copy_out", noting)
    worker.run(ask())

    plan = "\n".join(row[0] for row in worker.ask(f"EXPLAIN {asked[15]}".replace(":", "\\:")))
    assert len(asked) == 31
    assert "Index Scan using users_created" in plan
    assert "Sort" not in plan, "the index has them in order"


@pytest.fixture
def plenty(worker: Worker) -> list[str]:
    """Rows that make parts: 40,000 of half a kilobyte, and their addresses in order."""
    people(worker, 40_000, name="repeat('n', 500)")
    return [f"u{i}@example.com" for i in range(1, 40_001)]


@pytest.fixture
def one_page_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time for one page in each attempt."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 15_000)
    monkeypatch.setattr(textfile, "SPARE", timedelta(hours=1))


@pytest.mark.usefixtures("one_page_an_attempt")
@pytest.mark.parametrize("form", ["csv", "json", "ndjson"])
def test_an_export_goes_on_where_its_time_ran_out(worker: Worker, bucket: Bucket, plenty: list[str], form: str) -> None:
    """In further attempts, which spend no budget; the file is the same as if there had been time enough."""
    row = worker.run(ask(form=form))

    assert [one["email"] for one in exported(bucket, row, form)] == plenty
    assert (row["attempts"], row["publication"], row["result"]["rows"]) == (3, 3, 40_000)
    assert len(worker.jobs("send-email")) == 1


class Killed(BaseException):
    """The process ends without a word."""


@pytest.fixture
def die_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the next call of a function kill the attempt, before or after it has done its work."""

    def arrange(owner: object, name: str, *, after: bool = False) -> None:
        original = getattr(owner, name)

        def dying(*arguments: Any, **options: Any) -> Any:
            monkeypatch.setattr(owner, name, original)
            if after:
                original(*arguments, **options)
            raise Killed

        monkeypatch.setattr(owner, name, dying)

    return arrange


STEPS: list[tuple[object, str, bool]] = [
    (Bucket, "begin", False),
    (Bucket, "begin", True),
    (pages.Query, "copy_page", True),
    (Bucket, "put_part", True),
    (Bucket, "complete", False),
    (Bucket, "complete", True),
    (saas.files, "note_file", False),
    (saas.files, "note_file", True),
    (exporting, "link_to", True),
]


@pytest.mark.parametrize(("owner", "name", "after"), STEPS)
def test_whatever_step_an_attempt_dies_at_there_is_one_file_and_one_mail(
    worker: Worker, bucket: Bucket, die_in: Callable[..., None], owner: object, name: str, after: bool
) -> None:
    """The next attempt overwrites what the dead one left."""
    people(worker, 5)
    job = ask()
    job_id = create_test_job(job)
    die_in(owner, name, after=after)
    assert killed(worker, job, job_id)

    assert worker.deliver(job, job_id).outcome == "completed"

    row = worker.row(job_id)
    assert [one["email"] for one in exported(bucket, row)] == [f"u{i}@example.com" for i in range(1, 6)]
    assert [one.key for page in bucket.pages(EXPORTS) for one in page] == [row["result"]["key"]]
    assert len(worker.ask("SELECT 1 FROM files")) == 1
    assert len(worker.jobs("send-email")) == 1


@pytest.mark.usefixtures("one_page_an_attempt")
@pytest.mark.parametrize(("name", "after"), [("put_part", True), ("complete", False), ("complete", True)])
def test_an_export_that_was_gone_on_with_survives_death_too(
    worker: Worker, bucket: Bucket, plenty: list[str], die_in: Callable[..., None], name: str, after: bool
) -> None:
    """The next attempt goes on from what was settled, or begins anew when its upload is gone."""
    job = ask()
    job_id = create_test_job(job)
    assert worker.deliver(job, job_id).outcome == "continued"
    die_in(Bucket, name, after=after)
    while not killed(worker, job, job_id):
        pass

    while worker.deliver(job, job_id).outcome == "continued":
        pass

    assert [one["email"] for one in exported(bucket, worker.row(job_id))] == plenty
    assert len(worker.jobs("send-email")) == 1


def killed(worker: Worker, job: ExportData, job_id: UUID) -> bool:
    """Deliver; whether the attempt was killed. Then its lease has run out, as after a crash."""
    answer = worker.deliver(job, job_id)
    if answer.outcome == "continued":
        return False
    assert worker.row(job_id)["error_type"] == "Killed"
    return True


def test_a_cancelled_export_stops_and_leaves_no_file(
    worker: Worker, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, small_pages: None
) -> None:
    """At its next report of progress; nobody gets a mail."""
    people(worker, 7)
    job = ask()
    job_id = create_test_job(job)
    copy = pages.Query.copy_page

    def cancelled(self: pages.Query, *arguments: Any, **options: Any) -> Any:
        cancel(job_id)
        return copy(self, *arguments, **options)

    monkeypatch.setattr(pages.Query, "copy_page", cancelled)

    assert worker.deliver(job, job_id).outcome == "cancelled"

    assert list(bucket.pages("")) == [[]]
    assert worker.jobs("send-email") == []


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("form", FORMATS)
def test_progress_says_how_many_rows_are_written(worker: Worker, bucket: Bucket, form: str) -> None:
    """Of how many, after each page, and never less than before."""
    people(worker, 8)
    seen: list[tuple[float, str | None]] = []

    run_inline(exporting.export, ask(form=form), progress=lambda fraction, message: seen.append((fraction, message)))

    assert seen[0][1] == "3 of 8 rows"
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
