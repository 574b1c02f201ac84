"""Exports of a million rows of ten columns, from Postgres to S3, each in a process of its own as in Lambda.

The floor is psql's `\\copy` of the same query to a file: what Postgres takes to write the rows, and no network.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import create_engine, text

from infra.local.desk import Desk
from infra.local.postgres import packaged_binaries
from infra.local.service import ROOT
from tests.benchmarks.measure import Result, at_most, compare_reported

ROWS = 1_000_000
SHEET_ROWS = 100_000
ROUNDS = 5

COLUMNS = "id, email, name, status, locale, time_zone, marketing_consent, email_verified_at, created_at, updated_at"
QUERY = f"SELECT {COLUMNS} FROM users"
FLOORS = {
    "csv": f"({QUERY}) TO '{{file}}' WITH (FORMAT csv, HEADER)",
    "ndjson": f"(SELECT row_to_json(t) FROM ({QUERY}) AS t) TO '{{file}}' WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')",
}


def exports(desk: Desk) -> Iterator[Result]:
    """Time against the floor for text, processor time for a spreadsheet, and memory for each."""
    _fill(desk.environment["DATABASE_URL"])
    peaks: list[float] = []
    for form, floor in FLOORS.items():
        yield compare_reported(
            f"export: {ROWS:,} rows, {form}",
            lambda form=form: _export(form, {}, peaks)["ms"],  # type: ignore[misc]
            _psql(desk.environment["DATABASE_URL"], floor),
            at_most=3,
            rounds=ROUNDS,
        )
    until = "2025-01-01T00:00:00Z"
    spent = sorted(_export("xlsx", {"until": until}, peaks)["cpu_ms"] for _ in range(3))[1]
    yield at_most(f"export: {SHEET_ROWS:,} rows, xlsx: processor", spent / 1000, 2, "s")
    _export("xlsx", {}, peaks)
    yield at_most("export: memory at its peak", max(peaks), 200, "MB")


def _fill(url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE users CASCADE"))
        connection.execute(
            text("""
            INSERT INTO users (email, name, created_at)
            SELECT 'user' || i || '@example.example', 'Ada Ünal the ' || i || 'th',
                timestamptz '2025-01-01 00:00Z' + (i - :before) * interval '1 second' FROM generate_series(0, :rows) AS i"""),
            {"before": SHEET_ROWS, "rows": ROWS - 1},
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE users"))
    engine.dispose()


def _psql(url: str, copy: str) -> Callable[[], float]:
    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            command = "\\copy " + copy.format(file=Path(folder) / "rows")
            began = time.perf_counter()
            subprocess.run([packaged_binaries(18) / "psql", url, "-qc", command], check=True)
            return (time.perf_counter() - began) * 1000

    return run


def _export(form: str, filters: dict[str, str], peaks: list[float]) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.exports", form, json.dumps(filters)]
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE)
    spent: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    peaks.append(spent["peak_mb"])
    return spent


def main() -> None:
    """One export in this process, and what it took. Libraries and the first connection count for nobody."""
    from functions.export_data.handler import export
    from qstash_jobs.bucket import bucket
    from qstash_jobs.database import database
    from qstash_jobs.jobs.export_data import ExportData
    from qstash_jobs.testing import run_inline

    form, filters = sys.argv[1], json.loads(sys.argv[2])
    job = ExportData(export_type="users", format=form, filters=filters, notify_email="ada@example.com")  # type: ignore[arg-type]
    nothing = ExportData(
        export_type="users", format=form, filters={"until": "1970-01-01"}, notify_email="a@example.com"
    )  # type: ignore[arg-type]
    run_inline(export, nothing)
    began, spent = time.perf_counter(), time.process_time()
    run_inline(export, job)
    took = {
        "ms": (time.perf_counter() - began) * 1000,
        "cpu_ms": (time.process_time() - spent) * 1000,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    database().close()
    bucket().client.close()
    print(json.dumps(took))


if __name__ == "__main__":
    main()
