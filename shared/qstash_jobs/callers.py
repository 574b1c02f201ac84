"""The caller's connection: how a statement joins its transaction, and how we learn that it was committed.

Any Postgres driver will do, because the statements carry their values in them: a SQLAlchemy connection or session over
pg8000, psycopg or (through `run_sync`) asyncpg, Django's connection, or a plain DBAPI connection.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast
from uuid import UUID

from qstash_jobs.drivers import Row

if TYPE_CHECKING:
    from sqlalchemy import Connection

Wake = Callable[[list[UUID]], None]


class Caller(Protocol):
    """A connection in the caller's hands."""

    def run(self, sql: str) -> list[Row]:
        """Run one statement in the caller's transaction."""

    def after_commit(self, job_ids: list[UUID], wake: Wake) -> None:
        """Call `wake` with the ids about when the transaction is committed."""


def caller_of(connection: object) -> Caller:
    """The right way to use what the caller has. Raises TypeError for what is no connection."""
    if (sqlalchemy := _sqlalchemy(connection)) is not None:
        return _SqlAlchemy(sqlalchemy)
    if hasattr(connection, "sync_connection") or hasattr(connection, "sync_session"):
        raise TypeError("an asynchronous connection needs `await enqueue_async(...)`")
    if inspect.iscoroutinefunction(getattr(connection, "commit", None)) or hasattr(connection, "fetchrow"):
        raise TypeError("a driver's own asynchronous connection cannot be joined; hand over SQLAlchemy's around it")
    if hasattr(connection, "cursor"):
        return _Django(connection) if hasattr(connection, "on_commit") else _Dbapi(connection)
    raise TypeError(f"connection must be SQLAlchemy's, Django's or a DBAPI's, not {type(connection).__name__}")


def _sqlalchemy(connection: object) -> Connection | None:
    """The SQLAlchemy connection in it. Looked up among what is imported already: who has one has imported it.

    A module that another thread is importing just now, such as the publisher's, has not all of its names yet.
    """
    if (kind := getattr(sys.modules.get("sqlalchemy"), "Connection", None)) and isinstance(connection, kind):
        return cast("Connection", connection)
    orm = sys.modules.get("sqlalchemy.orm")
    kinds = tuple(kind for name in ("Session", "scoped_session") if (kind := getattr(orm, name, None)))
    if isinstance(connection, kinds):
        found: Connection = cast("Any", connection).connection()
        return found
    return None


class _SqlAlchemy:
    _pending: ClassVar[weakref.WeakKeyDictionary[Connection, list[UUID]]] = weakref.WeakKeyDictionary()
    """What each connection's transaction has enqueued; a connection is in here from its first job on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str) -> list[Row]:
        from sqlalchemy.exc import StatementError

        try:
            result = self._connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
        except StatementError as error:
            error.statement = None  # the payload stands in it, and errors are logged
            raise
        return [tuple(row) for row in result]

    def after_commit(self, job_ids: list[UUID], wake: Wake) -> None:
        if self._connection not in self._pending:
            self._listen(wake)
        self._pending[self._connection].extend(job_ids)

    def _listen(self, wake: Wake) -> None:
        from sqlalchemy import event

        pending = self._pending[self._connection] = []

        # These fire just before COMMIT is sent, and `Session.after_commit` fires for savepoints too: no event says
        # that a transaction was committed. So the publisher is only woken, and looks for itself.
        def committing(*_arguments: object) -> None:
            job_ids = pending.copy()
            pending.clear()
            if job_ids:
                wake(job_ids)

        def rolled_back(*_arguments: object) -> None:
            pending.clear()

        event.listen(self._connection, "commit", committing)
        event.listen(self._connection, "commit_twophase", committing)
        event.listen(self._connection, "rollback", rolled_back)
        event.listen(self._connection, "rollback_twophase", rolled_back)


class _Dbapi:
    """A bare connection tells nobody when it commits: its jobs are left to the relay, or to `publish(job_ids)`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, sql: str) -> list[Row]:
        cursor = self._connection.cursor()
        try:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            cursor.close()

    def after_commit(self, job_ids: list[UUID], wake: Wake) -> None:
        """Left to the relay."""


class _Django(_Dbapi):
    def after_commit(self, job_ids: list[UUID], wake: Wake) -> None:
        self._connection.on_commit(lambda: wake(job_ids))
