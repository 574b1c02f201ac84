"""The connection that a function keeps goes bad under it: it finds another, and loses nothing that was done."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import text

from qstash_jobs.database import Database
from qstash_jobs.errors import ConfigurationError
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.run import Outcome, Run
from qstash_jobs.testing import create_test_job
from tests.integration.serving.conftest import Function, Record


def end_connections(record: Record) -> None:
    """As a firewall, a pooler or a failover ends those that are idle."""
    record.run(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def become_replica(database: Database) -> None:
    """The server behind the kept connection may only read from now on; new connections lead to another."""
    database._driver.run(database._kept, "SET default_transaction_read_only = on")


def test_a_server_that_became_a_replica_is_left(
    function: Function, record: Record, database: Database, job_id: UUID
) -> None:
    """After a failover the next delivery says that the database is away, and the one after that runs."""
    function.deliver(create_test_job(Probe()))
    become_replica(database)
    assert function.deliver(job_id).status == 200
    assert record.status(job_id) == "completed"


def test_work_that_is_done_when_the_server_becomes_a_replica_is_recorded(
    function: Function, record: Record, database: Database, job_id: UUID
) -> None:
    """The finish goes to the new primary."""

    def outlives_a_failover(_payload: Probe, _run: Run) -> Outcome:
        become_replica(database)
        return {"done": True}

    function.does = outlives_a_failover
    assert function.deliver(job_id).status == 200
    assert record.row(job_id)["result"] == {"done": True}


def test_a_password_that_was_just_changed_is_waited_for(
    function: Function, record: Record, database: Database, environment: pytest.MonkeyPatch, job_id: UUID
) -> None:
    """A finish that is not let in is repeated until it is, like one that finds nobody."""
    connect = database._connect
    refusals = iter([ConfigurationError("Postgres does not let us in")] * 3)

    def refused(seconds: float | None = None) -> object:
        if (refusal := next(refusals, None)) is not None:
            raise refusal
        return connect(seconds)

    def loses_its_connection(_payload: Probe, _run: Run) -> Outcome:
        database.discard()
        environment.setattr(database, "_connect", refused)
        return None

    function.does = loses_its_connection
    assert function.deliver(job_id).status == 200
    assert record.outcomes(job_id) == ["completed"]


def reports(_record: Record, run: Run) -> Outcome:
    run.progress(0.5, "half")
    return "done"


def queries(_record: Record, run: Run) -> Outcome:
    with run.connection() as connection:
        return str(connection.execute(text("SELECT 'done'")).scalar_one())


@pytest.mark.parametrize("use", [reports, queries])
def test_a_connection_that_died_while_the_handler_worked_is_replaced(
    function: Function, record: Record, use: Callable[[Record, Run], Outcome]
) -> None:
    """A report of progress, or a transaction, does not fail a job for it."""
    job_id = create_test_job(Probe(), retries=0)

    def works_for_long(_payload: Probe, run: Run) -> Outcome:
        end_connections(record)
        return use(record, run)

    function.does = works_for_long
    assert function.deliver(job_id).status == 200
    assert record.row(job_id)["result"] == "done"


def test_progress_that_cannot_be_recorded_fails_no_job(
    function: Function, record: Record, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """The work goes on; how it ended is recorded when the database is back."""
    job_id = create_test_job(Probe(), retries=0)
    connect = database._connect

    def reports_into_the_void(_payload: Probe, run: Run) -> Outcome:
        end_connections(record)
        with environment.context() as away:
            away.setattr(database.dsn.__class__, "pg8000", lambda *_: {"host": "127.0.0.1", "port": 1, "timeout": 1})
            run.progress(0.5)
        return "done"

    function.does = reports_into_the_void
    assert function.deliver(job_id).status == 200
    assert (record.row(job_id)["result"], connect is not None) == ("done", True)
