"""What the tests of `cleanup-old-data` clean up, and how they kill it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from functions.cleanup_old_data import cleanups
from functions.cleanup_old_data.cleanups import CLEANUPS
from functions.cleanup_old_data.handler import clean_up
from functions.cleanup_old_data.rows import Rows
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.serving import serve
from tests.conftest import ROOT
from tests.integration.jobs.conftest import Worker

OLD_SESSIONS = CleanupOldData(cleanup_type="old-sessions", days_old=30)
TEMP_FILES = CleanupOldData(cleanup_type="temp-files", days_old=7)
LOGS = CleanupOldData(cleanup_type="logs", days_old=90)


def cleaner(engine: Engine) -> Worker:
    """The function, on a database with an organization and a user."""
    worker = Worker(serve(CleanupOldData, clean_up), engine)
    worker.ask("INSERT INTO users (email, name) VALUES ('ada@example.com', 'Ada')")
    worker.ask("INSERT INTO organizations (name, slug) VALUES ('Acme', 'acme')")
    return worker


def add_sessions(worker: Worker, count: int, days: int) -> None:
    """Sessions that ended so many days ago."""
    worker.ask(f"""
        INSERT INTO sessions (user_id, token_hash, expires_at)
        SELECT 1, uuid_send(gen_random_uuid()), now() - interval '{days} days' FROM generate_series(1, {count})""")


def in_chunks_of(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few rows be many."""
    for name, targets in CLEANUPS.items():
        small = tuple(dataclasses.replace(one, chunk=rows) if isinstance(one, Rows) else one for one in targets)
        monkeypatch.setitem(cleanups.CLEANUPS, name, small)


def counts(row: dict[str, Any]) -> dict[str, int]:
    """What a job that completed counted."""
    assert row["status"] == "completed", row["error"]
    found: dict[str, int] = row["result"]["counts"]
    return found


def dry(job: CleanupOldData) -> CleanupOldData:
    return job.model_copy(update={"dry_run": True})


OLD = "now() - interval '100 days'"
EXECUTION = """
    INSERT INTO job_executions (job_id, job_type, status, payload, budget, max_attempts, attempts, created_at,
        completed_at, notified_at, lease_until, lease_owner, idempotency_key)
    VALUES (gen_random_uuid(), 'probe', '{status}', '{{}}', 4, 4, 2, {created},
        {completed}, {notified}, {lease}, {owner}, '{key}') RETURNING job_id"""


def past_job(worker: Worker, key: str, status: str, completed: str | None = OLD, *, notified: bool = True) -> None:
    """A job of long ago with two attempts and what a person did to it."""
    running = status == "processing"
    job_id = worker.ask(
        EXECUTION.format(
            key=key,
            status=status,
            created=OLD,
            completed=completed or "NULL",
            notified="now()" if notified and status == "failed" else "NULL",
            lease="now() + interval '1 minute'" if running else "NULL",
            owner="gen_random_uuid()" if running else "NULL",
        )
    )[0][0]
    worker.ask(f"""
        INSERT INTO job_attempts (job_id, attempt, generation, publication, lease_owner, cold_start)
        SELECT '{job_id}', n, 1, 1, gen_random_uuid(), false FROM generate_series(1, 2) AS n""")
    worker.ask(f"INSERT INTO job_actions (job_id, generation, action, actor) VALUES ('{job_id}', 1, 'requeue', 'ada')")


KILLED = """
import os, signal, sys
from datetime import timedelta
from uuid import UUID

from functions.cleanup_old_data import cleanups, handler
from qstash_jobs.bucket import Bucket
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.run import Run
from qstash_jobs.testing import Context, signed_event
import dataclasses

owner, name, nth, when, job_id, payload = sys.argv[1:]
for key, targets in cleanups.CLEANUPS.items():
    cleanups.CLEANUPS[key] = tuple(
        dataclasses.replace(one, chunk=10) if hasattr(one, "chunk") else one for one in targets
    )
place = {"Run": Run, "Bucket": Bucket}[owner]
genuine = getattr(place, name)
calls = 0

def dies(*arguments):
    global calls
    calls += 1
    if calls == int(nth) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    genuine(*arguments)
    if calls == int(nth):
        os.kill(os.getpid(), signal.SIGKILL)

setattr(place, name, dies)
job = CleanupOldData.model_validate_json(payload)
handler.handler(signed_event(job, job_id=UUID(job_id), by_reference=True), Context(timedelta(seconds=60)))
"""

Kill = tuple[str, str, int, str]


def deliver_and_kill(worker: Worker, job: CleanupOldData, job_id: UUID, at: Kill) -> None:
    """One delivery in a process that is killed at that call; then its lease ends."""
    owner, name, nth, when = at
    command = [sys.executable, "-c", KILLED, owner, name, str(nth), when, str(job_id), job.model_dump_json()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr
    worker.ask("UPDATE job_executions SET lease_until = now() - interval '1 ms' WHERE job_id = :id", id=job_id)
