"""The two FastAPI services of the how-to, served and called."""

from __future__ import annotations

import asyncio
import inspect
from types import ModuleType

import httpx
import pytest

from qstash_jobs.database import Database
from tests.conftest import ROOT
from tests.docs.conftest import Load
from tests.docs.pages import snippets

PAGE = ROOT / "docs/enqueue-from-fastapi.md"
ADA = {"name": "Ada", "email": "ada@example.com"}


@pytest.fixture(params=[0, 1], ids=["sync", "async"])
def service(request: pytest.FixtureRequest, load: Load, app_database_url: str, database: Database) -> ModuleType:
    """One of them, which has its table of users."""
    database.run_pooled("CREATE TABLE users (id bigserial PRIMARY KEY, name text, email text UNIQUE)")
    return load(f"service_{request.param}", [snippets(PAGE, "python")[request.param]])


async def sign_up(service: ModuleType, times: int) -> list[httpx.Response]:
    """The service's answers to the same user."""
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        answers = [await client.post("/users", json=ADA) for _ in range(times)]
    if inspect.isawaitable(closing := service.engine.dispose()):
        await closing
    return answers


def jobs(database: Database) -> list[tuple[object, ...]]:
    """What was enqueued."""
    rows = database.run_pooled("SELECT job_id::text, job_type, user_id, payload->>'to', status FROM job_executions")
    return [tuple(row) for row in rows]


def test_signing_up_enqueues_a_mail(service: ModuleType, database: Database) -> None:
    """The user and the job are there when the answer is."""
    (answer,) = asyncio.run(sign_up(service, 1))
    assert answer.status_code == 201, answer.text
    assert jobs(database) == [(answer.json()["jobId"], "send-email", 1, "ada@example.com", "pending")]


def test_a_sign_up_that_fails_enqueues_nothing(service: ModuleType, database: Database) -> None:
    """The second user of one address is refused, and gets no mail."""
    first, second = asyncio.run(sign_up(service, 2))
    assert first.status_code == 201
    assert second.status_code in {409, 500}
    assert len(jobs(database)) == 1
