"""The job types at their work, on a real Postgres with the starter's tables: delivered as QStash delivers them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from qstash_jobs.database import Database
from qstash_jobs.job import Job
from qstash_jobs.serving import LambdaHandler
from qstash_jobs.testing import Context, create_test_job, signed_event
from tests.schema import engine_of


@pytest.fixture
def database_url(saas_database_url: str) -> str:
    """Here the settings lead to the starter's tables too."""
    return saas_database_url


@dataclass(frozen=True)
class Answer:
    """What QStash was told."""

    status: int
    outcome: str
    headers: Mapping[str, str]


@dataclass
class Worker:
    """One function, and the record of what it did."""

    handler: LambdaHandler
    engine: Engine

    def deliver(self, job: Job, job_id: UUID, *, remaining: timedelta | None = None, **event: Any) -> Answer:
        """One delivery of a job that was enqueued, by reference; an event may carry another generation or publication."""
        row = self.row(job_id)
        numbers = {"generation": row["generation"], "publication": row["publication"]}
        sent = signed_event(job, job_id=job_id, by_reference=True, **{**numbers, **event})
        response = self.handler(sent, Context(remaining or job.options.timeout))
        return Answer(response["statusCode"], json.loads(response["body"])["outcome"], response["headers"])

    def run(self, job: Job, **options: Any) -> dict[str, Any]:
        """Enqueue a job and deliver it, again and again while it continues; its row when an attempt ended otherwise."""
        job_id = create_test_job(job, **options)
        while self.deliver(job, job_id).outcome == "continued":
            pass
        return self.row(job_id)

    def row(self, job_id: UUID) -> dict[str, Any]:
        """The execution, as SQL shows it."""
        found: dict[str, Any] = self.ask(f"SELECT to_jsonb(e) FROM job_executions e WHERE job_id = '{job_id}'")[0][0]
        return found

    def jobs(self, job_type: str) -> list[dict[str, Any]]:
        """The payloads of all jobs of a type, in the order in which they were made."""
        made = self.ask(f"SELECT payload FROM job_executions WHERE job_type = '{job_type}' ORDER BY job_id")
        return [row[0] for row in made]

    def ask(self, sql: str, **values: object) -> list[Any]:
        """The rows of a question of the test's own."""
        with self.engine.begin() as connection:
            found = connection.execute(text(sql), values)
            return list(found) if found.returns_rows else []


@pytest.fixture
def engine(database: Database, database_url: str) -> Iterator[Engine]:
    """An engine for a test's own questions and rows."""
    made = engine_of(database_url)
    yield made
    made.dispose()
