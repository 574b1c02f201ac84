"""The whole desk, as `make dev` runs it, with time compressed: real processes, real HTTP, real signatures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from infra.local.desk import Desk, Ports, declare_schedules
from qstash_jobs.database import database
from qstash_jobs.errors import DatabaseUnreachable
from qstash_jobs.settings import Settings
from tests.conftest import forget
from tests.waiting import until

TIME_SCALE = 20.0

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 20_000


@dataclass
class World:
    """The desk that runs, what its parts wrote, and what the record says."""

    desk: Desk
    lines: list[tuple[str, str]] = field(default_factory=list)

    def row(self, job_id: UUID) -> dict[str, Any]:
        """The execution, as SQL shows it."""
        found: dict[str, Any] = self.run(f"SELECT to_jsonb(e) FROM job_executions e WHERE job_id = '{job_id}'")[0][0]
        return found

    def outcomes(self, job_id: UUID) -> list[str | None]:
        """How its attempts ended, in order."""
        return [r[0] for r in self.run(f"SELECT outcome FROM job_attempts WHERE job_id = '{job_id}' ORDER BY attempt")]

    def status(self, job_id: UUID) -> str:
        """Where the execution stands."""
        return str(self.row(job_id)["status"])

    def run(self, sql: str) -> list[Any]:
        """One statement on the desk's database, which may just be coming back."""
        while True:
            try:
                return list(database().run_pooled(sql))
            except DatabaseUnreachable:
                time.sleep(0.05)

    def pass_time_until(self, condition: Callable[[], object]) -> None:
        """Let QStash's longer backoffs be over, half an hour at a time, until the condition holds."""
        for _ in range(10):
            httpx.post(
                f"{self.desk.environment['QSTASH_URL']}/admin/advance",
                params={"seconds": 1900},
                headers={"Authorization": f"Bearer {self.desk.environment['QSTASH_TOKEN']}"},
            ).raise_for_status()
            with contextlib.suppress(AssertionError):
                return until(condition, timedelta(seconds=4))  # a lease that has not ended may come before
        return until(condition)

    def wait(self, job_id: UUID, *statuses: str, within: timedelta = timedelta(seconds=60)) -> dict[str, Any]:
        """The row once it is in one of these statuses."""
        until(lambda: self.status(job_id) in statuses, within, lambda: str(self.row(job_id)))
        return self.row(job_id)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One desk for all tests of a run."""
    lines: list[tuple[str, str]] = []
    desk = Desk(
        tmp_path_factory.mktemp("desk"),
        ports=Ports(0, 0, 0, 0),
        time_scale=TIME_SCALE,
        log=lambda part, line: lines.append((part, line)),
        postgres_settings={"fsync": "off"},  # a crash of the server, not of the machine, must lose nothing
        given={
            "JOBS_LEASE_GRACE": "1",
            "JOBS_DELIVERY_GRACE": "3",
            "JOBS_PUBLICATION_DELAY": "5",
        },
    )
    with desk:
        yield World(desk, lines)
        assert desk.postgres is not None
        desk.postgres.remove()


@pytest.fixture
def world(stack: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The desk, with this process's settings leading to it."""
    for setting in Settings.model_fields.values():
        monkeypatch.delenv(str(setting.alias), raising=False)
    for name, value in stack.desk.environment.items():
        monkeypatch.setenv(name, value)
    forget()
    declare_schedules()
    with stack.desk.relay():
        yield stack
    forget()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """The system's Chromium. Not for the whole run: while it is there, asyncio is playwright's."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()
