"""Databases with the starter's tables, and without any."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from infra.migrations import migrate
from tests.integration.cli.conftest import Jobs
from tests.schema import engine_of


@pytest.fixture
def empty(empty_database_url: str) -> Engine:
    """An engine on a database without any table."""
    return engine_of(empty_database_url)


@pytest.fixture
def recorded(database_url: str) -> Engine:
    """An engine on the record's tables alone."""
    return engine_of(database_url)


@pytest.fixture
def started(recorded: Engine) -> Engine:
    """An engine on the record's tables and the starter's."""
    with recorded.begin() as connection:
        migrate(connection, saas=True)
    return recorded


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Jobs:
    """The command, away from any desk of this checkout."""
    monkeypatch.chdir(tmp_path)
    return Jobs(monkeypatch, capsys)
