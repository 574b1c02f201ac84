"""The migrations of the record, run by Alembic inside one process: no ini file, no environment."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

VERSION_TABLE = "job_migrations"
"""Of our own, so that an app that migrates the same database with Alembic is not disturbed."""

_LOCK = 0x716A6F62
"""Two deployments at once migrate one after the other."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrate(connection: Connection, revision: str = "heads") -> None:
    """Bring the schema up to `revision` (by default the newest)."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    command.upgrade(_config(connection), revision)


def revert(connection: Connection, revision: str) -> None:
    """Take the schema back to `revision`; `base` removes it, with all its data."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    command.downgrade(_config(connection), revision)


def pending(connection: Connection) -> list[str]:
    """The revisions that the schema lacks, oldest first."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    scripts = ScriptDirectory.from_config(_config())
    missing = scripts.iterate_revisions(tuple(scripts.get_heads()), context.get_current_heads(), implicit_base=True)
    return [script.revision for script in reversed(list(missing))]
