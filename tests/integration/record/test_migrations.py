"""The migrations: up, down and up again, alone and beside others, and what they make is what the models say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, inspect, text

from infra.local.postgres import EmbeddedPostgres
from infra.migrations import VERSION_TABLE, migrate, pending, revert
from qstash_jobs.database import Database
from qstash_jobs.dispatch import uuid7
from qstash_jobs.executions import outbox, queries, store, upkeep
from qstash_jobs.executions.outbox import NewExecution
from qstash_jobs.executions.state import Status
from qstash_jobs.executions.tables import metadata
from tests.conftest import FAST
from tests.schema import engine_of, schema_of

OURS = {"job_executions", "job_attempts", "job_actions", VERSION_TABLE}


@pytest.fixture
def empty(empty_database_url: str) -> Engine:
    """An engine on a database without any table."""
    return engine_of(empty_database_url)


@pytest.fixture
def migrated(database_url: str) -> Engine:
    """An engine on the record's tables."""
    return engine_of(database_url)


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def functions(connection: Connection) -> set[str]:
    found = connection.execute(text("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"))
    return set(found.scalars())


schema = partial(schema_of, OURS - {VERSION_TABLE})


def test_up_down_and_up_again(empty: Engine) -> None:
    """Down leaves nothing but the table of versions, and up makes the same again."""
    with empty.connect() as connection:
        assert pending(connection) == ["jobs_0001"]
        migrate(connection)
        connection.commit()
        assert (tables(connection), pending(connection)) == (OURS, [])
        first = schema(connection)
        revert(connection, "base")
        connection.commit()
        assert (tables(connection), functions(connection)) == ({VERSION_TABLE}, set())
        assert pending(connection) == ["jobs_0001"]
        migrate(connection)
        connection.commit()
        assert schema(connection) == first


def test_a_second_time_changes_nothing(migrated: Engine) -> None:
    """Every deployment migrates."""
    with migrated.connect() as connection:
        before = schema(connection)
        migrate(connection)
        connection.commit()
        assert schema(connection) == before


def test_a_migration_that_is_not_committed_leaves_nothing(empty: Engine) -> None:
    """It is one transaction."""
    with empty.connect() as connection:
        migrate(connection)
        connection.rollback()
        assert tables(connection) == set()


def test_models_and_migrations_agree_as_alembic_sees_them(migrated: Engine) -> None:
    """`alembic revision --autogenerate` would find nothing to do."""
    with migrated.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_models_and_migrations_agree_as_postgres_sees_them(migrated: Engine, empty: Engine) -> None:
    """Also in what Alembic does not compare: checks, predicates of indexes, order of columns, comments."""
    with empty.begin() as modelled, migrated.connect() as connection:
        metadata.create_all(modelled)
        for part, expected in schema(modelled).items():
            assert schema(connection)[part] == expected


def test_two_at_once(empty: Engine) -> None:
    """Four deployments migrate one after the other; each finds it done."""

    def deploy(_number: int) -> list[str]:
        with empty.begin() as connection:
            migrate(connection)
            return pending(connection)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(deploy, range(4))) == [[]] * 4


def test_an_apps_own_alembic_is_not_disturbed(empty: Engine) -> None:
    """Its tables, and its table of versions, are as before, up and down."""
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('abc123')"))
        connection.execute(text("CREATE TABLE users (id int)"))
    for step in (migrate, lambda connection: revert(connection, "base")):
        with empty.begin() as connection:
            step(connection)
        with empty.connect() as connection:
            assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["abc123"]
            assert {"users", "alembic_version"} <= tables(connection)


def test_through_the_packages_own_engine(empty_database_url: str) -> None:
    """As `jobs migrate` runs it, over pg8000."""
    database = Database(empty_database_url, timedelta(seconds=5))
    with database.engine.begin() as connection:
        migrate(connection)
    with database.engine.connect() as connection:
        assert tables(connection) == OURS
    database.close()


def test_on_postgres_16(tmp_path_factory: pytest.TempPathFactory, migrated: Engine) -> None:
    """The same tables, and a job's whole life on them."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres16") / "server", version=16, settings=FAST)
    server.start()
    try:
        database = Database(server.url(), timedelta(seconds=5))
        with database.engine.begin() as connection:
            migrate(connection)
        with database.engine.connect() as connection, migrated.connect() as newest:
            # 18 writes NOT NULL down as constraints of their own, 16 as a property of the column.
            of_16, of_18 = schema(connection), schema(newest)
            of_18["constraints"] = [row for row in of_18["constraints"] if not row[2].startswith("NOT NULL")]
            assert of_16 == of_18
        live_and_die(database)
        with database.engine.begin() as connection:
            revert(connection, "base")
        database.close()
    finally:
        server.remove()


def live_and_die(database: Database) -> None:
    """Every statement of a job's life once."""
    run = database.run_pooled
    job_id = uuid7()
    new = NewExecution(job_id=job_id, job_type="probe", payload={}, budget=1, idempotency_key="k")
    assert outbox.insert(run, [new]) == {job_id}
    assert outbox.by_idempotency_key(run, [("probe", "k")]) == {("probe", "k"): job_id}
    [due] = outbox.due(run, timedelta(0), timedelta(0), 1)
    outbox.confirm(run, [(due, "msg_1")])
    arrival = store.Arrival(
        job_id=job_id,
        job_types=("probe",),
        generation=1,
        publication=1,
        lease_owner=uuid7(),
        lease=timedelta(0),
        message_id="msg_1",
        request_id=None,
        cold_start=False,
        new=None,
    )
    assert store.start(run, arrival) is not None
    assert [job.status for job in upkeep.reap(run, timedelta(0), 1)] == [Status.FAILED]
    assert [failure.error_type for failure in upkeep.unnotified(run, 1)] == ["Lost"]
    assert store.requeue(run, [job_id], "test") == {job_id: Status.FAILED}
    cancelled = store.cancel(run, job_id, "test")
    assert cancelled is not None
    assert cancelled.status is Status.CANCELLED
    with database.engine.connect() as connection:
        execution = queries.get(connection, job_id)
        assert execution is not None
        assert (execution.generation, execution.status) == (2, Status.CANCELLED)
        assert queries.health(connection).waiting == 0
        assert queries.counts(connection) == {"probe": {Status.CANCELLED: 1}}
        assert len(queries.attempts(connection, job_id)) == 1
        assert len(queries.actions(connection, job_id)) == 2
