"""An xlsx of a data set: typed cells, a header that stays in view, further sheets where one is full.

The rows come as CSV, which Postgres writes and Python reads several times as fast as rows of a cursor, and are turned into
cells here. The library keeps nothing of the file in memory; its sheets grow in temporary files until they are packed.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, DateTime, Integer

from functions.export_data.datasets import Dataset
from functions.export_data.forms import CELLS, names_of
from functions.export_data.pages import Place, Query, Written
from qstash_jobs.bucket import FileType, bucket
from qstash_jobs.errors import NonRetryable
from qstash_jobs.run import Run

SHEET_ROWS = 1_048_576 - 1
"""Rows of a sheet, without the header.
Source: https://support.microsoft.com/office/excel-specifications-and-limits-1672b34d-7043-467e-8e27-269d656771c3"""

ROWS_LIMIT = 2 * SHEET_ROWS
"""Rows of a file: with more, packing it would outlast the function, and nobody could open it."""

WRITTEN, PACKED = 0.6, 0.9
"""How far the work is when all rows are written, and when the file is packed."""

_IN_MEMORY = 32 * 2**20
"""Bytes of a page; one with large cells is put into a temporary file, for it may be larger than the function's memory."""

_CELL_CHARACTERS = 32_767
_EXACT = 2**53
"""Excel's numbers are floating point: beyond this, digits would be lost."""

Cell = str | int | bool | datetime | None


def write(query: Query, run: Run, key: str, kind: FileType) -> Written:
    """Write the file. Raises `NonRetryable` when it would have too many rows."""
    with run.connection() as connection:
        total = query.count(connection)
    if total > ROWS_LIMIT:
        raise NonRetryable(
            f"an xlsx file has at most {ROWS_LIMIT:,} rows, and these are {total:,}: narrow the filters, or ask for csv"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.xlsx"
        pages = _Pages(query, run, total)
        _workbook(path, query.dataset, iter(pages), total)
        size = path.stat().st_size
        run.progress(PACKED, "uploading")
        with path.open("rb") as file:
            bucket().put(key, file, kind)
    return Written(rows=pages.rows, size=size)


class _Pages:
    """The pages, as CSV without headers, and how many rows they had."""

    def __init__(self, query: Query, run: Run, total: int) -> None:
        self._query = query
        self._run = run
        self._total = total
        self.rows = 0

    def __iter__(self) -> Iterator[IO[bytes]]:
        end: Place | None = None
        while True:
            with tempfile.SpooledTemporaryFile(_IN_MEMORY) as page:
                with self._run.connection() as connection:
                    rows, end = self._query.copy_page(connection, page.write, after=end, form=CELLS)
                self.rows += rows
                page.seek(0)
                yield page
            self._run.progress(
                min(1.0, self.rows / max(1, self._total)) * WRITTEN, f"{self.rows:,} of {self._total:,} rows"
            )
            if end is None:
                return


def _workbook(path: Path, dataset: Dataset, pages: Iterator[IO[bytes]], total: int) -> None:
    from rustpy_xlsxwriter import FastExcel, Format

    title, columns = dataset.title, dataset.columns
    names = names_of(dataset)
    rows = _rows(names, [_converter(column) for column in columns], pages)
    first = next(rows, dict.fromkeys(names))  # without any row there would be no header
    rows = chain([first], rows)
    header = Format().set_bold()
    book = FastExcel(path).format(datetime_format="yyyy-mm-dd hh:mm:ss").freeze(row=1)
    widths: dict[str, float] = {
        name: 22.0 if isinstance(column.type, DateTime) else 18.0 for name, column in zip(names, columns, strict=True)
    }
    sheets = max(1, -(-total // SHEET_ROWS))
    for number in range(1, sheets + 1):
        name = title[:28] if number == 1 else f"{title[:25]} {number}"
        # The last one takes all that is left, so that rows which nobody expected are an error and not left out.
        sheet = islice(rows, SHEET_ROWS) if number < sheets else rows
        book.sheet(name, sheet, header_format=header, column_widths=widths, autofilter=True)
    book.save()


def _rows(
    names: list[str], converters: list[Callable[[str], Cell]], pages: Iterator[IO[bytes]]
) -> Iterator[dict[str, Cell]]:
    for page in pages:
        for line in csv.reader(io.TextIOWrapper(page, "utf-8", newline="")):
            yield {
                name: convert(cell) if cell else None
                for name, convert, cell in zip(names, converters, line, strict=True)
            }


def _converter(column: ColumnElement[Any]) -> Callable[[str], Cell]:
    match column.type:
        case Boolean():
            return lambda cell: cell == "true"
        case Integer() | BigInteger():
            return _number
        case DateTime():
            return _moment
        case _:
            return _text


def _number(cell: str) -> Cell:
    number = int(cell)
    return number if -_EXACT <= number <= _EXACT else cell


def _moment(cell: str) -> Cell:
    # Excel knows no time zones, and no years before 1900: these stay text, like Postgres's `infinity`.
    try:
        moment = datetime.fromisoformat(cell).replace(tzinfo=None)
    except ValueError:
        return cell
    return moment if moment.year >= 1900 else cell


def _text(cell: str) -> Cell:
    return cell if len(cell) <= _CELL_CHARACTERS else cell[: _CELL_CHARACTERS - 1] + "…"
