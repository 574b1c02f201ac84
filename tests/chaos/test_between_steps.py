"""What may happen between any two steps of a delivery: Postgres goes away, or the function does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from infra.local.postgres import EmbeddedPostgres
from qstash_jobs.database import Database
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.run import Outcome, Run
from qstash_jobs.serving import Delivery
from qstash_jobs.testing import create_test_job
from tests.integration.postgres.conftest import Wire
from tests.integration.serving.conftest import Function, Record

STEPS = ("authenticate", "parse", "start", "run", "judge", "settle", "respond")
CLAIMED = ("run", "judge", "settle")
"""The steps before which the attempt has been counted, and nothing recorded of its end."""


class Killed(BaseException):
    """The function's process ends here."""


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    """Lets something happen once, just before a step."""

    def arrange(step: str, happen: Callable[[], None]) -> None:
        genuine = getattr(Delivery, f"_{step}")

        def happened(delivery: Delivery, *arguments: Any) -> Any:
            monkeypatch.setattr(Delivery, f"_{step}", genuine)
            happen()
            return genuine(delivery, *arguments)

        monkeypatch.setattr(Delivery, f"_{step}", happened)

    return arrange


Before = Callable[[str, Callable[[], None]], None]


@pytest.fixture
def warm(function: Function, record: Record) -> Function:
    """A function whose connection to Postgres is open already."""
    assert function.deliver(create_test_job(Probe())).status == 200
    return function


@pytest.mark.parametrize("step", STEPS)
def test_a_lost_connection_costs_no_attempt(
    warm: Function, record: Record, job_id: UUID, before: Before, step: str
) -> None:
    """The server ends every connection; the delivery goes on over another, and completes the job."""

    def lose() -> None:
        record.run("""SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()""")

    before(step, lose)
    assert warm.deliver(job_id).outcome == "completed"
    assert (record.status(job_id), record.outcomes(job_id)) == ("completed", ["completed"])


@pytest.mark.parametrize("step", STEPS)
def test_a_restart_of_postgres_costs_no_attempt(
    warm: Function, record: Record, job_id: UUID, before: Before, postgres: EmbeddedPostgres, step: str
) -> None:
    """As soon as it is back, the delivery goes on."""

    def restart() -> None:
        # The tests' server leaves commits in memory for a moment; one that does not takes those before it along.
        record.run("SET LOCAL synchronous_commit = on; CREATE TABLE marker (n int)")
        postgres.restart()

    before(step, restart)
    assert warm.deliver(job_id).outcome == "completed"
    record.database.close()
    assert (record.status(job_id), record.outcomes(job_id)) == ("completed", ["completed"])


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_function_loses_nothing(
    function: Function, record: Record, job_id: UUID, before: Before, step: str
) -> None:
    """QStash delivers again: at once where nothing had been claimed, else after the lease; the job completes once."""

    def kill() -> None:
        raise Killed

    before(step, kill)
    with pytest.raises(Killed):
        function.deliver(job_id)
    if step in CLAIMED:
        assert function.deliver(job_id).status == 409
        record.end_lease(job_id)
    again = function.deliver(job_id)
    assert (again.status, again.outcome) == (200, "duplicate" if step == "respond" else "completed")
    assert record.outcomes(job_id) == ([None, "completed"] if step in CLAIMED else ["completed"])


@pytest.mark.parametrize("step", CLAIMED)
def test_a_function_that_is_killed_in_its_last_attempt(
    function: Function, record: Record, before: Before, step: str
) -> None:
    """The next delivery finds that the budget is used up: failed as `Lost`, and QStash stops."""

    def kill() -> None:
        raise Killed

    job_id = create_test_job(Probe(), retries=0)
    before(step, kill)
    with pytest.raises(Killed):
        function.deliver(job_id)
    record.end_lease(job_id)
    assert ((answer := function.deliver(job_id)).status, answer.outcome) == (489, "lost")
    assert (record.status(job_id), record.row(job_id)["error_type"]) == ("failed", "Lost")


class TestBlackHole:
    """Postgres, or the way to it, swallows everything: no answer, no error."""

    @pytest.fixture
    def record(self, wire: Wire, database_url: str) -> Iterator[Record]:
        """The rows, seen past the wire."""
        direct = Database(database_url, timedelta(seconds=10))
        yield Record(direct)
        direct.close()

    @pytest.mark.parametrize("remaining", [timedelta(seconds=2), timedelta(seconds=9)], ids=str)
    def test_at_the_end_of_an_attempt(
        self, wire: Wire, function: Function, record: Record, job_id: UUID, remaining: timedelta
    ) -> None:
        """503 before Lambda's deadline, to come back when the lease has ended; then the job runs again."""

        def cuts_itself_off(_payload: Probe, _run: Run) -> Outcome:
            wire.block()
            return None

        function.does, function.remaining = cuts_itself_off, remaining
        began = time.monotonic()
        answer = function.deliver(job_id)
        took_seconds = time.monotonic() - began
        lease = record.run(f"""SELECT extract(epoch FROM lease_until - clock_timestamp())::float
            FROM job_executions WHERE job_id = '{job_id}'""")
        assert (answer.status, answer.outcome) == (503, "not_recorded")
        assert took_seconds < remaining.total_seconds()
        assert float(answer.headers["Retry-After"]) >= lease[0][0]
        wire.unblock()
        record.end_lease(job_id)
        function.does, function.remaining = lambda _payload, _run: None, timedelta(seconds=30)
        assert function.deliver(job_id).outcome == "completed"
        assert record.outcomes(job_id) == [None, "completed"]

    @pytest.mark.parametrize("open_already", [True, False])
    def test_before_an_attempt(self, wire: Wire, function: Function, job_id: UUID, open_already: bool) -> None:
        """503 before Lambda's deadline, also over a connection that stood while the environment was frozen."""
        if open_already:
            assert function.deliver(create_test_job(Probe())).status == 200
        else:
            function.deliver(None)
        runs = len(function.runs)
        wire.block()
        function.remaining = timedelta(seconds=3)
        began = time.monotonic()
        answer = function.deliver(job_id)
        assert (answer.status, answer.outcome) == (503, "database_unreachable")
        assert "Retry-After" in answer.headers
        assert time.monotonic() - began < 3
        assert len(function.runs) == runs
