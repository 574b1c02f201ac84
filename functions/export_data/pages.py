"""A data set, read page by page along (made, id): each page is a short transaction, and the next begins behind its last
row, in this attempt or in another. Nothing holds back Postgres's vacuum for as long as an export takes.

Rows that were made after the export began are left out, so that it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Connection, Select, cast, func, literal, select, text, tuple_
from sqlalchemy.dialects import postgresql

from functions.export_data.datasets import Condition, Dataset, said
from qstash_jobs.database import copy_out
from qstash_jobs.jobs.export_data import Filters

# Without `%` doubled for parameters that a COPY does not take.
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]


PAGE_ROWS = 100_000


class Written(BaseModel):
    """A file that is in the bucket."""

    rows: int
    size: int
    """Bytes."""


class Place(BaseModel):
    """Where a page ends: at this row."""

    made: str
    """As Postgres writes it: Python has no times before the year 1, and no `-infinity`."""
    id: int


@dataclass(frozen=True, kw_only=True)
class Query:
    """The rows of an export."""

    dataset: Dataset
    filters: Filters
    as_of: datetime
    """When the export began."""

    def count(self, connection: Connection) -> int:
        """How many rows there are."""
        return int(connection.execute(select(func.count()).where(*self._conditions())).scalar_one())

    def copy_page(
        self,
        connection: Connection,
        write: Callable[[bytes], object],
        *,
        after: Place | None,
        form: Form,
        header: bool = False,
    ) -> tuple[int, Place | None]:
        """Write the rows of the page behind `after`; how many they were, and where the page ends, None when it is the
        last."""
        rows = (
            select(*form.columns(self.dataset)).where(*self._behind(after)).order_by(self.dataset.made, self.dataset.id)
        )
        # Whatever the database's own settings are, a time is written in one way only.
        connection.execute(text("SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true)"))
        query = form.wrap(_sql(rows.limit(PAGE_ROWS)))
        copied = copy_out(connection, query, form.options(header=header), write)
        return copied.rows, form.place(self.dataset, copied.last_row) if copied.rows == PAGE_ROWS else None

    def _conditions(self) -> list[Condition]:
        made = self.dataset.made
        conditions = [made <= self.as_of, *self.dataset.narrow(self.filters)]
        if self.filters.since is not None:
            conditions.append(made >= self.filters.since)
        if self.filters.until is not None:
            conditions.append(made < self.filters.until)
        return conditions

    def _behind(self, after: Place | None) -> list[Condition]:
        if after is None:
            return self._conditions()
        made, id_ = self.dataset.made, self.dataset.id
        # The first says nothing new, and lets Postgres know how few rows a page has: of pairs it has no idea.
        return [*self._conditions(), made >= self._made(after), tuple_(made, id_) > self._literal(after)]

    def _made(self, place: Place) -> ColumnElement[Any]:
        return cast(said(place.made), self.dataset.made.type)

    def _literal(self, place: Place) -> ColumnElement[Any]:
        return tuple_(self._made(place), literal(place.id))


@dataclass(frozen=True)
class Form:
    """How Postgres writes rows."""

    columns: Callable[[Dataset], list[ColumnElement[Any]]]
    """The columns of the query."""
    wrap: Callable[[str], str]
    """The query that is copied, made of theirs."""
    options: Callable[..., str]
    """COPY's, with or without a `header`."""
    place: Callable[[Dataset, bytes], Place]
    """Where a row stands, as it was written."""


def _sql(statement: Select[Any]) -> str:
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
