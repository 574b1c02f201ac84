"""Jobs that join the caller's transaction: they share its fate, and are published after its commit."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pg8000.dbapi
import psycopg
import pytest
from sqlalchemy import Connection, Engine, NullPool, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from infra.local.postgres import EmbeddedPostgres
from infra.migrations import migrate
from qstash_jobs import relay
from qstash_jobs.database import Database
from qstash_jobs.dispatch import enqueue, enqueue_async, enqueue_many, publish
from qstash_jobs.dsn import Dsn
from qstash_jobs.jobs.probe import Probe
from tests.conftest import FAST
from tests.integration.dispatch.conftest import await_that, engine_of, published, sqlalchemy_url
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.serving.conftest import Record


def rows(record: Record) -> set[UUID]:
    return {row[0] for row in record.run("SELECT job_id FROM job_executions")}


def sent(qstash: QStashStandIn) -> list[UUID]:
    return [UUID(message.envelope["jobId"]) for message in qstash.messages]


def enqueue_and_fail(connection: object) -> None:
    enqueue(Probe(), connection=connection)
    raise ZeroDivisionError


def test_a_commit_publishes(app: Engine, qstash: QStashStandIn, record: Record) -> None:
    """Before it nobody sees the row and no message goes out; soon after it the message is there, and confirmed."""
    with app.begin() as connection:
        job_id = enqueue(Probe(), connection=connection)
        assert rows(record) == set()
        assert qstash.requests == []
    published()
    assert (rows(record), sent(qstash)) == ({job_id}, [job_id])
    assert record.row(job_id)["message_id"] == qstash.messages[0].message_id


def test_a_rollback_leaves_nothing(app: Engine, qstash: QStashStandIn, record: Record) -> None:
    """Neither a row nor a message, also when the transaction's end is an exception."""
    with pytest.raises(ZeroDivisionError), app.begin() as connection:
        enqueue_and_fail(connection)
    published()
    assert (rows(record), qstash.requests) == (set(), [])


def test_a_connection_that_is_closed_without_commit_leaves_nothing(
    app: Engine, qstash: QStashStandIn, record: Record
) -> None:
    """Closing rolls back."""
    with app.connect() as connection:
        enqueue(Probe(), connection=connection)
    published()
    assert (rows(record), qstash.requests) == (set(), [])


def test_a_savepoint_rolled_back_takes_its_jobs_with_it(app: Engine, qstash: QStashStandIn, record: Record) -> None:
    """The job inside is gone; those before and after it are published."""
    with app.begin() as connection:
        before = enqueue(Probe(), connection=connection)
        savepoint = connection.begin_nested()
        enqueue(Probe(), connection=connection)
        savepoint.rollback()
        with connection.begin_nested():
            inside = enqueue(Probe(), connection=connection)
        after = enqueue(Probe(), connection=connection)
    published()
    assert {before, inside, after} == rows(record) == set(sent(qstash))


def test_a_savepoint_released_and_then_rolled_back_leaves_nothing(
    app: Engine, qstash: QStashStandIn, record: Record
) -> None:
    """A savepoint's release is no commit."""
    with app.connect() as connection, connection.begin() as transaction:
        with connection.begin_nested():
            enqueue(Probe(), connection=connection)
        transaction.rollback()
    published()
    assert (rows(record), qstash.requests) == (set(), [])


