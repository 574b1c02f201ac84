"""Connections to Postgres: one kept open for a function's deliveries, a pool for an app service, an engine for people.

Writes travel as one message of the simple protocol, which Postgres runs as one transaction: one round trip, also
behind a transaction pooler, where parameterised statements outside a transaction can return another client's rows.
"""

from __future__ import annotations

import functools
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qstash_jobs.drivers import DRIVERS, Copied, Row
from qstash_jobs.dsn import Dsn
from qstash_jobs.errors import ConfigurationError, DatabaseUnreachable, JobsError, StatementRefused
from qstash_jobs.settings import settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import QueuePool

Runner = Callable[[str], list[Row]]
"""Runs one message of SQL and returns the rows of all its statements, in order."""

_AWAY = ("08", "53", "57P", "57014", "40001", "40P01", "55P03", "25006")
"""Beginnings of SQLSTATEs that say: not reachable, not able, or not in time. Anything else is about the statement.
Source: https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_LOST = ("08", "57P", "25006")
"""Those of them after which the connection is of no more use; 25006 (read only) says that it leads to a server which has
become a replica: after a failover, a new connection leads to the one that has not."""

_NOT_LET_IN = "28"
"""The beginning of the SQLSTATEs for a wrong password, or a user that is not let in."""

_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[object] = []
"""What this process has from its parent, and is not to touch."""


class Database:
    """Postgres at a DSN. Nothing is opened before it is used."""

    def __init__(self, url: str, timeout: timedelta, renew: Callable[[], str | None] = lambda: None) -> None:
        """`renew` is asked for another DSN when Postgres does not let us in with this one: its password was rotated."""
        self.dsn = Dsn.parse(url)
        self._renew = renew
        self._driver = DRIVERS[self.dsn.driver]
        milliseconds = max(1, round(timeout / timedelta(milliseconds=1)))  # 0 would mean: for ever
        self._limit = f"SET LOCAL statement_timeout = {milliseconds};"
        self._timeout = timeout
        self._timeout_seconds = timeout.total_seconds() + 1  # the server's own limit is to strike first
        self._kept: Any = None
        self._kept_engine: Engine | None = None
        self._creation = threading.Lock()
        self._pool_lost_at = -math.inf
        self._lent: Any = None
        self._turn = threading.RLock()
        _databases.add(self)

    def run(self, sql: str, within: timedelta | None = None) -> list[Row]:
        """Run one message on the connection that this process keeps; not for use by several threads at once.

        Raises `DatabaseUnreachable`, after which the message may or may not have been carried out, and
        `StatementRefused`, after which it was not; `ConfigurationError` when Postgres does not let us in.
        """
        until = None if within is None else time.monotonic() + within.total_seconds()
        with self._turn:
            self._refuse_within_transaction()
            if self._kept is None:
                self._kept = self._connect(self._seconds(until))
            seconds = self._seconds(until)
            self._driver.set_timeout(self._kept, seconds)
            limit = max(1, round(min(self._timeout_seconds - 1, seconds * 0.9) * 1000))
            return self._run(self._kept, f"SET LOCAL statement_timeout = {limit};{sql}", self.discard)

    def _seconds(self, until: float | None) -> float:
        if until is None:
            return self._timeout_seconds
        return max(0.01, min(self._timeout_seconds, until - time.monotonic()))

    @property
    def in_transaction(self) -> bool:
        """Whether the kept connection is in the hands of `transaction`."""
        return self._lent is not None

    def take_back(self) -> None:
        """End a transaction that its block never ended, such as that of a generator which nobody read to its end."""
        if self._lent is not None:
            self._lent = None
            self.discard()

    def run_pooled(self, sql: str) -> list[Row]:
        """Like `run`, on a pooled connection, for services with many threads."""
        connection = self._checkout()

        def discard() -> None:
            self._pool_lost_at = time.monotonic()  # what took this connection has probably taken the idle ones too
            connection.invalidate()

        try:
            return self._run(connection.dbapi_connection, self._limit + sql, discard)
        finally:
            connection.close()

    def discard(self) -> None:
        """Drop the kept connection, whatever state it is in."""
        kept, self._kept, self._kept_engine = self._kept, None, None
        if kept is not None:
            kept.close()

    def close(self) -> None:
        """Close everything that is open."""
        self.discard()
        for name in ("_pool", "engine"):
            if name in self.__dict__:
                self.__dict__.pop(name).dispose()

    @contextmanager
    def transaction(self, within: timedelta | None = None) -> Iterator[Connection]:
        """A SQLAlchemy connection in a transaction, on the connection that this process keeps, which is not of use for
        anything else meanwhile."""
        self._refuse_within_transaction()
        self._drop_if_dead(None if within is None else time.monotonic() + within.total_seconds())
        if self._kept is None:
            self._kept = self._connect()
        if self._kept_engine is None:
            self._kept_engine = self._engine_around(self._kept)
        kept = self._lent = self._kept
        # The record's own limit is for the record's own statements.
        self._driver.set_timeout(kept, (within or self._timeout).total_seconds() + 1)
        try:
            self._driver.set_autocommit(kept, False)
            with self._kept_engine.begin() as connection:
                yield connection
            self._driver.set_autocommit(kept, True)
        except BaseException:
            if self._lent is not kept:
                return  # it was taken back: nobody waits for how it ends
            # What state it is in cannot be known here: an interrupt may have struck in the middle of a statement.
            self.discard()
            raise
        finally:
            if self._lent is kept:
                self._lent = None

    @cached_property
    def engine(self) -> Engine:
        """An engine for people's queries and migrations; each checkout is checked, for pg8000's own ping lets a
        connection that was reset through."""
        from sqlalchemy import create_engine, event
        from sqlalchemy.exc import DisconnectionError

        engine = create_engine(f"postgresql+{self.dsn.driver}://", creator=self._connect_for_transactions)

        @event.listens_for(engine, "checkout")
        def check(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
            try:
                self._driver.set_autocommit(dbapi_connection, True)
                self._driver.run(dbapi_connection, "SELECT 1")
                self._driver.set_autocommit(dbapi_connection, False)
            except Exception as error:
                if self._is_away(error):
                    raise DisconnectionError from error
                raise

        return engine

    def _drop_if_dead(self, until: float | None) -> None:
        """A connection may have died while the handler did something else, and its first statement would fail for it."""
        if self._kept is None:
            return
        self._driver.set_timeout(self._kept, self._seconds(until))
        try:
            self._run(self._kept, "SELECT 1", self.discard)
        except DatabaseUnreachable:
            self.discard()

    def _refuse_within_transaction(self) -> None:
        if self.in_transaction:
            raise RuntimeError(
                "within transaction(), use its connection, or run_pooled() for what is to stand by itself"
            )

    def _engine_around(self, kept: Any) -> Engine:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import StaticPool

        # What goes wrong in a handler is recorded and logged, where nobody is to read payloads.
        return create_engine(
            f"postgresql+{self.dsn.driver}://", creator=lambda: kept, poolclass=StaticPool, hide_parameters=True
        )

    @cached_property
    def _pool(self) -> QueuePool:
        from sqlalchemy import event
        from sqlalchemy.exc import DisconnectionError
        from sqlalchemy.pool import QueuePool

        pool = QueuePool(
            self._connect,
            pool_size=5,
            max_overflow=15,
            timeout=self._timeout_seconds,
            recycle=240,
            reset_on_return=None,
        )

        @event.listens_for(pool, "connect")
        def note(_connection: Any, record: Any) -> None:
            record.info["connected_at"] = time.monotonic()

        @event.listens_for(pool, "checkout")
        def check(_connection: Any, record: Any, _proxy: Any) -> None:
            if record.info["connected_at"] <= self._pool_lost_at:
                raise DisconnectionError("another connection was found dead since")

        return pool

    def _checkout(self) -> Any:
        from sqlalchemy.exc import InvalidRequestError
        from sqlalchemy.exc import TimeoutError as PoolExhausted

        with self._creation:
            pool = self._pool
        try:
            return pool.connect()
        except (PoolExhausted, InvalidRequestError) as error:  # none free, or each was found dead at once
            raise DatabaseUnreachable(str(error)) from error

    def _run(self, connection: Any, sql: str, discard: Callable[[], None]) -> list[Row]:
        try:
            return self._driver.run(connection, sql)
        except Exception as error:
            sqlstate = self._driver.sqlstate(error)
            if sqlstate is None or sqlstate.startswith(_LOST):
                discard()
            if sqlstate is None:
                raise
            if sqlstate.startswith(_AWAY):
                raise DatabaseUnreachable(_describe(error)) from error
            raise StatementRefused(_describe(error), sqlstate) from error
        except BaseException:  # an interrupt: the answer is still to come, so the connection is of no more use
            discard()
            raise

    def _connect(self, seconds: float | None = None) -> Any:
        try:
            return self._connect_or_renew(seconds or self._timeout_seconds)
        except JobsError:
            raise
        except Exception as error:
            if self._is_away(error):
                raise DatabaseUnreachable(_describe(error)) from error
            if self._driver.sqlstate(error) is not None:
                raise ConfigurationError(f"DATABASE_URL: Postgres does not let us in: {_describe(error)}") from error
            raise

    def _connect_or_renew(self, seconds: float) -> Any:
        try:
            return self._driver.connect(self.dsn, seconds)
        except Exception as error:
            refused = (self._driver.sqlstate(error) or "").startswith(_NOT_LET_IN)
            if not refused or (url := self._renew()) is None:
                raise
            self.dsn = Dsn.parse(url)
            return self._driver.connect(self.dsn, seconds)

    def _disown(self) -> None:
        """Leave all connections to the process that this one was forked from: two cannot talk on one. They are not
        closed, not even as garbage, because Postgres would take that for the parent's goodbye."""
        _inherited.append((self._kept, self._kept_engine, self.__dict__.pop("_pool", None)))
        _inherited.append(self.__dict__.pop("engine", None))
        self._kept = self._kept_engine = None
        self._creation = threading.Lock()
        self._turn = threading.RLock()
        self._lent = None

    def _is_away(self, error: Exception) -> bool:
        return (self._driver.sqlstate(error) or "").startswith(_AWAY)

    def _connect_for_transactions(self) -> Any:
        connection = self._connect_or_renew(self._timeout_seconds)
        self._driver.set_autocommit(connection, False)
        return connection


