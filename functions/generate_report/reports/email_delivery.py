"""A report of one's own, as an example: what became of the mails that were sent.

A mail counts where it was sent, whatever became of it later; one that was complained about was delivered before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, func, select

from functions.generate_report.document import Chart, Column, Figure, Section, Series, Table, column_of, compared, share
from functions.generate_report.source import Source
from saas.tables import email_deliveries

_COUNTED = (Column(label="Sent"), Column(label="Delivered"), Column(label="Bounced"), Column(label="Complained"))


def sections(source: Source) -> Iterator[Section]:
    """The whole report."""
    mails, by = email_deliveries.c, source.period.grain
    sent_before = source.row(select(func.count()).where(source.in_either(mails.sent_at), ~source.is_now(mails.sent_at)))
    total = source.row(select(*_counts()).where(source.within(mails.sent_at)))
    sent, delivered, bounced, complained = (int(number) for number in total)
    over_time = select(source.bucket(mails.sent_at), *_counts()).where(source.within(mails.sent_at)).group_by("bucket")
    days = source.over_time({row.bucket: tuple(row[1:]) for row in source.rows(over_time)}, 4)
    template = func.coalesce(mails.template, "none").label("template")
    by_template = select(template, *_counts()).where(source.within(mails.sent_at)).group_by("template")
    templates = tuple(tuple(row) for row in source.rows(by_template.order_by(func.count().desc(), "template")))
    yield Section(
        title="What became of the mails",
        figures=(
            compared("Sent", sent, sent_before[0]),
            Figure(label="Delivered", value=share(delivered, sent), unit="percent"),
            Figure(label="Bounced", value=share(bounced, sent), unit="percent"),
            Figure(label="Complained about", value=share(complained, sent), unit="percent"),
        ),
        charts=(
            Chart(
                title=f"Sent and delivered by {by}",
                kind="line",
                axis=by,
                labels=tuple(str(row[0]) for row in days),
                series=(
                    Series(name="Sent", values=column_of(days, 1)),
                    Series(name="Delivered", values=column_of(days, 2)),
                ),
            ),
        ),
        tables=(
            Table(
                title="By template",
                columns=(Column(label="Template", unit="text"), *_COUNTED),
                rows=templates,
                total=("All", sent, delivered, bounced, complained),
            ),
            Table(
                title=f"By {by}",
                columns=(source.time_column, *_COUNTED),
                rows=days,
                total=("Period", sent, delivered, bounced, complained),
            ),
        ),
    )


def _counts() -> list[ColumnElement[Any]]:
    mails = email_deliveries.c
    return [
        func.count().label("sent"),
        func.count(mails.delivered_at).label("delivered"),
        func.count(mails.bounced_at).label("bounced"),
        func.count(mails.complained_at).label("complained"),
    ]
