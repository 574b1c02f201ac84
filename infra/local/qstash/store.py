"""The database: SQLite, written in groups.

Statements are collected while the event loop handles what is ready, and committed together before the loop turns again
(`committed` waits for that), so that a thousand messages a second cost a few dozen transactions. Everything that is
written between two awaits is one transaction: after a crash it is there wholly or not at all. A commit is not synced to
the disk: it survives the death of this process, not that of the machine.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from infra.local.qstash.destination import host_and_path
from infra.local.qstash.errors import DatabaseUnusable

SCHEMA_VERSION = 2

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE messages (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    url TEXT NOT NULL,
    queue TEXT,
    topic TEXT,
    schedule_id TEXT,
    caller_ip TEXT,
    flow_control_key TEXT,
    labels TEXT,                    -- a JSON array
    retried INTEGER NOT NULL,
    due_at REAL NOT NULL,
    due_by_wall INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    place_queue TEXT,
    place_holder TEXT,
    document TEXT NOT NULL,         -- the publication without its body
    body BLOB NOT NULL
);
CREATE INDEX unsettled ON messages (sequence) WHERE state IN ('CREATED', 'RETRY');
CREATE INDEX undelivered ON messages (sequence) WHERE state IN ('FAILED', 'CANCELED');
CREATE INDEX created ON messages (created_ms);

CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    message INTEGER NOT NULL,       -- messages.sequence
    time_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    document TEXT NOT NULL          -- what this event alone knows
);
CREATE INDEX events_of_message ON events (message);

CREATE TABLE dead_letters (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    message INTEGER NOT NULL,       -- messages.sequence
    time_ms INTEGER NOT NULL,
    response_status INTEGER NOT NULL,
    response_headers TEXT NOT NULL,
    response_body BLOB NOT NULL
);
CREATE INDEX dead_letters_of_message ON dead_letters (message);

CREATE TABLE deduplication (
    id TEXT PRIMARY KEY,
    message_id TEXT NOT NULL,
    expires_at REAL NOT NULL        -- on the timeline
) WITHOUT ROWID;

CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    parallelism INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE schedules (
    id TEXT PRIMARY KEY,
    cron TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    last_at REAL,                   -- on the timeline, like every time that cron gives
    last_message_ids TEXT NOT NULL, -- a JSON array
    error TEXT,
    document TEXT NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE url_groups (
    name TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE flow_control (         -- keys that are paused or pinned
    key TEXT PRIMARY KEY,
    paused INTEGER NOT NULL,
    pinned_parallelism INTEGER NOT NULL,
    parallelism INTEGER,
    pinned_rate INTEGER NOT NULL,
    rate INTEGER,
    period_seconds INTEGER NOT NULL
) WITHOUT ROWID;
"""

Row = tuple[Any, ...]


class Store:
    """One database, used from one event loop; it belongs to one server at a time."""

    def __init__(self, path: Path | None) -> None:
        """Raises DatabaseUnusable."""
        self._connection = _open(path)
        self._pending: list[tuple[str, Sequence[Any]]] = []
        self._commit: asyncio.Future[None] | None = None

    def write(self, statement: str, parameters: Sequence[Any]) -> None:
        """Have this written with the next commit."""
        self._pending.append((statement, parameters))
        if self._commit is None:
            loop = asyncio.get_running_loop()
            self._commit = loop.create_future()
            loop.call_soon(self._flush)

    async def committed(self) -> None:
        """Wait until everything that was written so far is in the database. Raises sqlite3.Error if it could not be."""
        if self._commit is not None:
            await asyncio.shield(self._commit)

    def read(self, query: str, parameters: Iterable[Any] = ()) -> list[Row]:
        """The rows, with everything that was written so far."""
        self._flush()
        return self._connection.execute(query, tuple(parameters)).fetchall()

    def close(self) -> None:
        """Write what is pending, and let go of the file."""
        self._flush()
        self._connection.close()

    def _flush(self) -> None:
        if self._commit is None:
            return
        pending, self._pending = self._pending, []
        commit, self._commit = self._commit, None
        try:
            execute = self._connection.execute
            execute("BEGIN")
            for statement, parameters in pending:
                execute(statement, parameters)
            execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            logging.getLogger(__name__).exception("%d statements could not be written", len(pending))
            commit.set_exception(error)
            commit.exception()  # nobody may be waiting: it was logged
        else:
            commit.set_result(None)


def check_database(path: Path | None) -> None:
    """Raises DatabaseUnusable, with the reason, if a server could not start on this file."""
    _open(path).close()


def _open(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=0, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseUnusable(f"the database {path} cannot be opened: {error}") from error
    connection.create_function("url_host", 1, lambda url: host_and_path([url])[0][0], deterministic=True)
    connection.create_function("url_path", 1, lambda url: host_and_path([url])[0][1], deterministic=True)
    try:
        # The lock is taken by the first statement and kept: two servers would deliver everything twice.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        _prepare(connection)
    except sqlite3.Error as error:
        connection.close()
        reason = "another server uses it" if "locked" in str(error) else str(error)
        raise DatabaseUnusable(f"the database {path} cannot be used: {reason}") from error
    except DatabaseUnusable:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and version != SCHEMA_VERSION:
        raise DatabaseUnusable(
            "the database is not this server's, or another version's: remove the file, or name another"
        )
    if not tables:
        for statement in SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")
