"""`cleanup-old-data` on five million rows: how fast they go, and what a query feels of it that asks the same table meanwhile.

`python -m tests.benchmarks.cleanup DSN` asks over and over, in a process of its own, and for each line that it reads prints
how many milliseconds each question took since the line before.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import psycopg

from infra.local.desk import Desk
from infra.local.service import ROOT
from tests.benchmarks.measure import Result, at_least, at_most

OLD = 5_000_000
RECENT = 500_000
ORGANIZATIONS = 1_000
IDLE_SECONDS = 60
PAUSE_SECONDS = 0.002
"""Between two questions: an app that has other things to do, and no load test."""

QUESTION = """
    SELECT id, action, details FROM activity_logs
    WHERE organization_id = %s AND created_at >= now() - interval '30 days' ORDER BY created_at DESC, id DESC LIMIT 20"""

INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'activity_logs' AND indexname !~ 'pkey'"

FILL = f"""
    INSERT INTO organizations (name, slug) SELECT 'Organization ' || n, 'o-' || n FROM generate_series(1, {ORGANIZATIONS}) n;
    INSERT INTO activity_logs (organization_id, action, target_type, target_id, ip_address, details, created_at)
    SELECT (SELECT min(id) FROM organizations WHERE slug = 'o-1') + n % {ORGANIZATIONS}, 'document.viewed', 'document', n,
        '203.0.113.7', jsonb_build_object('title', 'Document ' || n),
        CASE WHEN n <= {OLD} THEN now() - interval '500 days' + n * (interval '400 days' / {OLD})
            ELSE now() - (n - {OLD}) * (interval '25 days' / {RECENT}) END
    FROM generate_series(1, {OLD + RECENT}) AS n"""


def deletions(desk: Desk) -> Iterator[Result]:
    """Through the handler, with the real statements, as the schedule does it."""
    from functions.cleanup_old_data.handler import clean_up
    from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
    from qstash_jobs.serving import serve
    from qstash_jobs.testing import Context, create_test_job, signed_event

    dsn = desk.environment["DATABASE_URL"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        _fill(connection)
        handler = serve(CleanupOldData, clean_up)
        job = CleanupOldData(cleanup_type="logs", days_old=90)
        job_id = create_test_job(job)
        with contextlib.closing(Asker(dsn)) as asker:
            asker.since_last()
            time.sleep(IDLE_SECONDS)
            idle = asker.since_last()
            began, attempts = time.perf_counter(), itertools.count(1)
            while True:
                event = signed_event(job, job_id=job_id, by_reference=True, publication=next(attempts))
                outcome = json.loads(handler(event, Context(timedelta(seconds=600)))["body"])["outcome"]
                if outcome != "continued":
                    break
            seconds = time.perf_counter() - began
            busy = asker.since_last()
        row = connection.execute("SELECT result FROM job_executions WHERE job_id = %s", [job_id]).fetchone()
        left = connection.execute("SELECT count(*) FROM activity_logs").fetchone()
    assert row is not None
    assert (outcome, row[0]["counts"]["activity_logs"], left) == ("completed", OLD, (RECENT,))
    ratio = _p99(busy) / _p99(idle)
    yield Result(
        name=f"cleanup: p99 of a query amid {OLD:,} deletions",
        unit="ms",
        value=round(_p99(busy), 2),
        floor=round(_p99(idle), 2),
        ratio=round(ratio, 2),
        target="≤ 5 ×",
        ok=ratio <= 5,
    )
    yield at_most("cleanup: the slowest of them", max(busy), 1_000, "ms")
    yield at_least("cleanup: rows", OLD / seconds, 5_000)


def _fill(connection: psycopg.Connection) -> None:
    indexes = connection.execute(INDEXES).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}".encode())
    connection.execute(FILL.encode())
    for _, definition in indexes:
        connection.execute(str(definition).encode())
    connection.execute("VACUUM ANALYZE activity_logs")
    connection.execute("CHECKPOINT")


def _p99(milliseconds: list[float]) -> float:
    return sorted(milliseconds)[int(len(milliseconds) * 0.99)]


class Asker:
    """The process that asks."""

    def __init__(self, dsn: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.cleanup", dsn]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def since_last(self) -> list[float]:
        """What each question took, in ms."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("so far\n")
        self._process.stdin.flush()
        found: list[float] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate()


def ask(dsn: str) -> None:
    """Until the input ends."""
    took: list[float] = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        first = connection.execute("SELECT min(id) FROM organizations WHERE slug = 'o-1'").fetchone()
        assert first is not None
        for turn in itertools.count():
            began = time.perf_counter()
            found = connection.execute(QUESTION, [first[0] + turn * 7 % ORGANIZATIONS]).fetchall()
            took.append((time.perf_counter() - began) * 1_000)
            assert len(found) == 20
            if select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
                if not os.read(sys.stdin.fileno(), 100):
                    return
                print(json.dumps(took), flush=True)
                took.clear()


if __name__ == "__main__":
    ask(*sys.argv[1:])
