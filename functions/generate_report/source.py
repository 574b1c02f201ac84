"""What a report's questions have in common: the connection, the period, and its days in SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Connection, Date, Executable, Row, and_, cast, func

from functions.generate_report.document import Column
from functions.generate_report.period import Period


@dataclass(frozen=True)
class Source:
    """Where a report's numbers come from. All its questions see the database as it was at the first one."""

    connection: Connection
    period: Period
    organization_id: int | None = None
    """Only of this organization."""
    asked: Callable[[], None] = lambda: None
    """Called before each question; may raise `JobCancelled`."""

    def rows(self, statement: Executable) -> list[Row[Any]]:
        """All rows of an answer."""
        self.asked()
        return list(self.connection.execute(statement).all())

    def row(self, statement: Executable) -> Row[Any]:
        """The only row of an answer."""
        self.asked()
        return self.connection.execute(statement).one()

    def within(self, moment: ColumnElement[Any]) -> ColumnElement[bool]:
        """That a moment lies in the period."""
        return and_(moment >= self.period.begins, moment < self.period.ends)

    def in_either(self, moment: ColumnElement[Any]) -> ColumnElement[bool]:
        """That a moment lies in the period or in the one before it, which ends where this one begins."""
        return and_(moment >= self.period.previous.begins, moment < self.period.ends)

    def is_now(self, moment: ColumnElement[Any]) -> ColumnElement[bool]:
        """Which of the two it is, of a moment that lies in either."""
        return moment >= self.period.begins

    def bucket(self, moment: ColumnElement[Any]) -> ColumnElement[date]:
        """The day, or the month's first, in the report's time zone. Named `bucket`, by which to group."""
        local = func.timezone(self.period.zone.key, moment)
        return cast(func.date_trunc(self.period.grain, local), Date).label("bucket")

    def over_time(self, found: Mapping[date, tuple[int, ...]], width: int) -> tuple[tuple[str | int, ...], ...]:
        """A row for each day or month of the period, also where nothing was found: its name, and `width` numbers."""
        return tuple((self.name_of(one), *found.get(one, (0,) * width)) for one in self.period.buckets)

    def name_of(self, bucket: date) -> str:
        """`2026-03-01`, or `2026-03` of a month."""
        return bucket.isoformat() if self.period.grain == "day" else f"{bucket:%Y-%m}"

    @property
    def time_column(self) -> Column:
        """The first column of a table over time."""
        return Column(label=self.period.grain.capitalize(), unit=self.period.grain)
