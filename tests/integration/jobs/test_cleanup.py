"""`cleanup-old-data`: what is past its time goes, bit by bit, and is counted once, whatever happens in between."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from moto.s3.models import s3_backends
from sqlalchemy import Engine, text

from functions.cleanup_old_data import cleanups
from functions.cleanup_old_data.cleanups import CLEANUPS
from functions.cleanup_old_data.handler import clean_up
from functions.cleanup_old_data.rows import Rows
from functions.cleanup_old_data.state import State
from infra.seed.load import seed
from infra.seed.scale import SCALES
from qstash_jobs import dispatch, serving
from qstash_jobs.bucket import EXPORTS, TEMPORARY, Bucket, FileType
from qstash_jobs.dispatch import enqueue
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.run import Run
from qstash_jobs.serving import serve
from qstash_jobs.testing import create_test_job
from tests.conftest import ROOT
from tests.integration.jobs.conftest import Worker

OLD_SESSIONS = CleanupOldData(cleanup_type="old-sessions", days_old=30)
TEMP_FILES = CleanupOldData(cleanup_type="temp-files", days_old=7)
LOGS = CleanupOldData(cleanup_type="logs", days_old=90)
PLAIN = FileType(content_type="text/plain", filename="x.txt")


@pytest.fixture
def worker(engine: Engine) -> Worker:
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


def test_sessions_go_so_many_days_after_their_end(worker: Worker) -> None:
    """Neither those that still run, nor those that ended lately; the result says how many went, and by which moment."""
    for count, days in ((3, 31), (2, 29), (4, -1)):
        add_sessions(worker, count, days)

    row = worker.run(OLD_SESSIONS)

    assert counts(row) == {"sessions": 3}
    cutoff = datetime.fromisoformat(row["result"]["cutoff"])
    assert timedelta(0) <= datetime.now(UTC) - timedelta(days=30) - cutoff < timedelta(minutes=1)
    assert (row["result"]["dryRun"], row["result"]["skipped"]) == (False, [])
    assert worker.ask("SELECT count(*) FROM sessions") == [(6,)]
    assert row["progress"] == {"fraction": 1, "message": "sessions 3"}


def test_an_invitation_that_was_accepted_did_not_expire(worker: Worker) -> None:
    """It stays as history; those that nobody took up go, also when they were revoked."""
    worker.ask("""
        INSERT INTO invitations (organization_id, email, token_hash, expires_at, accepted_at, revoked_at)
        SELECT 1, name || '@example.com', uuid_send(gen_random_uuid()), now() - days * interval '1 day',
            CASE WHEN name = 'accepted' THEN now() END, CASE WHEN name = 'revoked' THEN now() END
        FROM (VALUES ('old', 8), ('accepted', 8), ('revoked', 8), ('recent', 6)) AS made (name, days)""")

    row = worker.run(CleanupOldData(cleanup_type="expired-invitations", days_old=7))

    assert counts(row) == {"invitations": 2}
    assert worker.ask("SELECT email FROM invitations ORDER BY 1") == [
        ("accepted@example.com",),
        ("recent@example.com",),
    ]


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


def test_logs_are_what_people_did_and_what_jobs_did(worker: Worker) -> None:
    """Of jobs only those that ended before the cutoff, with their attempts; never one that lives, however old, nor a
    failure that nobody was told of."""
    worker.ask(f"""
        INSERT INTO activity_logs (action, created_at)
        SELECT 'document.viewed', CASE WHEN n > 5 THEN now() ELSE {OLD} END FROM generate_series(1, 8) AS n""")
    for status in ("completed", "failed", "cancelled"):
        past_job(worker, f"old {status}", status)
    for status in ("pending", "retrying", "processing"):
        past_job(worker, f"live {status}", status, completed=None)
    past_job(worker, "ended lately", "completed", "now() - interval '1 day'")
    past_job(worker, "not told", "failed", notified=False)

    expected = {"activity_logs": 5, "job_executions": 3, "job_attempts": 6, "job_actions": 3}
    assert counts(worker.run(dry(LOGS))) == expected
    assert worker.ask("SELECT count(*) FROM activity_logs") == [(8,)]
    assert counts(worker.run(LOGS)) == expected

    left = {row[0] for row in worker.ask("SELECT idempotency_key FROM job_executions WHERE job_type = 'probe'")}
    assert left == {"live pending", "live retrying", "live processing", "ended lately", "not told"}
    assert worker.ask("SELECT count(*) FROM job_actions") == [(5,)]
    assert worker.ask("SELECT count(*) FROM activity_logs") == [(3,)]


def test_a_job_that_was_forgotten_frees_its_idempotency_key(worker: Worker) -> None:
    """Whoever enqueues with the key again gets a new job: a key is good for as long as the record is kept."""
    first = create_test_job(Probe(), idempotency_key="order-7")
    worker.ask(
        f"UPDATE job_executions SET status = 'cancelled', created_at = {OLD}, completed_at = {OLD} WHERE job_id = :id",
        id=first,
    )
    assert create_test_job(Probe(), idempotency_key="order-7") == first

    worker.run(LOGS)

    assert create_test_job(Probe(), idempotency_key="order-7") != first


@pytest.mark.parametrize("cleanup", ["old-sessions", "expired-invitations", "logs"])
def test_a_dry_run_counts_what_a_run_deletes(worker: Worker, cleanup: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On believable data: the same figures, nothing deleted before, and nothing left after."""
    with worker.engine.begin() as connection:
        for _ in seed(connection, SCALES["small"], date.today(), replace=True):
            pass
    for number in range(30):
        past_job(worker, str(number), "completed")
    in_chunks_of(100, monkeypatch)
    job = CleanupOldData(cleanup_type=cleanup, days_old=30)

    would, again, did = counts(worker.run(dry(job))), counts(worker.run(dry(job))), counts(worker.run(job))

    assert would == again == did
    assert all(count > 20 for count in did.values()), did
    assert set(counts(worker.run(job)).values()) == {0}


