"""Files of the bucket that are past their time, page by page, with the rows that tell of them.

A page is first counted, and its rows are deleted, in one transaction that also notes which page it is; only then S3 is
told. So a page that an attempt dies over is deleted again by the next one, which costs nothing, and counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from functions.cleanup_old_data.state import State
from qstash_jobs.bucket import bucket
from qstash_jobs.run import Run
from qstash_jobs.settings import settings

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Table
    from sqlalchemy.sql.base import ReadOnlyColumnCollection

    Columns = ReadOnlyColumnCollection[str, Any]


@dataclass(frozen=True, kw_only=True)
class Objects:
    """What lies below which prefix, and the rows that tell of it."""

    prefix: str
    rows: Callable[[], Table | None]
    """The table with a row for each file, by its `s3_key`; None when no such table is described."""
    only: Callable[[Columns, datetime], ColumnElement[bool]]
    """Which of its rows go with their file, given its columns and the cutoff."""
    rows_name: str
    """What people call that table."""
    name: str = "objects"

    def step(self, run: Run, state: State, *, dry_run: bool) -> bool:
        """Deal with one page; true when there is nothing more to do."""
        if settings().jobs_bucket is None:
            run.logger.warning("Nothing to clean up: there is no such thing here", extra={"target": self.name})
            state.skip(self.name)
            return True
        page = next(bucket().pages(self.prefix, after=state.key), [])
        old = [one for one in page if one.modified_at < state.cutoff]
        if state.until is not None:  # counted by an attempt that died before it was deleted, or while it was
            bucket().delete([one.key for one in old if one.key <= state.until])
            state.key, state.until = state.until, None
            return False
        state.add(self.name, len(old))
        state.bytes = (state.bytes or 0) + sum(one.size for one in old)
        if not page:
            return True
        keys = [one.key for one in old]
        if keys:
            state.until = page[-1].key
            with run.connection() as connection:
                self._take_rows(connection, state, keys, dry_run=dry_run)
                if not dry_run:
                    run.save(state.dump(), connection)
            if not dry_run:
                bucket().delete(keys)
        state.key, state.until = page[-1].key, None
        return False

    def _take_rows(self, connection: Connection, state: State, keys: Sequence[str], *, dry_run: bool) -> None:
        from sqlalchemy import delete, func, inspect, select

        table = self.rows()
        if table is None or not inspect(connection).has_table(table.name, table.schema):
            return  # which a target of its own says
        told = table.c.s3_key.in_(keys), self.only(table.c, state.cutoff)
        if dry_run:
            count = connection.scalar(select(func.count()).select_from(table).where(*told)) or 0
        else:
            count = connection.execute(delete(table).where(*told)).rowcount
        state.add(self.rows_name, count)
