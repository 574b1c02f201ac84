"""Bring a database up to date while functions and app services go on with it: one revision after the other, each in a
transaction of its own, none of which waits long for a lock while others queue up behind it.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from infra import migrations
from infra.migrations import Part
from qstash_jobs.database import Database, spoken
from qstash_jobs.errors import DatabaseUnreachable, JobsError, StatementRefused

log = logging.getLogger("qstash_jobs.migrations")

LOCK_TIMEOUT = timedelta(seconds=3)
"""How long a statement of a migration waits for a lock. Whoever comes after it waits behind it, also who only reads."""

PATIENCE = timedelta(minutes=5)
"""How long it is tried again while a transaction of others holds what a migration needs."""

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0

_HELD_BY_OTHERS = ("55P03", "40P01", "40001")
"""A lock that was not to be had in time, a deadlock, a failed serialisation: the next try may succeed.
Source: https://www.postgresql.org/docs/current/errcodes-appendix.html"""


class MigrationFailed(StatementRefused):
    """A revision that Postgres refused; nothing of it stays, unless it left its transaction on purpose."""

    def __init__(self, revision: str, message: str, sqlstate: str) -> None:
        super().__init__(f"the migration {revision} failed: {message}", sqlstate)
        self.revision = revision


class MigrationBroken(JobsError):
    """A revision whose own code raised an error."""


class MigrationWaits(JobsError):
    """Others hold what the migrations need, for too long."""


class DatabaseAhead(JobsError):
    """The database has a revision that this package does not know, and lacks another that this one has."""


def advance(database: Database, *, part: Part | None = None, saas: bool = False, within: timedelta) -> list[str]:
    """Run the pending revisions, or those of one part; their names, in the order in which they ran.

    `within` is all the time there is; the database's own timeout must be as long. Two at once, in whatever processes, run
    one after the other, and the second finds nothing to do. What has run stays when a later one fails, and never does it
    go back. A database that is ahead of this package is left as it is.

    Raises `MigrationFailed`, `MigrationBroken`, `MigrationWaits`, `DatabaseAhead`, `DatabaseUnreachable`, and
    `StatementRefused` for what is no revision's fault.
    """
    until = time.monotonic() + within.total_seconds()
    ran: list[str] = []
    try:
        with _alone(database.engine, until) as held, database.engine.connect() as connection:
            _limit(connection, until)
            missing = migrations.pending(connection, saas=saas, part=part)
            ahead = migrations.unknown(connection)
            lacking = migrations.pending(connection, saas=saas) if ahead else []
            connection.rollback()
            if lacking:
                raise DatabaseAhead(_different_ways(ahead, lacking))
            for revision in missing:
                held.execute(text("SELECT 1"))  # else somebody else may be at it by now
                _run(connection, revision, until, held)
                ran.append(revision)
    except DBAPIError as error:
        raise spoken(error) from None
    except OSError as error:
        raise DatabaseUnreachable(str(error)) from None
    return ran


def _different_ways(ahead: list[str], lacking: list[str]) -> str:
    said = (
        f"the database has {', '.join(ahead)}, which this version does not know, and lacks {', '.join(lacking)}: two "
        "versions went different ways. Make one that has both"
    )
    ours = {migrations.branch_of(one) for one in migrations.known()}
    for branch in sorted({migrations.branch_of(one) for one in ahead} - ours):
        said += f". If {branch} was given up: jobs migrate --down --to {branch}@base, with a version that has it"
    return said


@contextmanager
def _alone(engine: Engine, until: float) -> Iterator[Connection]:
    """Be the only one that migrates, for as long as the connection that is handed out stands. The lock belongs to its
    transaction, which stays open beside those of the revisions: a session's lock would not survive a transaction pooler.
    Raises `MigrationWaits`."""
    with engine.connect() as connection:
        pause_seconds = 0.1
        while True:
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            if migrations.has_lock(connection):
                break
            connection.rollback()
            if time.monotonic() + pause_seconds > until:
                raise MigrationWaits(
                    "another deployment is migrating this database all the time. Wait until it is done"
                )
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, 1.0)
        yield connection


def _limit(connection: Connection, until: float) -> None:
    """Let no transaction wait long for a lock, nor go on when nobody waits for it any more."""

    @event.listens_for(connection, "begin")
    def limit(begun: Connection) -> None:
        if begun.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            return  # there a limit would stay with the connection, which may be a pooler's
        milliseconds = max(1, round((until - time.monotonic()) * 1000))
        begun.exec_driver_sql(f"SET LOCAL lock_timeout = {round(LOCK_TIMEOUT / timedelta(milliseconds=1))}")
        begun.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")

    @event.listens_for(connection, "set_connection_execution_options")
    def leave(leaving: Connection, options: dict[str, Any]) -> None:
        # Alembic asks for the isolation level before an autocommit block, and with pg8000 the question begins a
        # transaction that nobody knows of.
        dbapi_connection = leaving.connection.dbapi_connection
        if options.get("isolation_level") == "AUTOCOMMIT" and dbapi_connection is not None:
            dbapi_connection.rollback()


def _run(connection: Connection, revision: str, until: float, held: Connection) -> None:
    """One revision, again and again while others hold what it needs."""
    patience = min(until - LOCK_TIMEOUT.total_seconds(), time.monotonic() + PATIENCE.total_seconds())
    pause_seconds = _FIRST_PAUSE_SECONDS
    while True:
        try:
            migrations.upgrade(connection, revision)
            log.info("Migration %s ran", revision)
            return
        except DBAPIError as error:
            connection.rollback()
            said = spoken(error)
            if isinstance(said, DatabaseUnreachable):
                raise said from None
            assert isinstance(said, StatementRefused)
            if said.sqlstate not in _HELD_BY_OTHERS:
                raise MigrationFailed(revision, _without_values(said), said.sqlstate) from None
            if time.monotonic() + pause_seconds > patience:
                raise MigrationWaits(
                    f"the migration {revision} does not get what it needs, also when tried again and again, because "
                    f"others hold it ({_without_values(said)}){_oldest(held)}. End that"
                ) from None
            log.warning("Migration %s tried again in %.1f s: %s", revision, pause_seconds, _without_values(said))
        except Exception as error:
            connection.rollback()
            raise MigrationBroken(f"the migration {revision} failed: {_place(error)}") from error
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)


def _oldest(held: Connection) -> str:
    """The transaction that has been open for longest, which is most often who holds the lock; never what it does."""
    found = held.execute(
        text(
            "SELECT pid, coalesce(nullif(application_name, ''), 'no name') AS name, state,"
            " extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds"
            " FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
            " AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1"
        )
    ).one_or_none()
    if found is None:
        return ""
    return f"; the oldest transaction is open for {found.seconds} s: process {found.pid} ({found.name}, {found.state})"


def _without_values(error: StatementRefused) -> str:
    """Postgres's sentence. Errors of class 22 quote the value at fault, which may be anybody's."""
    said = str(error).removesuffix(f" (SQLSTATE {error.sqlstate})")
    return re.sub(r'"[^"]*"', '"…"', said) if error.sqlstate.startswith("22") else said


def _place(error: Exception) -> str:
    """Which error, and in which line of which migration; its text might quote a row."""
    frames = traceback.extract_tb(error.__traceback__)
    versions = Path(migrations.__file__).parent / "versions"
    ours = [frame for frame in frames if Path(frame.filename).parent == versions]
    where = f" in {Path(ours[-1].filename).name}, line {ours[-1].lineno}" if ours else f": {error}"
    return f"{type(error).__name__}{where}"