def test_a_commit_that_fails_leaves_nothing(
    psycopg_app: Engine, qstash: QStashStandIn, record: Record, environment: pytest.MonkeyPatch
) -> None:
    """The hook fires before COMMIT is sent: what is refused then was never committed, and is not published."""
    environment.setattr(relay, "_VISIBLE_WITHIN_SECONDS", 0.2)
    with psycopg_app.begin() as connection:
        connection.execute(text("CREATE TEMP TABLE one (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        with pytest.raises(IntegrityError):
            _enqueue_and_break_the_commit(connection)
    published()
    assert (rows(record), qstash.requests) == (set(), [])


def _enqueue_and_break_the_commit(connection: Connection) -> None:
    enqueue(Probe(), connection=connection)
    connection.execute(text("INSERT INTO one VALUES (1), (1)"))
    connection.commit()


def test_a_connection_is_used_for_a_second_transaction(app: Engine, qstash: QStashStandIn, record: Record) -> None:
    """Each transaction publishes its own jobs, once; one that was rolled back between them publishes none."""
    with app.connect() as connection:
        first = enqueue(Probe(), connection=connection)
        connection.commit()
        enqueue(Probe(), connection=connection)
        connection.rollback()
        second = enqueue(Probe(), connection=connection)
        connection.commit()
    published()
    assert rows(record) == {first, second}
    assert sorted(sent(qstash)) == [first, second]


def test_a_two_phase_commit_publishes_after_its_second_phase(
    postgres_with_prepared_transactions: Engine, qstash: QStashStandIn, database: Database
) -> None:
    """Prepared is not committed: the message goes out after COMMIT PREPARED."""
    record = Record(database)
    with postgres_with_prepared_transactions.connect() as connection:
        transaction = connection.begin_twophase()
        job_id = enqueue(Probe(), connection=connection)
        transaction.prepare()
        assert (rows(record), qstash.requests) == (set(), [])
        transaction.commit()
        published()
        assert (rows(record), sent(qstash)) == ({job_id}, [job_id])
        transaction = connection.begin_twophase()
        enqueue(Probe(), connection=connection)
        transaction.prepare()
        transaction.rollback()
    published()
    assert sent(qstash) == [job_id]


def test_autocommit_leaves_the_message_to_the_relay(
    hurried: None, psycopg_app: Engine, qstash: QStashStandIn, record: Record
) -> None:
    """There is no transaction to join and no commit to hear of: the row is there at once."""
    with psycopg_app.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        job_id = enqueue(Probe(), connection=connection)
        assert rows(record) == {job_id}
    assert qstash.requests == []
    await_that(lambda: relay.publish_due(record.database.run_pooled), "the relay finds it")
    assert sent(qstash) == [job_id]


def test_nothing_of_a_connection_is_kept(psycopg_app: Engine, record: Record) -> None:
    """Listening to a connection does not keep it: a service has a new one for each request."""
    connection = psycopg_app.connect()
    enqueue(Probe(), connection=connection)
    connection.commit()
    connection.close()
    published()
    kept = weakref.ref(connection)
    del connection
    gc.collect()
    assert kept() is None


class TestSessions:
    """Sessions of SQLAlchemy's ORM."""

    def test_a_session_commits(self, app: Engine, qstash: QStashStandIn, record: Record) -> None:
        """`Session.begin()` publishes at its end; the same session does so again."""
        with Session(app) as session:
            with session.begin():
                first = enqueue(Probe(), connection=session)
            with session.begin():
                second = enqueue(Probe(), connection=session)
        published()
        assert sorted(sent(qstash)) == [first, second]

    def test_a_scoped_session_is_a_session(self, psycopg_app: Engine, qstash: QStashStandIn, record: Record) -> None:
        """As web frameworks hand it out."""
        session = scoped_session(sessionmaker(psycopg_app))
        job_id = enqueue(Probe(), connection=session)
        session.commit()
        session.remove()
        published()
        assert sent(qstash) == [job_id]

    def test_a_session_rolls_back(self, app: Engine, qstash: QStashStandIn, record: Record) -> None:
        """Nothing is left, and the session's next transaction publishes only its own."""
        with Session(app) as session:
            enqueue(Probe(), connection=session)
            session.rollback()
            job_id = enqueue(Probe(), connection=session)
            session.commit()
        published()
        assert rows(record) == {job_id} == set(sent(qstash))

    def test_a_nested_transaction_is_a_savepoint(self, app: Engine, qstash: QStashStandIn, record: Record) -> None:
        """`begin_nested` inside a session: after its rollback the job inside is gone, the others are there."""
        with Session(app) as session, session.begin():
            kept = enqueue(Probe(), connection=session)
            with pytest.raises(ZeroDivisionError), session.begin_nested():
                enqueue_and_fail(session)
            with session.begin_nested():
                also_kept = enqueue(Probe(), connection=session)
            assert qstash.requests == []
        published()
        assert {kept, also_kept} == rows(record) == set(sent(qstash))

    @pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only", "create_savepoint", "control_fully"])
    def test_an_external_transaction_decides(
        self, psycopg_app: Engine, qstash: QStashStandIn, record: Record, mode: Any
    ) -> None:
        """A session inside a transaction of somebody else's publishes when that is committed, and not before."""
        with psycopg_app.connect() as connection:
            transaction = connection.begin()
            with Session(connection, join_transaction_mode=mode) as session:
                job_id = enqueue(Probe(), connection=session)
                session.commit()
            if mode != "control_fully":
                assert (rows(record), qstash.requests) == (set(), [])
                transaction.commit()
        published()
        assert (rows(record), sent(qstash)) == ({job_id}, [job_id])

    def test_an_external_transaction_rolled_back_leaves_nothing(
        self, psycopg_app: Engine, qstash: QStashStandIn, record: Record
    ) -> None:
        """As in test suites that wrap each test: the session's commit publishes nothing."""
        with psycopg_app.connect() as connection:
            transaction = connection.begin()
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                enqueue(Probe(), connection=session)
                session.commit()
            transaction.rollback()
        published()
        assert (rows(record), qstash.requests) == (set(), [])


class TestAsyncio:
    """asyncpg, and psycopg's asynchronous side, through SQLAlchemy."""

    @pytest.fixture(params=["asyncpg", "psycopg"])
    def in_transaction(
        self, request: pytest.FixtureRequest, record: Record, database_url: str
    ) -> Callable[[Callable[[Any], Any], bool, bool], Any]:
        """Run a coroutine function with a connection or a session in a transaction, and end that."""

        async def within(step: Callable[[Any], Any], session: bool, commit: bool) -> Any:
            engine = create_async_engine(sqlalchemy_url(request.param, database_url), poolclass=NullPool)
            async with AsyncSession(engine) if session else engine.connect() as connection:
                found = await step(connection)
                await (connection.commit() if commit else connection.rollback())
            await engine.dispose()
            return found

        return lambda step, session, commit: asyncio.run(within(step, session, commit))

    @pytest.mark.parametrize("session", [False, True], ids=["connection", "session"])
    def test_commit_and_rollback(
        self, in_transaction: Callable[..., Any], session: bool, qstash: QStashStandIn, record: Record
    ) -> None:
        """What holds for synchronous callers holds for asynchronous ones."""

        async def step(connection: Any) -> UUID:
            return await enqueue_async(Probe(), connection=connection, idempotency_key="k")

        in_transaction(step, session, False)
        published()
        assert (rows(record), qstash.requests) == (set(), [])
        job_id = in_transaction(step, session, True)
        published()
        assert (rows(record), sent(qstash)) == ({job_id}, [job_id])
        assert in_transaction(step, session, True) == job_id

    def test_a_savepoint(self, in_transaction: Callable[..., Any], qstash: QStashStandIn, record: Record) -> None:
        """The job of a savepoint that is rolled back is gone, the other is there."""

        async def step(connection: Any) -> UUID:
            kept = await enqueue_async(Probe(), connection=connection)
            savepoint = await connection.begin_nested()
            await enqueue_async(Probe(), connection=connection)
            await savepoint.rollback()
            return kept

        kept = in_transaction(step, False, True)
        published()
        assert (rows(record), sent(qstash)) == ({kept}, [kept])

    def test_an_asynchronous_connection_needs_the_asynchronous_call(
        self, in_transaction: Callable[..., Any], record: Record
    ) -> None:
        """`enqueue` says so instead of leaving a coroutine that nobody awaits."""

        async def step(connection: Any) -> None:
            with pytest.raises(TypeError, match="enqueue_async"):
                enqueue(Probe(), connection=connection)

        for session in (False, True):
            in_transaction(step, session, True)
        assert rows(record) == set()


def test_a_driver_s_own_asynchronous_connection_is_refused(record: Record, database_url: str) -> None:
    """Its statements would be coroutines that nobody awaits, and the job would be lost without a word."""

    async def step() -> None:
        connection = await psycopg.AsyncConnection.connect(database_url.replace("+psycopg", ""))
        async with connection:
            with pytest.raises(TypeError, match="SQLAlchemy"):
                enqueue(Probe(), connection=connection)
            with pytest.raises(TypeError, match="SQLAlchemy"):
                await enqueue_async(Probe(), connection=connection)

    asyncio.run(step())
    assert rows(record) == set()


class TestDbapi:
    """Plain connections of drivers, which tell nobody when they commit."""

    @pytest.fixture(params=["pg8000", "psycopg"])
    def connection(self, request: pytest.FixtureRequest, record: Record, database_url: str) -> Iterator[Any]:
        dsn = Dsn.parse(database_url)
        if request.param == "psycopg":
            opened: Any = psycopg.connect(**dsn.psycopg(10))
        else:
            opened = pg8000.dbapi.connect(**dsn.pg8000(10))
        yield opened
        opened.close()

    def test_the_row_joins_and_the_relay_publishes(
        self, connection: Any, qstash: QStashStandIn, record: Record, environment: pytest.MonkeyPatch
    ) -> None:
        """After the commit the row waits for the relay, or for `publish`, which does it soon."""
        job_id = enqueue(Probe(), connection=connection, idempotency_key="100%")
        assert enqueue(Probe(), connection=connection, idempotency_key="100%") == job_id
        assert rows(record) == set()
        connection.commit()
        assert (rows(record), qstash.requests) == ({job_id}, [])
        publish([job_id])
        published()
        assert sent(qstash) == [job_id]

    def test_a_rollback_leaves_nothing(self, connection: Any, qstash: QStashStandIn, record: Record) -> None:
        """The connection can be used on."""
        enqueue_many([Probe(), Probe()], connection=connection)
        connection.rollback()
        assert rows(record) == set()
        job_id = enqueue(Probe(), connection=connection)
        connection.commit()
        assert rows(record) == {job_id}


class TestStatements:
    """How many statements a job adds to a transaction."""

    @pytest.fixture
    def statements(self, app: Engine) -> list[str]:
        seen: list[str] = []

        @event.listens_for(app, "before_cursor_execute")
        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            seen.append(statement)

        return seen

    def test_one_for_a_job(self, app: Engine, statements: list[str]) -> None:
        """The INSERT, and nothing else."""
        with app.begin() as connection:
            enqueue(Probe(), connection=connection)
            assert len(statements) == 1
            enqueue(Probe(), connection=connection, idempotency_key="new", delay=timedelta(hours=1), user_id=1)
            assert len(statements) == 2

    def test_two_for_a_known_key(self, app: Engine, statements: list[str]) -> None:
        """The INSERT that does nothing, and the read of the first job's id."""
        with app.begin() as connection:
            enqueue(Probe(), connection=connection, idempotency_key="k")
            statements.clear()
            enqueue(Probe(), connection=connection, idempotency_key="k")
        assert len(statements) == 2

    def test_one_for_many_jobs(self, app: Engine, statements: list[str]) -> None:
        """A thousand rows are one statement too."""
        with app.begin() as connection:
            enqueue_many([Probe()] * 1000, connection=connection)
        assert len(statements) == 1


@pytest.fixture
def postgres_with_prepared_transactions(
    tmp_path_factory: pytest.TempPathFactory, environment: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """A server of its own: this setting needs a restart."""
    settings = FAST | {"max_prepared_transactions": "5"}
    server = EmbeddedPostgres(tmp_path_factory.mktemp("prepared") / "server", settings=settings)
    server.start()
    try:
        environment.setenv("DATABASE_URL", server.url())
        engine = engine_of("psycopg", server.url())
        with engine.begin() as connection:
            migrate(connection)
        yield engine
        await_that(lambda: relay.publisher.flush(timedelta(seconds=1)), "the publisher is done")
        engine.dispose()
    finally:
        server.remove()
