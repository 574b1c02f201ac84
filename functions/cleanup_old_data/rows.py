"""Rows of a table that are past their time: counted in one statement, deleted in chunks.

Each chunk is a transaction of its own, with the count of what it deleted in it. It is found along the index over time and
key, and takes no row that somebody else has locked: such a row waits for the next clean-up, and nobody for this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from uuid import UUID

from functions.cleanup_old_data.state import State
from qstash_jobs.run import Run

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Select, Table
    from sqlalchemy.sql.base import ReadOnlyColumnCollection

    Columns = ReadOnlyColumnCollection[str, Any]

CHUNK = 2_000
"""Rows of a chunk: large enough that its commit costs little, small enough to be over in a fraction of a second."""

REST = 1.0
"""It rests for as many times as long as a chunk took, so that what it takes from the others has an end each time."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which rows of which table. There should be an index over `time` and `key`, in this order."""

    name: str
    """What people call the table."""
    table: Callable[[], Table | None]
    """None when no such table is described."""
    time: str
    """The column that tells a row's age."""
    key: str = "id"
    """The column that tells rows of the same time apart."""
    only: Callable[[Columns, datetime], ColumnElement[bool]] | None = None
    """What must be true of a row besides, given its columns and the cutoff."""
    children: Callable[[], Sequence[Table]] = tuple
    """Tables whose rows name one of these by a column that is called like `key`, and go with it."""
    chunk: int = CHUNK

    def step(self, run: Run, state: State, *, dry_run: bool) -> bool:
        """Count the rows, or delete one chunk of them; true when there is nothing more to do."""
        from sqlalchemy import inspect

        began = monotonic()
        table = self.table()
        with run.connection() as connection:
            if state.total is None:
                if table is None or not inspect(connection).has_table(table.name, table.schema):
                    run.logger.warning("Nothing to clean up: there is no such thing here", extra={"target": self.name})
                    state.skip(self.name)
                    return True
                counts = self._count(connection, table, state.cutoff)
                state.total = counts[self.name]
                for name, count in counts.items():
                    state.add(name, count if dry_run else 0)
                return dry_run or state.total == 0
            assert table is not None  # it was counted
            counts, state.row = self._delete(connection, table, state)
            for name, count in counts.items():
                state.add(name, count)
            state.deleted += counts[self.name]
            run.save(state.dump(), connection)
        if counts[self.name] < self.chunk:
            return True
        sleep(REST * (monotonic() - began))
        return False

    def _count(self, connection: Connection, table: Table, cutoff: datetime) -> dict[str, int]:
        from sqlalchemy import func, select

        children = self.children()
        if not children:
            rows = connection.scalar(select(func.count()).select_from(table).where(*self._old(table, cutoff)))
            return {self.name: rows or 0}
        old = select(table.c[self.key]).where(*self._old(table, cutoff)).cte("old")
        counts = [select(func.count()).select_from(old).scalar_subquery()]
        counts += [
            select(func.count()).select_from(child.join(old, child.c[self.key] == old.c[self.key])).scalar_subquery()
            for child in children
        ]
        return dict(zip(self._names(children), connection.execute(select(*counts)).one(), strict=True))

    def _delete(
        self, connection: Connection, table: Table, state: State
    ) -> tuple[dict[str, int], tuple[datetime, int | str] | None]:
        """What was deleted, and the last row of it."""
        from sqlalchemy import delete, func, select

        chosen = self._choose(table, state).cte("chosen")
        children = self.children()
        counts = []
        for one in (*children, table):
            gone = delete(one).where(one.c[self.key] == chosen.c.key).returning(one.c[self.key]).cte(f"gone_{one.name}")
            counts.append(select(func.count()).select_from(gone).scalar_subquery())
        last = select(chosen.c.time, chosen.c.key).order_by(chosen.c.time.desc(), chosen.c.key.desc()).limit(1)
        time, key = last.cte("last").c
        found = connection.execute(select(*counts, select(time).scalar_subquery(), select(key).scalar_subquery())).one()
        *children_gone, rows_gone, last_time, last_key = found
        gone_of = dict(zip(self._names(children), (rows_gone, *children_gone), strict=True))
        if last_time is None:
            return gone_of, state.row
        return gone_of, (last_time, str(last_key) if isinstance(last_key, UUID) else last_key)

    def _choose(self, table: Table, state: State) -> Select[Any]:
        """The rows of the next chunk, locked."""
        from sqlalchemy import Uuid, literal, select, tuple_

        time, key = table.c[self.time], table.c[self.key]
        asked = select(time.label("time"), key.label("key")).where(*self._old(table, state.cutoff))
        if state.row is not None:
            last_time, last_key = state.row
            last = UUID(str(last_key)) if isinstance(key.type, Uuid) else last_key
            asked = asked.where(tuple_(time, key) > tuple_(literal(last_time, time.type), literal(last, key.type)))
        return asked.order_by(time, key).limit(self.chunk).with_for_update(skip_locked=True)

    def _old(self, table: Table, cutoff: datetime) -> list[ColumnElement[bool]]:
        conditions = [table.c[self.time] < cutoff]
        return conditions if self.only is None else [*conditions, self.only(table.c, cutoff)]

    def _names(self, children: Sequence[Table]) -> list[str]:
        return [self.name, *(child.name for child in children)]