def test_near_its_deadline_it_leaves_the_rest_to_another_attempt(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as it takes: each attempt deletes something, so none of them costs budget; the cutoff stays the same."""
    add_sessions(worker, 35, 31)
    in_chunks_of(10, monkeypatch)
    job_id = create_test_job(OLD_SESSIONS)

    outcomes, cutoffs, said = [], set(), []
    while not outcomes or outcomes[-1] == "continued":
        outcomes.append(worker.deliver(OLD_SESSIONS, job_id, remaining=timedelta(seconds=1)).outcome)
        cutoffs.add((row := worker.row(job_id))["checkpoint"]["cutoff"])
        said.append((round(row["progress"]["fraction"], 2), row["progress"]["message"]))

    assert outcomes == ["continued"] * 5 + ["completed"]
    assert said[:3] == [(0, "sessions 0 of 35"), (0.29, "sessions 10 of 35"), (0.57, "sessions 20 of 35")]
    assert said[-1] == (1, "sessions 35")
    assert len(cutoffs) == 1
    assert counts(worker.row(job_id)) == {"sessions": 35}


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


def test_killed_wherever_it_stands_it_counts_each_row_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a chunk's transaction, after its commit, and before the first: the next attempt goes on, and the result is
    what it would have been."""
    add_sessions(worker, 64, 31)
    add_sessions(worker, 5, 1)
    in_chunks_of(10, monkeypatch)
    job_id = create_test_job(OLD_SESSIONS, retries=9)

    kills: list[Kill] = [
        ("Run", "progress", 1, "before"),  # counted, nothing deleted yet
        ("Run", "save", 2, "after"),  # the second chunk: deleted, not committed
        ("Run", "save", 1, "before"),  # the same chunk again, before it is noted
        ("Run", "progress", 2, "before"),  # committed, not reported
    ]
    for kill in kills:
        deliver_and_kill(worker, OLD_SESSIONS, job_id, kill)
    left = worker.ask("SELECT count(*) FROM sessions")[0][0]
    assert (left, worker.row(job_id)["checkpoint"]["counts"]) == (69 - 30, {"sessions": 30})

    assert worker.deliver(OLD_SESSIONS, job_id).outcome == "completed"
    assert counts(worker.row(job_id)) == {"sessions": 64}
    assert worker.ask("SELECT count(*) FROM sessions") == [(5,)]


@pytest.fixture
def put(bucket: Bucket) -> Callable[[str, int], None]:
    """Writes a file of ten bytes that is so many days old."""

    def put(key: str, days: int) -> None:
        bucket.put(key, b"x" * 10, PLAIN)
        for account in s3_backends.values():
            for backend in account.values():
                if bucket.name in backend.buckets:
                    backend.buckets[bucket.name].keys[key].last_modified = datetime.now(UTC).replace(
                        tzinfo=None
                    ) - timedelta(days=days)

    return put


def add_file(worker: Worker, key: str, kind: str, expires_in_days: int | None) -> None:
    """The row that tells of a file."""
    expires = "NULL" if expires_in_days is None else f"now() + {expires_in_days} * interval '1 day'"
    worker.ask(
        f"INSERT INTO files (s3_key, kind, content_type, bytes, expires_at) VALUES (:key, :kind, 'text/plain', 10, {expires})",
        key=key,
        kind=kind,
    )


def test_temporary_files_go_with_their_rows(worker: Worker, bucket: Bucket, put: Callable[[str, int], None]) -> None:
    """Only below the prefix, only old ones; and rows whose file the bucket's own lifecycle has taken before. A dry run
    says the same of it, with the bytes."""
    for key, days in (("tmp/a", 8), ("tmp/b", 8), ("tmp/new", 6), ("exports/a", 400)):
        put(key, days)
    add_file(worker, "tmp/a", "temporary", None)
    add_file(worker, "tmp/b", "temporary", -9)  # old by its file, and by itself: counted once
    add_file(worker, "tmp/new", "temporary", 8)
    add_file(worker, "tmp/taken", "temporary", -8)
    add_file(worker, "exports/a", "export", -300)

    for job, left in ((dry(TEMP_FILES), 5), (TEMP_FILES, 2)):
        row = worker.run(job)
        assert (counts(row), row["result"]["bytes"]) == ({"objects": 2, "files": 3}, 20)
        assert worker.ask("SELECT count(*) FROM files") == [(left,)]

    assert [one.key for page in bucket.pages(TEMPORARY) for one in page] == ["tmp/new"]
    assert [one.key for page in bucket.pages(EXPORTS) for one in page] == ["exports/a"]


def test_many_files_go_page_by_page_and_are_counted_once_when_it_is_killed(
    worker: Worker, bucket: Bucket, put: Callable[[str, int], None]
) -> None:
    """Killed when a page is counted and not deleted yet, and when it is deleted: nothing is lost, nothing counted twice."""
    for number in range(2_010):
        put(f"tmp/{number:05}", 8 if number % 2 else 1)
    for number in range(1, 40, 2):
        add_file(worker, f"tmp/{number:05}", "temporary", None)
    job_id = create_test_job(TEMP_FILES, retries=9)

    for when in ("before", "after"):
        deliver_and_kill(worker, TEMP_FILES, job_id, ("Bucket", "delete", 1, when))
    assert worker.row(job_id)["checkpoint"]["counts"] == {"objects": 500, "files": 20}
    assert worker.deliver(TEMP_FILES, job_id).outcome == "completed"

    assert (counts(row := worker.row(job_id)), row["result"]["bytes"]) == ({"objects": 1_005, "files": 20}, 10_050)
    assert sum(len(page) for page in bucket.pages(TEMPORARY)) == 1_005


def test_a_row_that_somebody_holds_is_left_for_the_next_time(worker: Worker) -> None:
    """The clean-up waits for nobody."""
    add_sessions(worker, 3, 31)
    with worker.engine.begin() as somebody:
        somebody.execute(text("SELECT FROM sessions WHERE id = 2 FOR UPDATE"))
        assert counts(worker.run(OLD_SESSIONS)) == {"sessions": 2}
    assert worker.ask("SELECT id FROM sessions") == [(2,)]
    assert counts(worker.run(OLD_SESSIONS)) == {"sessions": 1}


def test_it_stops_when_it_is_cancelled(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two chunks: what is deleted is counted in its checkpoint, from where a requeue goes on."""
    add_sessions(worker, 50, 31)
    in_chunks_of(10, monkeypatch)
    monkeypatch.setattr(serving, "PROGRESS_INTERVAL_SECONDS", 0)
    job_id = create_test_job(OLD_SESSIONS)
    genuine, steps = Rows.step, []

    def step(target: Rows, run: Run, state: State, *, dry_run: bool) -> bool:
        steps.append(target.name)
        if len(steps) == 3:
            dispatch.cancel(job_id)
        return genuine(target, run, state, dry_run=dry_run)

    monkeypatch.setattr(Rows, "step", step)
    assert worker.deliver(OLD_SESSIONS, job_id).outcome == "cancelled"
    assert worker.row(job_id)["checkpoint"]["counts"] == {"sessions": 20}
    assert worker.ask("SELECT count(*) FROM sessions") == [(30,)]

    dispatch.requeue(job_id)
    assert worker.deliver(OLD_SESSIONS, job_id).outcome == "completed"
    assert counts(worker.row(job_id)) == {"sessions": 50}


def test_what_an_installation_does_not_have_is_skipped(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """A record without the starter's tables is cleaned all the same, and nothing fails every night for want of a table."""
    worker.ask("DROP TABLE sessions, activity_logs, files")
    past_job(worker, "old", "completed")

    row = worker.run(LOGS)

    assert row["result"]["skipped"] == ["activity_logs"]
    assert counts(row) == {"job_executions": 1, "job_attempts": 2, "job_actions": 1}
    for job, skipped in ((OLD_SESSIONS, ["sessions"]), (TEMP_FILES, ["objects", "files"])):
        row = worker.run(job)
        assert (counts(row), row["result"]["skipped"]) == ({}, skipped)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"cleanupType": "logs", "daysOld": 3}, "logs are kept for 7 days at least"),
        ({"cleanupType": "everything", "daysOld": 30}, "cleanupType"),
        ({"cleanupType": "old-sessions", "daysOld": 3651}, "daysOld: Input should be less than or equal to 3650"),
    ],
)
def test_what_makes_no_sense_fails_with_a_reason(worker: Worker, payload: dict[str, Any], reason: str) -> None:
    """At once, where it came past the contract: nothing is deleted, and nothing tried again."""
    job_id = create_test_job(OLD_SESSIONS)
    add_sessions(worker, 1, 5_000)
    worker.ask(
        "UPDATE job_executions SET payload = CAST(:payload AS jsonb) WHERE job_id = :id",
        payload=json.dumps(payload),
        id=job_id,
    )
    answer = worker.deliver(OLD_SESSIONS, job_id)
    assert (answer.status, worker.row(job_id)["status"]) == (489, "failed")
    assert reason in worker.row(job_id)["error"]
    assert worker.ask("SELECT count(*) FROM sessions") == [(1,)]


