"""Writes a data set to a file in the bucket, and mails a link to it.

    count -> page by page: Postgres -> file, or parts of it -> complete -> note it -> mail, with the completion

Text files go from Postgres to the bucket as they come, and are gone on with in a further attempt when the time is up. A
spreadsheet is packed at the end and cannot be gone on with: one that would be too large is refused before it begins.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import JsonValue

from qstash_jobs.bucket import EXPORTS, KEPT, FileType
from qstash_jobs.jobs.export_data import ExportData, ExportFormat
from qstash_jobs.jobs.send_email import ExportReadyData
from qstash_jobs.links import link_to
from qstash_jobs.run import Continue, Done, Run
from qstash_jobs.serving import serve
from qstash_jobs.settings import settings

_CONTENT_TYPES: dict[ExportFormat, str] = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def export(payload: ExportData, run: Run) -> Done | Continue:
    """Write the file; `{"key", "rows", "bytes", "expiresAt"}`."""
    # SQLAlchemy and boto3 are loaded by the first export, not by a request that turns out to be forged.
    from functions.export_data import spreadsheet, textfile
    from functions.export_data.datasets import CUSTOM, DATASETS
    from functions.export_data.pages import Query
    from functions.export_data.textfile import Position
    from saas.files import note_file

    dataset = {**DATASETS, **CUSTOM}[payload.dataset]
    link_to("", settings())  # a missing setting is heard of now, and not once the work is done
    key = f"{EXPORTS}{run.job_id}.{payload.format}"
    filename = f"{dataset.title.replace(' ', '-')}-{datetime.now(UTC):%Y-%m-%d}.{payload.format}"
    kind = FileType(content_type=_CONTENT_TYPES[payload.format], filename=filename)
    position = None if run.checkpoint is None else Position.model_validate(run.checkpoint)
    query = Query(
        dataset=dataset, filters=payload.filters, as_of=datetime.now(UTC) if position is None else position.as_of
    )
    if payload.format == "xlsx":
        written = spreadsheet.write(query, run, key, kind)
    else:
        outcome = textfile.write(query, payload.format, run, key, kind, position)
        if isinstance(outcome, Position):
            return Continue(outcome.model_dump(mode="json"))
        written = outcome
    with run.connection() as connection:
        note_file(
            connection,
            key=key,
            kind="export",
            content_type=kind.content_type,
            size=written.size,
            expires_at=datetime.now(UTC) + KEPT[EXPORTS],
            job_id=run.job_id,
            user_id=run.user_id,
            organization_id=run.organization_id,
        )
    link = link_to(key, settings())
    mail = ExportReadyData(
        dataset_name=dataset.title,
        format=payload.format.upper(),
        rows=written.rows,
        size=written.size,
        download_url=link.url,
        expires_at=link.expires_at,
    )
    run.progress(1.0, f"{written.rows:,} rows, written")
    run.logger.info("Export written", extra={"rows": written.rows, "bytes": written.size, "format": payload.format})
    result: JsonValue = {
        "key": key,
        "rows": written.rows,
        "bytes": written.size,
        "expiresAt": link.expires_at.isoformat(),
    }
    return Done(result, then=[mail.addressed(payload.notify_email)])


handler = serve(ExportData, export)
