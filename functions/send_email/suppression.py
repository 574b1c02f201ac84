"""Addresses that are not to be written to again: mail to them bounced for good, or was complained of.

`process-webhook` keeps the list. Asked without SQLAlchemy, which would be half of this function's cold start.
"""

from __future__ import annotations

from weakref import WeakSet

from qstash_jobs.database import Database
from qstash_jobs.errors import NonRetryable
from qstash_jobs.executions.literals import text

_with_list: WeakSet[Database] = WeakSet()
"""Databases known to have the table: looked up once in an environment, since a statement cannot name what may be missing.
One that has none yet is looked at again, in case its migration comes."""


def refuse_suppressed(address: str, database: Database) -> None:
    """Raises `NonRetryable` when the address is on the list; why and since when, but not which it is, for errors are
    shown to people. Raises `DatabaseUnreachable`."""
    if not _has_list(database):
        return
    asked = f"SELECT reason, created_at::date::text FROM email_suppressions WHERE address = lower({text(address)})"  # noqa: S608
    for reason, since in database.run(asked):
        raise NonRetryable(f"the address is on the suppression list: {reason}, since {since}; no mail is sent to it")


def _has_list(database: Database) -> bool:
    if database not in _with_list and database.run("SELECT to_regclass('email_suppressions') IS NOT NULL")[0][0]:
        _with_list.add(database)
    return database in _with_list
