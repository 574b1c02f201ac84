"""The migrations, run by Alembic inside one process: no ini file, no environment.

There are two branches: `jobs`, the record's own tables, and `saas`, the starter's, which only comes when it is asked for:
the database of an app has tables of its own by the names of `users` and the like.
"""

from __future__ import annotations

import re
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

VERSION_TABLE = "job_migrations"
"""Of our own, so that an app that migrates the same database with Alembic is not disturbed."""

RECORD, SAAS = "jobs", "saas"

_LOCK = 0x716A6F62
"""Two deployments at once migrate one after the other."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrate(connection: Connection, revision: str = "head", *, saas: bool = False) -> None:
    """Bring the record's tables up to `revision` (by default the newest), and with `saas` the starter's too."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    config = _config(connection)
    for target in _targets(config, revision, saas=saas):
        command.upgrade(config, target)


def revert(connection: Connection, revision: str, *, saas: bool = False) -> None:
    """Take the record's tables back to `revision`; `base` removes them, with all their data. With `saas` the starter's
    too; `saas@base` takes away those alone."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    config = _config(connection)
    for target in _targets(config, revision, saas=saas):
        command.downgrade(config, target)


def pending(connection: Connection, *, saas: bool = False) -> list[str]:
    """The revisions that the record's tables lack, and with `saas` the starter's too, oldest first."""
    scripts = ScriptDirectory.from_config(_config())
    applied = _applied(connection, scripts)
    return [
        script.revision
        for branch in _branches(scripts, saas=saas)
        for script in reversed(list(scripts.iterate_revisions(f"{branch}@head", "base")))
        if script.revision not in applied
    ]


def heads(*, saas: bool = False) -> list[str]:
    """The newest revision of the record's tables, and with `saas` of the starter's too."""
    scripts = ScriptDirectory.from_config(_config())
    return [scripts.get_revision(f"{branch}@head").revision for branch in _branches(scripts, saas=saas)]


def has_saas(connection: Connection) -> bool:
    """Whether the starter's tables are there: ours, and not an app's own of the same names."""
    scripts = ScriptDirectory.from_config(_config())
    return any(SAAS in scripts.get_revision(one).branch_labels for one in _applied(connection, scripts))


def _branches(scripts: ScriptDirectory, *, saas: bool) -> list[str]:
    """The starter's only if it is still there: who has tables of their own removes it."""
    there = any(SAAS in script.branch_labels for script in scripts.walk_revisions())
    return [RECORD, SAAS] if saas and there else [RECORD]


def _targets(config: Config, revision: str, *, saas: bool) -> list[str]:
    """What each branch has is asked of each; a revision by its name, or with its branch, says itself where it is."""
    if not is_relative(revision):
        return [revision]
    return [
        f"{branch}@{revision.removesuffix('s')}" for branch in _branches(ScriptDirectory.from_config(config), saas=saas)
    ]


def is_relative(revision: str) -> bool:
    """Whether it names another revision in each branch: `head`, `base`, `+1`, `-1`."""
    return re.fullmatch(r"heads?|base|[+-]\d+", revision) is not None


def _applied(connection: Connection, scripts: ScriptDirectory) -> set[str]:
    heads = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()
    return {script.revision for script in scripts.iterate_revisions(heads, "base")} if heads else set()
