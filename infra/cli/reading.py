"""People's questions to the record, and what to say when it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from qstash_jobs.errors import DatabaseUnreachable, JobsError, StatementRefused

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.exc import DBAPIError

_AWAY = ("08", "57P")
"""How the SQLSTATEs begin of a connection that was lost, and of a server that shuts down or starts."""


@contextmanager
def transaction(within: timedelta | None = None) -> Iterator[Connection]:
    """A connection to the database of the settings, in a transaction, each statement of which may take so long.

    Raises `DatabaseUnreachable`, `StatementRefused` and `ConfigurationError`, whatever the driver raises.
    """
    from sqlalchemy.exc import DBAPIError

    from qstash_jobs.database import database

    try:
        with database().transaction(within) as connection:
            yield connection
    except DBAPIError as error:
        raise _spoken(error) from error


def _spoken(error: DBAPIError) -> JobsError:
    """What Postgres said, which pg8000 hands on as a dictionary; it said nothing when the connection was lost."""
    original = error.orig
    assert original is not None, "every error of a driver has one"
    said = original.args[0] if original.args and isinstance(original.args[0], dict) else {}
    sqlstate = said.get("C") or getattr(original, "sqlstate", None)
    message = said.get("M") or str(original).partition("\n")[0]
    if sqlstate is None or sqlstate.startswith(_AWAY):
        return DatabaseUnreachable(message)
    return StatementRefused(message, sqlstate)
