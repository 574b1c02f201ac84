"""What attacks need: a function to deliver to, the record, and stand-ins that misbehave as told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from qstash_jobs.telemetry import Telemetry
from tests.conftest import forget
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.postgres.conftest import Wire
from tests.integration.serving.conftest import function, job_id, record

__all__ = ["function", "job_id", "record"]


@pytest.fixture
def telemetry() -> Telemetry:
    """Logs and metrics of a test."""
    return Telemetry("test", "Test")


@pytest.fixture
def qstash(environment: pytest.MonkeyPatch) -> Iterator[QStashStandIn]:
    """A stand-in for QStash, which this process's settings lead to."""
    with QStashStandIn() as stand_in:
        environment.setenv("QSTASH_URL", stand_in.url)
        forget()
        yield stand_in
        forget()


@pytest.fixture
def wire(environment: pytest.MonkeyPatch, database_url: str) -> Iterator[Wire]:
    """A wire to this test's database that can be cut or blocked, which this process's settings lead through."""
    folder = parse_qs(urlsplit(database_url).query)["host"][0]
    made = Wire(str(Path(folder) / ".s.PGSQL.5432"))
    environment.setenv("DATABASE_URL", made.url(database_url))
    forget()
    yield made
    forget()
    made.close()