def test_two_deliveries_at_once_delete_once(worker: Worker) -> None:
    """The second is told that it is done."""
    add_sessions(worker, 3, 31)
    job_id = enqueue(OLD_SESSIONS, publish="relay")
    assert worker.deliver(OLD_SESSIONS, job_id).outcome == "completed"
    add_sessions(worker, 1, 31)
    assert worker.deliver(OLD_SESSIONS, job_id).outcome == "duplicate"
    assert worker.ask("SELECT count(*) FROM sessions") == [(1,)]


MANY = """
    INSERT INTO sessions (user_id, token_hash, expires_at)
    SELECT 1, uuid_send(gen_random_uuid()), day FROM generate_series(now() - interval '300 days', now(), '15 min') AS day;
    INSERT INTO invitations (organization_id, email, token_hash, expires_at, accepted_at)
    SELECT 1, 'a@example.com', token_hash, expires_at, CASE WHEN id % 3 = 0 THEN expires_at END FROM sessions;
    INSERT INTO files (s3_key, kind, content_type, bytes, expires_at)
    SELECT 'tmp/' || id, 'temporary', 'text/plain', 1, expires_at FROM sessions;
    INSERT INTO activity_logs (action, created_at) SELECT 'document.viewed', expires_at FROM sessions;
    INSERT INTO job_executions (job_id, job_type, status, payload, budget, max_attempts, created_at, completed_at)
    SELECT gen_random_uuid(), 'probe', 'completed', '{}', 1, 1, expires_at, expires_at FROM sessions"""


