"""The record as a deployment looks at it: whatever goes wrong is an error of this package's own, and so a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from qstash_jobs.database import Database


@contextmanager
def reading(database: Database) -> Iterator[Connection]:
    """A connection for questions, not the one that a function in the same process may be using meanwhile. Raises
    `DatabaseUnreachable`, `StatementRefused` and `ConfigurationError`."""
    from sqlalchemy.exc import DBAPIError

    from qstash_jobs.database import spoken
    from qstash_jobs.errors import DatabaseUnreachable

    try:
        with database.engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise spoken(error) from None
    except OSError as error:
        raise DatabaseUnreachable(str(error)) from None
