"""A function to deliver to, and questions about what the record says afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from qstash_jobs.database import Database
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.run import Outcome, Run
from qstash_jobs.serving import LambdaHandler, serve
from qstash_jobs.testing import Context, create_test_job, signed_event


@dataclass
class Function:
    """A probe's function whose behaviour a test sets, and whose answers it reads."""

    does: Callable[[Probe, Run], Outcome] = lambda _payload, _run: None
    runs: list[Run] = field(default_factory=list)
    remaining: timedelta = timedelta(seconds=30)
    handler: LambdaHandler = field(init=False)

    def __post_init__(self) -> None:
        self.handler = serve(Probe, self._handle)

    def _handle(self, payload: Probe, run: Run) -> Outcome:
        self.runs.append(run)
        return self.does(payload, run)

    def raises(self, error: BaseException) -> None:
        def does(_payload: Probe, _run: Run) -> Outcome:
            raise error

        self.does = does

    def answer(self, event: Mapping[str, Any]) -> Answer:
        return Answer(self.handler(event, Context(self.remaining)))

    def deliver(self, job_id: UUID | None = None, **event: Any) -> Answer:
        """One delivery of a job by reference, as our dispatcher makes it."""
        return self.answer(signed_event(Probe(), job_id=job_id, **{"by_reference": True, **event}))


class Answer:
    """What QStash was told."""

    def __init__(self, response: Mapping[str, Any]) -> None:
        self.status: int = response["statusCode"]
        self.headers: Mapping[str, str] = response["headers"]
        self.body: dict[str, Any] = json.loads(response["body"])

    @property
    def outcome(self) -> str:
        return str(self.body["outcome"])

    def __repr__(self) -> str:
        return f"<{self.status} {self.body}>"


@dataclass
class Record:
    """The rows, as SQL shows them."""

    database: Database

    def row(self, job_id: UUID) -> dict[str, Any]:
        return self._one(f"SELECT to_jsonb(e) FROM job_executions e WHERE job_id = '{job_id}'")

    def attempts(self, job_id: UUID) -> list[dict[str, Any]]:
        rows = self.database.run_pooled(
            f"SELECT to_jsonb(a) FROM job_attempts a WHERE job_id = '{job_id}' ORDER BY attempt"
        )
        return [row[0] for row in rows]

    def outcomes(self, job_id: UUID) -> list[str | None]:
        return [attempt["outcome"] for attempt in self.attempts(job_id)]

    def status(self, job_id: UUID) -> str:
        return str(self.row(job_id)["status"])

    def run(self, sql: str) -> list[Any]:
        return list(self.database.run_pooled(sql))

    def end_lease(self, job_id: UUID) -> None:
        """As if the function had been killed and its lease had run out."""
        self.run(
            f"UPDATE job_executions SET lease_until = clock_timestamp() - interval '1 millisecond' "
            f"WHERE job_id = '{job_id}' AND status = 'processing'"
        )

    def _one(self, sql: str) -> dict[str, Any]:
        found: dict[str, Any] = self.database.run_pooled(sql)[0][0]
        return found


@pytest.fixture
def function(database: Database) -> Function:
    return Function()


@pytest.fixture
def record(database: Database) -> Record:
    return Record(database)


@pytest.fixture
def job_id(database: Database) -> UUID:
    """A job that waits for its delivery."""
    return create_test_job(Probe())
