"""A QStash to publish to, one database for all tests of this folder, and questions about what the record says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import Connection, Engine, NullPool, create_engine, text

from infra.local.postgres import EmbeddedPostgres
from qstash_jobs import relay
from qstash_jobs.database import Database
from qstash_jobs.settings import settings
from qstash_jobs.telemetry import Telemetry
from tests.conftest import engine_for
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.serving.conftest import Function, Record

DATABASE = "dispatch"
PATIENCE = timedelta(seconds=20)


@pytest.fixture(scope="session")
def emptied_engine(postgres: EmbeddedPostgres) -> Iterator[Engine]:
    """Onto a database that these tests share one after the other: emptying is faster than making."""
    admin = engine_for(postgres.url())
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {DATABASE} TEMPLATE template_jobs STRATEGY file_copy"))
    admin.dispose()  # until the end: some of these tests end every connection that there is
    engine = engine_for(postgres.url(DATABASE), pooled=False)  # none of its connections outlives a test that ends all
    yield engine
    engine.dispose()
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DROP DATABASE {DATABASE} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, emptied_engine: Engine) -> str:
    """The record's tables, empty."""
    with emptied_engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        connection.execute(text("TRUNCATE job_executions, job_attempts, job_actions"))
    return postgres.url(DATABASE)


@pytest.fixture
def qstash() -> Iterator[QStashStandIn]:
    """What stands in for QStash."""
    with QStashStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def environment(environment: pytest.MonkeyPatch, qstash: QStashStandIn) -> Iterator[pytest.MonkeyPatch]:
    """The settings of a desk whose QStash is the stand-in."""
    environment.setenv("QSTASH_URL", qstash.url)
    yield environment
    assert relay.publisher.flush(PATIENCE), "the publisher found no end"
    reread()


def reread() -> None:
    """Let this process read its settings anew; the database stays as it is."""
    if relay.qstash.cache_info().currsize:
        relay.qstash().close()
    for cached in (settings, relay.qstash):
        cached.cache_clear()


@pytest.fixture
def hurried(environment: pytest.MonkeyPatch) -> None:
    """Every wait that the record owns is a thousandth of what it is; ask for it before the database."""
    environment.setenv("JOBS_TIME_SCALE", "1000")


@pytest.fixture
def record(database: Database) -> Record:
    """The rows, as SQL shows them."""
    return Record(database)


@pytest.fixture
def function(database: Database) -> Function:
    """A function to deliver to."""
    return Function()


@pytest.fixture
def telemetry() -> Telemetry:
    """Logs and metrics of a test."""
    return Telemetry("test", "Test")


def engine_of(driver: str, database_url: str) -> Engine:
    """An app's own engine over a driver; the socket is named as each driver wants it."""
    return create_engine(sqlalchemy_url(driver, database_url), poolclass=NullPool)


def sqlalchemy_url(driver: str, database_url: str) -> str:
    """The test's database as SQLAlchemy's URL for a driver."""
    parts = urlsplit(database_url)
    folder = parse_qs(parts.query)["host"][0]
    where = f"unix_sock={Path(folder) / '.s.PGSQL.5432'}" if driver == "pg8000" else f"host={folder}"
    return f"postgresql+{driver}://postgres@{parts.path}?{where}"


@pytest.fixture(params=["pg8000", "psycopg"])
def app(request: pytest.FixtureRequest, record: Record, database_url: str) -> Iterator[Engine]:
    """An app's engine, over each synchronous driver."""
    engine = engine_of(request.param, database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def psycopg_app(record: Record, database_url: str) -> Iterator[Engine]:
    """An app's engine, where the driver makes no difference."""
    engine = engine_of("psycopg", database_url)
    yield engine
    engine.dispose()


def await_that(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds. Raises AssertionError when it does not within `PATIENCE`."""
    until = time.monotonic() + PATIENCE.total_seconds()
    while not condition():
        assert time.monotonic() < until, f"not within {PATIENCE}: {what}"
        time.sleep(0.005)


def published() -> None:
    """Wait until the publisher has done what it was woken for."""
    assert relay.publisher.flush(PATIENCE)


def count(connection: Connection, table: str = "job_executions") -> int:
    """How many rows a transaction sees."""
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