@pytest.mark.parametrize(
    ("cleanup", "name", "key", "index"),
    [
        ("old-sessions", "sessions", 7, "sessions_expired"),
        ("expired-invitations", "invitations", 7, "invitations_expired"),
        ("temp-files", "files", 7, "files_expired"),
        ("logs", "activity_logs", 7, "activity_logs_created"),
        ("logs", "job_executions", "019a3f1c-7b1e-7c3a-9d52-3f6a1b2c4d5e", "job_executions_recent"),
    ],
)
def test_a_chunk_is_found_along_its_index(worker: Worker, cleanup: str, name: str, key: int | str, index: str) -> None:
    """From behind the last row, in the order of the index, without sorting: however much there is to delete."""
    worker.ask(MANY)
    worker.ask(f"ANALYZE {name}")
    target = next(one for one in CLEANUPS[cleanup] if isinstance(one, Rows) and one.name == name)
    table = target.table()
    assert table is not None
    now = datetime.now(UTC)
    state = State(cutoff=now - timedelta(days=7), row=(now - timedelta(days=100), key))
    asked = target._choose(table, state).compile(worker.engine, compile_kwargs={"literal_binds": True})

    plan = "\n".join(row[0] for row in worker.ask(f"EXPLAIN {asked}".replace(":", "\\:")))

    assert f"Index Scan using {index}" in plan, plan
    assert re.search(r"Index Cond: .*\) > ", plan), plan
    assert "Sort" not in plan, plan
