"""People's questions to the record, and what to say when it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection


@contextmanager
def transaction(within: timedelta | None = None) -> Iterator[Connection]:
    """A connection to the database of the settings, in a transaction, each statement of which may take so long.

    Raises `DatabaseUnreachable`, `StatementRefused` and `ConfigurationError`, whatever the driver raises.
    """
    from sqlalchemy.exc import DBAPIError

    from qstash_jobs.database import database, spoken

    try:
        with database().transaction(within) as connection:
            yield connection
    except DBAPIError as error:
        raise spoken(error) from error
