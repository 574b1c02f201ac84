"""A text file of a data set: what Postgres writes goes to the bucket as it comes, in constant memory.

When the time is up, what was written is settled in the bucket, and another attempt goes on behind its last row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel

from functions.export_data.forms import CSV, JSON, NDJSON
from functions.export_data.pages import Place, Query, Written
from functions.export_data.upload import Settled, Upload
from qstash_jobs.bucket import FileType, bucket
from qstash_jobs.run import Run

TextFormat = Literal["csv", "json", "ndjson"]

_FORMS = {"csv": CSV, "json": JSON, "ndjson": NDJSON}

SPARE = timedelta(seconds=5)
"""Left for settling what was written, besides the time of two pages like the slowest."""


class Position(BaseModel):
    """How far an export is: what a further attempt needs in order to go on."""

    as_of: datetime
    """When it began."""
    total: int
    """Rows there were then."""
    rows: int = 0
    """Rows that are written."""
    end: Place | None = None
    """The last of them."""
    file: Settled


def write(
    query: Query, form: TextFormat, run: Run, key: str, kind: FileType, position: Position | None
) -> Written | Position:
    """Write the file, or as much of it as there is time for."""
    if position is not None and not bucket().has_upload(key, position.file.upload_id):
        # An earlier attempt completed the upload and died before it could say so, or the bucket has cleared it away.
        run.logger.warning("Upload is gone; export begins anew")
        position = None
    return _write(query, form, run, key, position or _begin(query, run, key, kind))


def _begin(query: Query, run: Run, key: str, kind: FileType) -> Position:
    with run.connection() as connection:
        total = query.count(connection)
    return Position(as_of=query.as_of, total=total, file=Settled(upload_id=bucket().begin(key, kind)))


def _write(query: Query, form: TextFormat, run: Run, key: str, position: Position) -> Written | Position:
    slowest = timedelta(0)
    rows, end = position.rows, position.end
    with Upload(bucket(), key, position.file) as upload:
        add = _elements(upload.write, first=rows == 0) if form == "json" else upload.write
        while True:
            began = time.monotonic()
            with run.connection() as connection:
                found, end = query.copy_page(connection, add, after=end, form=_FORMS[form], header=end is None)
            rows += found
            if end is None:
                break
            run.progress(min(1.0, rows / max(1, position.total)), f"{rows:,} of {position.total:,} rows")
            slowest = max(slowest, timedelta(seconds=time.monotonic() - began))
            if run.remaining < SPARE + 2 * slowest and (settled := upload.settle()) is not None:
                return position.model_copy(update={"rows": rows, "end": end, "file": settled})
        if form == "json":
            upload.write(b"]\n" if rows else b"[]\n")
        upload.complete()
        return Written(rows=rows, size=upload.size)


def _elements(write: Callable[[bytes], object], *, first: bool) -> Callable[[bytes], object]:
    """Each row brings a comma before it; the first one a bracket instead."""

    def add(content: bytes) -> None:
        nonlocal first
        write(b"[\n" + content[1:] if first else content)
        first = False

    return add
