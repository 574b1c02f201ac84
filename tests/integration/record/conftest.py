"""A connection to the record, and rows to ask about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from qstash_jobs.database import Database
from tests.integration.serving.conftest import Function, Record


@pytest.fixture
def record(database: Database) -> Record:
    """The rows, as SQL shows them."""
    return Record(database)


@pytest.fixture
def function(database: Database) -> Function:
    """A function to deliver to."""
    return Function()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """As the CLI and the dashboard have one."""
    with database.engine.connect() as opened:
        yield opened
