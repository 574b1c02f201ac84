"""`cleanup-old-data`: which rows go, which stay, and what is said of it."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from functions.cleanup_old_data.cleanups import CLEANUPS
from functions.cleanup_old_data.rows import Rows
from functions.cleanup_old_data.state import State
from infra.seed.load import seed
from infra.seed.scale import SCALES
from qstash_jobs.dispatch import enqueue
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.testing import create_test_job
from tests.integration.jobs.cleaning import (
    LOGS,
    OLD,
    OLD_SESSIONS,
    TEMP_FILES,
    add_sessions,
    cleaner,
    counts,
    dry,
    in_chunks_of,
    past_job,
)
from tests.integration.jobs.conftest import Worker


@pytest.fixture
def worker(engine: Engine) -> Worker:
    """The function, on a database with an organization and a user."""
    return cleaner(engine)


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


def test_a_row_that_somebody_holds_is_left_for_the_next_time(worker: Worker) -> None:
    """The clean-up waits for nobody."""
    add_sessions(worker, 3, 31)
    with worker.engine.begin() as somebody:
        somebody.execute(text("SELECT FROM sessions WHERE id = 2 FOR UPDATE"))
        assert counts(worker.run(OLD_SESSIONS)) == {"sessions": 2}
    assert worker.ask("SELECT id FROM sessions") == [(2,)]
    assert counts(worker.run(OLD_SESSIONS)) == {"sessions": 1}


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
