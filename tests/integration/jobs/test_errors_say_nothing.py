"""What goes wrong in Postgres while a job runs is recorded and logged: why, and nothing of the payload."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO

import pytest
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from sqlalchemy import Engine

from functions.process_webhook import handler as processing
from qstash_jobs.dispatch import enqueue
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.jobs.send_email import WelcomeData
from qstash_jobs.run import Run
from qstash_jobs.serving import serve
from qstash_jobs.testing import create_test_job
from tests.conftest import forget
from tests.integration.jobs.conftest import Worker
from tests.integration.jobs.webhooks import sample

SECRET = "very.private@example.com"
DEATHS = {
    "the connection dies": "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW;",
    "a row is refused": f"RAISE check_violation USING MESSAGE = 'refused', DETAIL = 'Failing row contains ({SECRET}).';",
    "a trigger's own statement fails": f"EXECUTE $q$ SELECT '{SECRET}' || 1 / 0 $q$; RETURN NEW;",
}


@pytest.fixture(params=["pg8000", "psycopg"])
def engine(
    request: pytest.FixtureRequest, engine: Engine, environment: pytest.MonkeyPatch, saas_database_url: str
) -> Engine:
    """With either driver."""
    environment.setenv("DATABASE_URL", saas_database_url.replace("postgresql://", f"postgresql+{request.param}://"))
    forget()
    return engine


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What the function and the package log, with everything that a line carries."""
    handler = logging.StreamHandler(lines := StringIO())
    handler.setFormatter(LambdaPowertoolsFormatter())
    loggers = [logging.getLogger(name) for name in ("process-webhook", "qstash_jobs")]
    for logger in loggers:
        logger.addHandler(handler)
    yield lines
    for logger in loggers:
        logger.removeHandler(handler)


def job() -> ProcessWebhook:
    document = sample("resend/bounced")
    document["data"]["to"] = [SECRET]
    return ProcessWebhook(source="resend", event=document["type"], event_id="msg_1", data=document)


def strike(worker: Worker, table: str, how: str, when: str = "") -> None:
    """Let the next row of a table end in this way."""
    worker.ask(
        f"CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {DEATHS[how]} END $f$".replace(
            ":", r"\:"
        )
    )
    worker.ask(f"CREATE TRIGGER strike BEFORE INSERT ON {table} FOR EACH ROW {when} EXECUTE FUNCTION strike()")


def said(worker: Worker, log: StringIO) -> str:
    """Everything that people may read of the first attempt."""
    [(attempt,)] = worker.ask("SELECT to_jsonb(a) FROM job_attempts AS a")
    [(row,)] = worker.ask("SELECT to_jsonb(e) - 'payload' FROM job_executions AS e WHERE attempts > 0")
    assert row["error"]
    assert "Job will be retried" in log.getvalue()
    return f"{attempt} {row} {log.getvalue()}"


@pytest.mark.parametrize("how", DEATHS)
def test_a_statement_s_values_are_not_told(engine: Engine, log: StringIO, how: str) -> None:
    """Neither in the record nor in the log; that it failed, and at what, is."""
    worker = Worker(serve(ProcessWebhook, processing.process), engine)
    strike(worker, "email_deliveries", how)

    assert worker.deliver(job(), create_test_job(job())).outcome == "failed_attempt"

    told = said(worker, log)
    assert "email_deliveries" in told
    assert SECRET not in told


@pytest.mark.parametrize("how", DEATHS)
def test_a_job_that_could_not_be_enqueued_is_not_told(engine: Engine, log: StringIO, how: str) -> None:
    """Its payload is part of the statement."""

    def enqueuing(_payload: ProcessWebhook, run: Run) -> None:
        with run.connection() as connection:
            enqueue(WelcomeData(recipient_name="Ada").addressed(SECRET), connection=connection)

    worker = Worker(serve(ProcessWebhook, enqueuing), engine)
    job_id = create_test_job(job())
    strike(worker, "job_executions", how, "WHEN (NEW.job_type = 'send-email')")

    assert worker.deliver(job(), job_id).outcome == "failed_attempt"

    assert SECRET not in said(worker, log)
