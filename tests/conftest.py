"""What every test may ask for: a real Postgres, migrated once and copied for each test, and settings for it."""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
from collections.abc import Generator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from infra.build.artifacts import Artifacts
from infra.build.builder import build
from infra.build.platform import this_machine
from infra.local.postgres import EmbeddedPostgres
from infra.local.qstash import QStashServer
from infra.local.s3 import make_bucket
from infra.migrations import migrate
from qstash_jobs import bucket as bucket_module
from qstash_jobs import database as database_module
from qstash_jobs import relay, secrets
from qstash_jobs.bucket import Bucket
from qstash_jobs.database import Database
from qstash_jobs.settings import Settings, settings

CURRENT_KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
NEXT_KEY = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
FUNCTIONS_URL = "http://127.0.0.1:9"

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
_names = itertools.count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One server for the whole run, with a migrated template."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "server", settings=FAST)
    server.start()
    try:
        _admin(server, "CREATE DATABASE template_jobs")
        engine = engine_for(server.url("template_jobs"))
        with engine.begin() as connection:
            migrate(connection)
        engine.dispose()
        yield server
    finally:
        server.remove()


def engine_for(url: str, *, pooled: bool = True) -> Engine:
    """An engine of SQLAlchemy's own for a test's own questions."""
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=None if pooled else NullPool)


def _admin(server: EmbeddedPostgres, statement: str) -> None:
    engine = engine_for(server.url())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database of this test alone, with the record's tables, empty."""
    name = f"test_{os.getpid()}_{next(_names)}"
    _admin(postgres, f"CREATE DATABASE {name} TEMPLATE template_jobs STRATEGY file_copy")
    yield postgres.url(name)
    _admin(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def saas_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database with the record's tables and the starter's, to copy."""
    _admin(postgres, "CREATE DATABASE template_saas TEMPLATE template_jobs STRATEGY file_copy")
    engine = engine_for(postgres.url("template_saas"))
    with engine.begin() as connection:
        migrate(connection, saas=True)
    engine.dispose()
    return "template_saas"


@pytest.fixture
def saas_database_url(postgres: EmbeddedPostgres, saas_template: str) -> Iterator[str]:
    """A database of this test alone, with the record's tables and the starter's, empty."""
    name = f"test_{os.getpid()}_{next(_names)}"
    _admin(postgres, f"CREATE DATABASE {name} TEMPLATE {saas_template} STRATEGY file_copy")
    yield postgres.url(name)
    _admin(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database of this test alone, without any table."""
    name = f"test_{os.getpid()}_{next(_names)}"
    _admin(postgres, f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres.url(name)
    _admin(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The settings of a desk, in this process; set further ones with it before the first use."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    for name, value in {
        "DATABASE_URL": database_url,
        "QSTASH_URL": "http://127.0.0.1:9",
        "QSTASH_TOKEN": "token",
        "QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY,
        "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY,
        "JOBS_BASE_URL": FUNCTIONS_URL,
        "JOBS_PROBE": "true",
    }.items():
        monkeypatch.setenv(name, value)
    forget()
    yield monkeypatch
    forget()


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """S3, by moto's server, for the whole run."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(s3_url: str, environment: pytest.MonkeyPatch) -> Bucket:
    """A bucket of this test alone, as the package uses it, and a key for links to its files."""
    name = f"test-{next(_names)}"
    for variable, value in {
        "JOBS_BUCKET": name,
        "JOBS_LINK_KEY": "a-key-for-tests-and-for-nothing-else",
        "AWS_ENDPOINT_URL_S3": s3_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        environment.setenv(variable, value)
    make_bucket(s3_url, name)
    forget()
    return bucket_module.bucket()


AT_AWS = (secrets.kept, secrets.published)


def forget() -> None:
    """Let this process read its settings anew, and close what it had open, once nobody uses it any more."""
    relay.publisher.flush(timedelta(seconds=20))
    if database_module.database.cache_info().currsize:
        database_module.database().close()
    if relay.qstash.cache_info().currsize:
        relay.qstash().close()
    if bucket_module.bucket.cache_info().currsize:
        bucket_module.bucket().client.close()
    for cached in (*AT_AWS, settings, database_module.database, relay.qstash, bucket_module.bucket):
        cached.cache_clear()


@pytest.fixture
def database(environment: pytest.MonkeyPatch) -> Database:
    """The database as the package uses it."""
    return database_module.database()


@pytest.fixture
def qstash(environment: pytest.MonkeyPatch) -> Iterator[QStashServer]:
    """The local QStash server; nothing listens where it would deliver."""
    with QStashServer() as server:
        environment.setenv("QSTASH_URL", server.url)
        environment.setenv("QSTASH_TOKEN", server.token)
        forget()
        yield server
        forget()


@pytest.fixture(scope="session")
def artifacts() -> Artifacts:
    """What `make build` makes of this checkout, for this machine's kind of processor; kept for the next run."""
    architecture = this_machine()
    folder = ROOT / "build" / "tests" / architecture
    build(ROOT, architecture=architecture, into=folder)
    return Artifacts.of(ROOT, folder)


CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where the system's Chromium is; in CI a browser test without one fails instead of being skipped."""
    if CHROMIUM is not None:
        return CHROMIUM
    if os.environ.get("CI"):
        pytest.fail("no Chromium on this machine, and CI is to have one: apt-get install chromium")
    pytest.skip("NO CHROMIUM: the browser tests are skipped; install one with: apt-get install chromium")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What hostile tests had logged must be text that one process can send to another."""
    report = yield
    report.sections = [(title, text.encode(errors="replace").decode()) for title, text in report.sections]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not looked at."""
    if CHROMIUM is None:
        terminalreporter.write_line("NO CHROMIUM FOUND: browser tests were skipped", yellow=True, bold=True)
    if PGBOUNCER is None:
        terminalreporter.write_line("NO PGBOUNCER FOUND: nothing was tested behind a pooler", yellow=True, bold=True)
    ran = [one.nodeid for one in terminalreporter.getreports("passed")]
    if RUNTIME_TIMES.exists() and any(name.startswith("tests/runtime/") for name in ran):
        terminalreporter.section("Lambda's runtime, emulated: ms, cold and warm (medians)")
        for name, times in json.loads(RUNTIME_TIMES.read_text()).items():
            terminalreporter.write_line(f"{name:20} {times['cold']:8.0f} {times['warm'] or 0:8.1f}")


ROOT = Path(__file__).parent.parent
RUNTIME_TIMES = ROOT / "build" / "runtime.json"
"""What cold starts and warm deliveries took in the runtime tests, of the last run of each function."""
