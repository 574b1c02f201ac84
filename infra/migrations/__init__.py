"""The migrations, run by Alembic inside one process: no ini file, no environment.

There are two branches: `jobs`, the record's own tables, and `saas`, the starter's, which only comes when it is asked for:
the database of an app has tables of its own by the names of `users` and the like.

A deployment takes them in two parts, before the functions change and after; `infra.migrations.advance` runs them.
"""

from __future__ import annotations

import re
import time
from enum import StrEnum
from itertools import dropwhile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text

VERSION_TABLE = "job_migrations"
"""Of our own, so that an app that migrates the same database with Alembic is not disturbed."""

RECORD, SAAS = "jobs", "saas"

_LOCK = 0x716A6F62
"""Two deployments at once migrate one after the other."""

_LONGEST_PAUSE_SECONDS = 1.0


class Part(StrEnum):
    """When a revision runs, in respect to the functions of the same release; its module says it as `part`."""

    BEFORE = "before"
    """By default: it adds what the new functions need, and the old ones go on with it."""
    AFTER = "after"
    """It takes away what only the old functions needed."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrate(connection: Connection, revision: str = "head", *, saas: bool = False) -> None:
    """Bring the record's tables up to `revision` (by default the newest), and with `saas` the starter's too, all in the
    transaction of the connection; so without revisions that create an index concurrently."""
    lock(connection)
    config = _config(connection)
    for target in _targets(config, revision, saas=saas):
        command.upgrade(config, target)


def revert(connection: Connection, revision: str, *, saas: bool = False) -> None:
    """Take the record's tables back to `revision`; `base` removes them, with all their data. With `saas` the starter's
    too; `saas@base` takes away those alone."""
    lock(connection)
    config = _config(connection)
    for target in _targets(config, revision, saas=saas):
        command.downgrade(config, target)


def upgrade(connection: Connection, revision: str) -> None:
    """Bring one branch up to a revision, for who has the lock already. On a connection that is in no transaction, each
    revision has one of its own, and may leave it for a while with `op.get_context().autocommit_block()`."""
    command.upgrade(_config(connection), revision)


def lock(connection: Connection) -> None:
    """Be the only one that migrates until the transaction ends; waits for whoever does now.

    Asks again and again, because who waits within a statement has a snapshot, for which a migration that creates an index
    concurrently would wait in turn, for ever.
    """
    pause_seconds = 0.01
    while not has_lock(connection):
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)


def has_lock(connection: Connection) -> bool:
    """Take the lock until the transaction ends, or say that somebody has it."""
    return bool(connection.execute(text(f"SELECT pg_try_advisory_xact_lock({_LOCK})")).scalar_one())


def pending(connection: Connection, *, saas: bool = False, part: Part | None = None) -> list[str]:
    """The revisions that the record's tables lack, and with `saas` the starter's too, oldest first.

    With `Part.BEFORE` those that run before the functions change: without the revisions of `Part.AFTER` at the end. One
    of those that another follows belongs to an earlier release, and runs with it.

    In a branch where a newer package has been, only what counts higher than its revision is lacking: that package did
    not have it either, or it would stand at the head.
    """
    scripts = ScriptDirectory.from_config(_config())
    applied = _applied(connection, scripts)
    ahead = unknown(connection)
    found: list[str] = []
    for branch in _branches(scripts, saas=saas):
        there = max((one for one in ahead if branch_of(one) == branch), default="")
        newest_first = [
            script
            for script in scripts.iterate_revisions(f"{branch}@head", "base")
            if script.revision not in applied and script.revision > there
        ]
        if part is Part.BEFORE:
            newest_first = list(dropwhile(lambda script: part_of(script) is Part.AFTER, newest_first))
        found += [script.revision for script in reversed(newest_first)]
    return found


def part_of(script: Script) -> Part:
    """When a revision runs. Raises ValueError for a part that is none."""
    said = getattr(script.module, "part", Part.BEFORE)
    try:
        return Part(said)
    except ValueError:
        raise ValueError(f"{script.revision}: its part is {said!r}; it is one of {', '.join(Part)}") from None


def heads(*, saas: bool = True) -> list[str]:
    """The newest revision of each branch that this package has."""
    scripts = ScriptDirectory.from_config(_config())
    return [scripts.get_revision(f"{branch}@head").revision for branch in _branches(scripts, saas=saas)]


def branch_of(revision: str) -> str:
    """The branch that a revision's name begins with, also of one that this package does not have."""
    return revision.partition("_")[0]


def known() -> set[str]:
    """All revisions that this package has."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def unknown(connection: Connection) -> list[str]:
    """What the database has and this package does not know: a newer one has been there."""
    ours = known()
    return sorted(one for one in _heads_of(connection) if one not in ours)


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


def _heads_of(connection: Connection) -> tuple[str, ...]:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()


def _applied(connection: Connection, scripts: ScriptDirectory) -> set[str]:
    ours = {script.revision for script in scripts.walk_revisions()}
    heads = tuple(one for one in _heads_of(connection) if one in ours)
    return {script.revision for script in scripts.iterate_revisions(heads, "base")} if heads else set()
