"""What a report is before it has a format: sections of figures, charts and tables. As JSON it is the format `json`.

Numbers stay numbers, in these units, and only what renders them makes words of them:

=========  ==========================================================================
`count`    a whole number
`money`    a whole number of the currency's smallest unit; beside it stands which
`percent`  a share: 0.25 is 25 %
`change`   likewise, of what there was in the period before: 0.25 is a quarter more
`day`      text, `2026-03-01`
`month`    text, `2026-03`
`text`     text, as people wrote it: names may hold anything
=========  ==========================================================================
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Unit = Literal["count", "money", "percent"]
Number = int | float
Cell = int | float | str | None


class Part(BaseModel):
    """The base: camelCase in JSON, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class Figure(Part):
    """One number that matters."""

    label: str
    """What it is."""
    value: Number | None
    """None where there is none, such as a share of nothing."""
    unit: Unit = "count"
    """Of `value` and `previous`."""
    currency: str | None = None
    """Of money: `usd`."""
    previous: Number | None = None
    """The same of the period before; none where it is not compared."""
    change: float | None = None
    """By how much of `previous` it grew; none where that is nothing."""
    note: str | None = None
    """What else is to be known of it."""


class Column(Part):
    """A table's column. The first one names its rows."""

    label: str
    """Its heading."""
    unit: Literal["text", "day", "month", "count", "money", "percent", "change"] = "count"
    """Of its cells."""
    currency: str | None = None
    """Of money: `usd`."""


class Table(Part):
    """Rows of cells, one for each column; none where there is nothing to say."""

    title: str
    """What it shows."""
    columns: tuple[Column, ...]
    """At least one."""
    rows: tuple[tuple[Cell, ...], ...]
    """None of them when nothing happened."""
    total: tuple[Cell, ...] | None = None
    """The last row, of all others."""
    note: str | None = None
    """How it is to be read."""


class Series(Part):
    """A value for each of a chart's labels."""

    name: str
    """What they are."""
    values: tuple[Number, ...]
    """As many as the chart has labels."""


class Chart(Part):
    """A picture of numbers that stand in a table of the same section as well."""

    title: str
    """What it shows."""
    kind: Literal["columns", "line", "bars"]
    """`columns` and `line` go along time, `bars` compare."""
    axis: Literal["day", "month", "text"]
    """What `labels` are."""
    labels: tuple[str, ...]
    """One for each value."""
    series: tuple[Series, ...]
    """One, or in a `line` up to three."""
    unit: Unit = "count"
    """Of all values."""
    currency: str | None = None
    """Of money: `usd`."""


class Section(Part):
    """A chapter."""

    title: str
    """Its heading."""
    text: str | None = None
    """What it says before its numbers."""
    figures: tuple[Figure, ...] = ()
    """First."""
    charts: tuple[Chart, ...] = ()
    """Then."""
    tables: tuple[Table, ...] = ()
    """Last."""


class Span(Part):
    """The period, as it was asked for and as people say it."""

    from_: AwareDatetime = Field(alias="from")
    """Its first moment."""
    to: AwareDatetime
    """The moment at which it ends."""
    time_zone: str
    """Whose days and months are meant: `Europe/Berlin`."""
    label: str
    """For people: `1 to 31 March 2026`."""


class Report(Part):
    """A whole report."""

    version: Literal[1] = 1
    """Of this form: it changes when something in it means another thing than before."""
    name: str
    """Which report: `analytics`, `usage`, `billing`, or that of a custom one."""
    title: str
    """For people: `Billing`."""
    subject: str | None = None
    """Of whom it tells, when it is not all."""
    product: str
    """Whose report it is: the setting `PRODUCT_NAME`."""
    period: Span
    """Over which period."""
    notes: tuple[str, ...] = ()
    """What holds for all of it."""
    sections: tuple[Section, ...]
    """In order."""


def change(value: Number, previous: Number) -> float | None:
    """By how much of `previous` it grew; None where that is nothing. To a tenth of a per mille."""
    return None if not previous else round((value - previous) / abs(previous), 4)


def share(part: Number, whole: Number) -> float | None:
    """To a tenth of a per mille; None of nothing."""
    return None if not whole else round(part / whole, 4)


def compared(label: str, value: Number, previous: Number, *, currency: str | None = None) -> Figure:
    """A figure beside that of the period before."""
    return Figure(
        label=label,
        value=value,
        unit="count" if currency is None else "money",
        currency=currency,
        previous=previous,
        change=change(value, previous),
    )


def column_of(rows: Sequence[Sequence[Cell]], index: int) -> tuple[Number, ...]:
    """The numbers of one column, for a chart. Raises TypeError when there is something else in it."""
    values = [row[index] for row in rows]
    numbers = tuple(value for value in values if isinstance(value, int | float))
    if len(numbers) < len(values):
        raise TypeError(f"column {index} has cells that are no numbers")
    return numbers


def schema() -> str:
    """The format `json` as a JSON Schema. Kept in `docs/reference/report.schema.json`; written anew with
    `python -m functions.generate_report.document`."""
    return json.dumps(Report.model_json_schema(by_alias=True, mode="serialization"), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema())
