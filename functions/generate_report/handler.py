"""Makes a report over a period and mails it: questions, a document, a file in the bucket, a mail to each recipient.

What an attempt leaves behind it finds again: the file's key is the job's id, its row is that of the key, and the mails are
enqueued in the transaction that completes the job. So an attempt that dies anywhere leaves nothing twice.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qstash_jobs.bucket import KEPT, REPORTS, FileType, bucket
from qstash_jobs.errors import NonRetryable
from qstash_jobs.jobs.generate_report import GenerateReport
from qstash_jobs.jobs.send_email import Attachment, ReportReadyData, SendEmail
from qstash_jobs.links import link_to
from qstash_jobs.run import Done, Run
from qstash_jobs.serving import serve
from qstash_jobs.settings import settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from functions.generate_report.document import Report
    from functions.generate_report.period import Period

ATTACHED_LIMIT = 5_000_000
"""Bytes; a larger file is linked to. Mail servers refuse mails that are much larger than ten megabytes, and an attachment
grows by a third on its way."""

_QUESTIONS = 12
"""About as many as a report asks: for the progress."""


def generate(payload: GenerateReport, run: Run) -> Done:
    """Make the file and its mails; the result names the file's key, its size in bytes, and how it was sent."""
    # What a report needs is loaded by the first one, not by a request that turns out to be forged.
    from functions.generate_report.rendering import FORMATS
    from saas.files import note_file

    run.progress(0, "Asking the database")
    report = _ask(payload, run)
    run.progress(0.6, "Typesetting")
    kind = FORMATS[payload.format]
    content = kind.write(report)
    run.progress(0.85, "Writing the file")
    key = f"{REPORTS}{run.job_id}.{payload.format}"
    filename = f"{report.name}-{report.period.from_.date()}.{payload.format}"
    bucket().put(key, content, FileType(content_type=kind.content_type, filename=filename))
    with run.connection() as connection:
        note_file(
            connection,
            key=key,
            kind="report",
            content_type=kind.content_type,
            size=len(content),
            expires_at=datetime.now(UTC) + KEPT[REPORTS],
            job_id=run.job_id,
            user_id=run.user_id,
            organization_id=payload.organization_id or run.organization_id,
        )
    attached = len(content) <= ATTACHED_LIMIT
    run.progress(1, f"{len(content):,} bytes, to be mailed to {len(payload.recipients)}")
    run.logger.info("Report made", extra={"report": report.name, "bytes": len(content), "attached": attached})
    return Done(
        {"key": key, "bytes": len(content), "sent": "attached" if attached else "linked"},
        then=_mails(payload, report, key, filename, attached=attached),
    )


def _ask(payload: GenerateReport, run: Run) -> Report:
    """The report with all its numbers, as the database was at one moment."""
    from sqlalchemy import text

    from functions.generate_report.document import Report, Span
    from functions.generate_report.period import Period
    from functions.generate_report.reports import definition_of
    from functions.generate_report.source import Source

    name, definition = definition_of(payload)
    period, asked = Period.of(payload), 0

    def count() -> None:
        nonlocal asked
        asked += 1
        run.progress(min(0.55, 0.6 * asked / _QUESTIONS), "Asking the database")

    with run.connection() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        _check_zone(connection, period)
        subject = _subject(connection, payload.organization_id)
        sections = tuple(definition.sections(Source(connection, period, payload.organization_id, count)))
    return Report(
        name=name,
        title=definition.title,
        subject=subject,
        product=settings().product_name,
        period=Span(
            from_=period.begins.astimezone(period.zone),
            to=period.ends.astimezone(period.zone),
            time_zone=period.zone.key,
            label=period.label,
        ),
        notes=("The period had not ended when this report was made.",) if period.ends > datetime.now(UTC) else (),
        sections=sections,
    )


def _check_zone(connection: Connection, period: Period) -> None:
    """Postgres has time zones of its own. Raises `NonRetryable` when it lacks this one."""
    from sqlalchemy import text

    known = text("SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = :name)")
    if period.zone.key != "UTC" and not connection.execute(known, {"name": period.zone.key}).scalar_one():
        raise NonRetryable(f"Postgres knows no time zone {period.zone.key!r}: choose another one for the report")


def _subject(connection: Connection, organization_id: int | None) -> str | None:
    """The organization's name. Raises `NonRetryable` when there is none."""
    from sqlalchemy import select

    from saas.tables import organizations

    if organization_id is None:
        return None
    name = connection.execute(
        select(organizations.c.name).where(organizations.c.id == organization_id)
    ).scalar_one_or_none()
    if name is None:
        raise NonRetryable(f"there is no organization {organization_id}")
    return str(name)


def _mails(payload: GenerateReport, report: Report, key: str, filename: str, *, attached: bool) -> list[SendEmail]:
    title, period = report.title, report.period.label
    if attached:
        data = ReportReadyData(report_name=title, period=period)
        return [data.addressed(to, Attachment(key=key, filename=filename)) for to in payload.recipients]
    link = link_to(key, settings())
    data = ReportReadyData(report_name=title, period=period, download_url=link.url, expires_at=link.expires_at)
    return [data.addressed(to) for to in payload.recipients]


handler = serve(GenerateReport, generate)
