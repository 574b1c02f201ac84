"""A job goes the whole way: enqueued, published, delivered, run, recorded; and what happens to it on the way."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from uuid import UUID

import pytest

from qstash_jobs import dispatch
from qstash_jobs.errors import InvalidMove
from qstash_jobs.jobs.probe import Probe, ProbeMode
from qstash_jobs.jobs.reconcile_jobs import ReconcileJobs
from tests.e2e.conftest import World
from tests.waiting import until


def completed_attempts(world: World, job_id: UUID) -> int:
    return world.outcomes(job_id).count("completed")


def test_a_job_is_enqueued_delivered_run_and_recorded(world: World) -> None:
    """The whole path, with the message named in the record."""
    job_id = dispatch.enqueue(Probe(), user_id=7)
    row = world.wait(job_id, "completed")
    assert (row["result"], row["user_id"], row["attempts"]) == ({"attempt": 1}, 7, 1)
    assert row["message_id"]
    assert row["published_at"]


@pytest.mark.parametrize(
    ("mode", "status", "outcomes"),
    [
        (ProbeMode.FAIL_ONCE, "completed", ["retried", "completed"]),
        (ProbeMode.FAIL_ALWAYS, "failed", ["retried", "retried", "failed"]),
        (ProbeMode.NOT_RETRYABLE, "failed", ["failed"]),
        (ProbeMode.RETRY_LATER, "completed", ["retried", "completed"]),
        (ProbeMode.CONTINUE, "completed", ["continued", "continued", "completed"]),
        (ProbeMode.CRASH_ONCE, "completed", [None, "completed"]),
    ],
    ids=lambda value: value.value if isinstance(value, ProbeMode) else "",
)
def test_a_probe_ends_as_it_should(world: World, mode: ProbeMode, status: str, outcomes: list[str | None]) -> None:
    """Each way of ending, through QStash and back."""
    job_id = dispatch.enqueue(Probe(mode=mode))
    world.wait(job_id, "completed", "failed")
    assert (status, outcomes) == (world.status(job_id), world.outcomes(job_id))


def test_a_delay_is_passed_by_when_time_is_moved(world: World) -> None:
    """As `jobs advance` does it: what would be due by then runs now."""
    job_id = dispatch.enqueue(Probe(), delay=timedelta(hours=3))
    world.pass_time_until(lambda: world.status(job_id) == "completed")
    assert world.row(job_id)["attempts"] == 1


def test_a_job_that_kills_its_function_every_time_ends_as_failed(world: World) -> None:
    """Within its budget: each attempt was counted before it ran."""
    job_id = dispatch.enqueue(Probe(mode=ProbeMode.CRASH_ALWAYS), retries=1)
    row = world.wait(job_id, "failed", within=timedelta(seconds=90))
    assert (row["attempts"], row["error_type"]) == (2, "Lost")


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_function_killed_in_an_attempt_runs_again(world: World, attempt: int) -> None:
    """15 s after its lease and QStash's backoff (half an hour and more, later on: passed by) at most; it completes
    once."""
    gateway = world.desk.gateway
    assert gateway is not None
    job_id = dispatch.enqueue(Probe(seconds=1.5), retries=3)
    for number in range(1, attempt + 1):
        if number > 1:
            world.pass_time_until(lambda number=number: world.row(job_id)["attempts"] == number)
        world.wait(job_id, "processing")
        for pid in gateway.pids("probe"):
            os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    world.pass_time_until(lambda: world.row(job_id)["attempts"] > attempt)
    assert time.monotonic() - killed < Probe.options.timeout.total_seconds() + 15
    world.wait(job_id, "completed")
    assert world.outcomes(job_id) == [None] * attempt + ["completed"]


def test_a_failed_job_is_redriven(world: World) -> None:
    """The next generation has a fresh budget, and the failure callback has noted where the message ended."""
    job_id = dispatch.enqueue(Probe(mode=ProbeMode.FAIL_ONCE), retries=0)
    world.wait(job_id, "failed")
    until(lambda: world.row(job_id)["notified_at"], otherwise=lambda: str(world.row(job_id)))
    assert world.row(job_id)["dlq_id"]
    dispatch.requeue(job_id, by="a test")
    assert ((row := world.wait(job_id, "completed"))["generation"], row["attempts"]) == (2, 2)
    with pytest.raises(InvalidMove):
        dispatch.requeue(job_id, by="a test")


def test_a_delayed_job_can_be_cancelled(world: World) -> None:
    """It never runs."""
    job_id = dispatch.enqueue(Probe(), delay=timedelta(hours=1))
    assert dispatch.cancel(job_id) == "cancelled"
    assert world.outcomes(job_id) == []


def test_many_jobs_complete_once_each(world: World) -> None:
    """Two hundred at once, each with one attempt that completed."""
    ids = [one.job_id for one in dispatch.enqueue_many([Probe() for _ in range(200)])]
    listed = ", ".join(f"'{job_id}'" for job_id in ids)
    until(
        lambda: (
            not world.run(f"SELECT 1 FROM job_executions WHERE job_id IN ({listed}) AND status <> 'completed' LIMIT 1")
        )
    )
    assert [
        tuple(row)
        for row in world.run(f"SELECT count(*) FROM job_attempts WHERE job_id IN ({listed}) AND outcome = 'completed'")
    ] == [(200,)]


def test_qstash_killed_in_the_middle_loses_nothing(world: World) -> None:
    """SIGKILL while deliveries are under way, and started again: every job completes, once."""
    qstash = world.desk.qstash
    assert qstash is not None
    ids = [one.job_id for one in dispatch.enqueue_many([Probe(seconds=0.05) for _ in range(60)])]
    until(lambda: completed_attempts(world, ids[0]) or world.status(ids[0]) == "completed")
    qstash.kill()
    qstash.restart()
    for job_id in ids:
        world.wait(job_id, "completed")
        assert completed_attempts(world, job_id) == 1


def test_qstash_down_at_enqueue_is_a_delay(world: World) -> None:
    """The caller gets its id; the relay publishes once QStash is back."""
    qstash = world.desk.qstash
    assert qstash is not None
    qstash.kill()
    job_id = dispatch.enqueue(Probe())
    assert ((row := world.row(job_id))["status"], row["published_at"]) == ("pending", None)
    assert row["publish_error"]
    qstash.restart()
    world.wait(job_id, "completed")


def test_postgres_restarted_while_jobs_run_loses_nothing(world: World) -> None:
    """Crashed and recovered in the middle: every job completes, once."""
    postgres = world.desk.postgres
    assert postgres is not None
    ids = [one.job_id for one in dispatch.enqueue_many([Probe(seconds=0.05) for _ in range(40)])]
    for number in range(3):
        postgres.restart()
        until(lambda number=number: sum(completed_attempts(world, job_id) for job_id in ids) > number)
    for job_id in ids:
        world.wait(job_id, "completed")
        assert completed_attempts(world, job_id) == 1


def test_reconciling_is_a_job_like_any_other(world: World) -> None:
    """It completes, and its result says what it did."""
    job_id = dispatch.enqueue(ReconcileJobs())
    assert world.wait(job_id, "completed")["result"]["troubles"] == []
