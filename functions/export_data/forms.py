"""How each format's rows come out of Postgres, ready to be stored."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Text, case, cast, func
from sqlalchemy.types import String

from functions.export_data.datasets import Dataset
from functions.export_data.pages import Form, Place

csv.field_size_limit(sys.maxsize)  # a cell may be as large as Postgres has it

_STARTS_A_FORMULA = (
    *map(ord, "\t\n\r+-=@"),
    *map(ord, "＋－＝＠"),  # some spreadsheets take these for the narrow ones
)
"""Code points. Source: https://owasp.org/www-community/attacks/CSV_Injection"""


def _plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Booleans as words, not as `t` and `f`."""
    return cast(column, Text).label(_name(column)) if isinstance(column.type, Boolean) else column


def _harmless(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A cell that a spreadsheet would run as a formula gets a quote before it, which makes it text there."""
    if not isinstance(column.type, String):
        return _plain(column)
    return case((func.ascii(column).in_(_STARTS_A_FORMULA), func.concat("'", column)), else_=column).label(
        _name(column)
    )


def _name(column: ColumnElement[Any]) -> str:
    return str(column.name)


def _csv_options(*, header: bool) -> str:
    return f"FORMAT csv, ENCODING 'UTF8', HEADER {header}"


def _json_options(*, header: bool) -> str:
    # JSON escapes control characters: with these as quote and delimiter, nothing in it needs quoting.
    return "FORMAT csv, ENCODING 'UTF8', QUOTE E'\\x01', DELIMITER E'\\x02'"


def _of_cells(dataset: Dataset, row: bytes) -> Place:
    cells = next(csv.reader(io.StringIO(row.decode(), newline="")))
    return _place(dataset, dict(zip(names_of(dataset), cells, strict=True)))


def _of_object(dataset: Dataset, row: bytes) -> Place:
    return _place(dataset, json.loads(row.removeprefix(b",")))


def _place(dataset: Dataset, values: Mapping[str, Any]) -> Place:
    return Place(made=values[_name(dataset.made)], id=values[_name(dataset.id)])


def names_of(dataset: Dataset) -> list[str]:
    """The names of a data set's columns."""
    return [_name(column) for column in dataset.columns]


CSV = Form(
    columns=lambda dataset: [_harmless(column) for column in dataset.columns],
    wrap=lambda query: query,
    options=_csv_options,
    place=_of_cells,
)
"""RFC 4180, in UTF-8, with a header."""

CELLS = Form(
    columns=lambda dataset: [_plain(column) for column in dataset.columns],
    wrap=lambda query: query,
    options=_csv_options,
    place=_of_cells,
)
"""The same with each cell as it is, for a reader that knows text from formulas."""

NDJSON = Form(
    columns=lambda dataset: list(dataset.columns),
    wrap=lambda query: f"SELECT row_to_json(t) FROM ({query}) AS t",
    options=_json_options,
    place=_of_object,
)
"""An object on each line."""

JSON = Form(
    columns=lambda dataset: list(dataset.columns),
    wrap=lambda query: f"SELECT ',' || row_to_json(t)::text FROM ({query}) AS t",
    options=_json_options,
    place=_of_object,
)
"""The same with a comma before each: the elements of an array, of which the first has one too many."""
