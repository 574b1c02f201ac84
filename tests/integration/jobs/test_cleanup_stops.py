"""`cleanup-old-data` stopped, killed and gone on with: nothing is lost, and nothing counted twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from functions.cleanup_old_data.rows import Rows
from functions.cleanup_old_data.state import State
from qstash_jobs import dispatch, serving
from qstash_jobs.run import Run
from qstash_jobs.testing import create_test_job
from tests.integration.jobs.cleaning import (
    OLD_SESSIONS,
    Kill,
    add_sessions,
    cleaner,
    counts,
    deliver_and_kill,
    in_chunks_of,
)
from tests.integration.jobs.conftest import Worker


@pytest.fixture
def worker(engine: Engine) -> Worker:
    """The function, on a database with an organization and a user."""
    return cleaner(engine)


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