def copy_out(connection: Connection, query: str, form: str, write: Callable[[bytes], object]) -> Copied:
    """Stream a query's rows to `write`, as Postgres itself writes them, for a fraction of what fetching them costs; how
    many they were, and the last one.

    >>> with run.connection() as connection:
    ...     copy_out(connection, "SELECT id, email FROM users", "FORMAT csv, HEADER", file.write)

    A COPY takes no parameters, so every value in `query` must be quoted already.
    """
    copying = f"COPY ({query}) TO STDOUT ({form})"
    return DRIVERS[connection.dialect.driver].copy_out(connection.connection.dbapi_connection, copying, write)


def spoken(error: DBAPIError) -> JobsError:
    """What Postgres said within a SQLAlchemy connection: `DatabaseUnreachable` when the connection was lost or the server
    shuts down or starts, else `StatementRefused`."""
    original = error.orig
    assert original is not None, "every error of a driver has one"
    said = original.args[0] if original.args and isinstance(original.args[0], dict) else {}  # pg8000's
    sqlstate = said.get("C") or getattr(original, "sqlstate", None)
    message = said.get("M") or str(original).partition("\n")[0]
    if sqlstate is None or sqlstate.startswith(("08", "57P")):
        return DatabaseUnreachable(message)
    return StatementRefused(message, sqlstate)


@functools.cache
def database() -> Database:
    """The database of this process, as the settings name it. Raises `ConfigurationError` and `SettingsUnreachable`."""
    return Database(settings().secret("DATABASE_URL"), settings().database_timeout, _renewed)


def _renewed() -> str | None:
    """The DSN that stands in the place of one with which Postgres let us in no more, if there is another."""
    return settings().secret("DATABASE_URL") if settings().read_anew("DATABASE_URL") else None


def _describe(error: Exception) -> str:
    """Postgres's message alone: what else psycopg says quotes the statement, with the values in it."""
    if error.args and isinstance(error.args[0], dict):  # pg8000
        return str(error.args[0].get("M", ""))
    return getattr(getattr(error, "diag", None), "message_primary", None) or str(error)


def _after_fork() -> None:
    for database in _databases:
        database._disown()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
