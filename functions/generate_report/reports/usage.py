"""What was done, by whom and how often, beside the period before: of all organizations, or of one alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, desc, func, select

from functions.generate_report.document import (
    Cell,
    Chart,
    Column,
    Section,
    Series,
    Table,
    change,
    column_of,
    compared,
)
from functions.generate_report.source import Source
from saas.tables import activity_logs, organizations

NAMED = 20
"""Organizations that are named; the others are one row."""
DETAILED = 10
"""Of those, the ones whose actions are told apart."""
CHARTED = 12
"""Actions in the chart; the table has all."""

NOBODY = "No organization"
_MOST: tuple[ColumnElement[Any], ...] = (desc("now"), desc("before"))
_COMPARED = (Column(label="Activities"), Column(label="Period before"), Column(label="Change", unit="change"))


def sections(source: Source) -> Iterator[Section]:
    """The whole report."""
    total = source.row(_total(source))
    yield _overview(source, total)
    if source.organization_id is None:
        yield from _organizations(source, total)


def _scope(source: Source) -> ColumnElement[bool]:
    logs = activity_logs.c
    if source.organization_id is None:
        return source.in_either(logs.created_at)
    return and_(source.in_either(logs.created_at), logs.organization_id == source.organization_id)


def _counted(source: Source) -> tuple[ColumnElement[int], ColumnElement[int]]:
    now = source.is_now(activity_logs.c.created_at)
    return func.count().filter(now).label("now"), func.count().filter(~now).label("before")


def _total(source: Source) -> Select[Any]:
    # In two steps, because Postgres counts distinct values by sorting them, and groups by hashing.
    logs = activity_logs.c
    each = (
        select(logs.user_id, logs.organization_id, *_counted(source))
        .where(_scope(source))
        .group_by(logs.user_id, logs.organization_id)
        .subquery()
    )
    now, before = each.c.now > 0, each.c.before > 0
    return select(
        func.coalesce(func.sum(each.c.now), 0).label("now"),
        func.coalesce(func.sum(each.c.before), 0).label("before"),
        func.count(each.c.user_id.distinct()).filter(now).label("users_now"),
        func.count(each.c.user_id.distinct()).filter(before).label("users_before"),
        func.count(each.c.organization_id.distinct()).filter(now).label("organizations_now"),
        func.count(each.c.organization_id.distinct()).filter(before).label("organizations_before"),
    )


def _overview(source: Source, total: Row[Any]) -> Section:
    logs, by = activity_logs.c, source.period.grain
    days = source.over_time(
        {
            row.bucket: (row.many,)
            for row in source.rows(
                select(source.bucket(logs.created_at), func.count().label("many"))
                .where(_scope(source), source.is_now(logs.created_at))
                .group_by("bucket")
            )
        },
        1,
    )
    actions = source.rows(
        select(logs.action, *_counted(source)).where(_scope(source)).group_by(logs.action).order_by(*_MOST, logs.action)
    )
    figures = [
        compared("Activities", int(total.now), int(total.before)),
        compared("Active users", total.users_now, total.users_before),
    ]
    if source.organization_id is None:
        figures.append(compared("Active organizations", total.organizations_now, total.organizations_before))
    top = [row for row in actions if row.now][:CHARTED]
    charts = [
        Chart(
            title=f"Activities by {by}",
            kind="columns",
            axis=by,
            labels=tuple(str(row[0]) for row in days),
            series=(Series(name="Activities", values=column_of(days, 1)),),
        )
    ]
    if top:
        charts.append(
            Chart(
                title="Activities by action",
                kind="bars",
                axis="text",
                labels=tuple(row.action for row in top),
                series=(Series(name="Activities", values=tuple(row.now for row in top)),),
            )
        )
    return Section(
        title="What was done",
        figures=tuple(figures),
        charts=tuple(charts),
        tables=(
            Table(
                title="By action",
                columns=(Column(label="Action", unit="text"), *_COMPARED),
                rows=tuple(_row(row.action, row) for row in actions),
                total=_row("All", total),
            ),
            Table(
                title=f"By {by}",
                columns=(source.time_column, Column(label="Activities")),
                rows=days,
                total=("Period", int(total.now)),
            ),
        ),
    )


def _organizations(source: Source, total: Row[Any]) -> Iterator[Section]:
    logs = activity_logs.c
    grouped = (
        select(logs.organization_id, *_counted(source)).where(_scope(source)).group_by(logs.organization_id).subquery()
    )
    ranked = select(
        grouped,
        func.row_number()
        .over(order_by=(grouped.c.now.desc(), grouped.c.before.desc(), grouped.c.organization_id))
        .label("rank"),
    ).subquery()
    # The rest is one row, whose rank is that of the first who is not named.
    kept = func.least(ranked.c.rank, NAMED + 1).label("kept")
    found = source.rows(
        select(
            kept,
            func.min(ranked.c.organization_id).label("organization_id"),
            func.min(organizations.c.name).label("name"),
            func.count().label("many"),
            func.sum(ranked.c.now).label("now"),
            func.sum(ranked.c.before).label("before"),
        )
        .join_from(ranked, organizations, organizations.c.id == ranked.c.organization_id, isouter=True)
        .group_by("kept")
        .order_by("kept")
    )
    named, rest = [row for row in found if row.kept <= NAMED], [row for row in found if row.kept > NAMED]
    rows = [_row(row.name if row.organization_id is not None else NOBODY, row) for row in named]
    rows += [_row(f"{row.many:,} others", row) for row in rest]
    top = [row for row in named if row.now][:DETAILED]
    yield Section(
        title="By organization",
        charts=(
            Chart(
                title="The most active organizations",
                kind="bars",
                axis="text",
                labels=tuple(row.name or NOBODY for row in top),
                series=(Series(name="Activities", values=tuple(int(row.now) for row in top)),),
            ),
        )
        if top
        else (),
        tables=(
            Table(
                title="By organization",
                columns=(Column(label="Organization", unit="text"), *_COMPARED),
                rows=tuple(rows),
                total=_row("All", total),
                note=f"The {NAMED} with the most activities, and all others together." if rest else None,
            ),
        ),
    )
    yield Section(title="By organization and action", tables=tuple(_details(source, top)))


def _details(source: Source, top: Sequence[Row[Any]]) -> Iterator[Table]:
    logs = activity_logs.c
    ids = [row.organization_id for row in top if row.organization_id is not None]
    found = source.rows(
        select(logs.organization_id, logs.action, *_counted(source))
        .where(_scope(source), logs.organization_id.in_(ids))
        .group_by(logs.organization_id, logs.action)
        .order_by(*_MOST, logs.action)
    )
    rows: list[tuple[Cell, ...]] = []
    for one in top:
        rows += [(one.name, *_row(row.action, row)) for row in found if row.organization_id == one.organization_id]
    yield Table(
        title=f"The {len(ids)} most active organizations by action" if len(ids) > 1 else "By organization and action",
        columns=(Column(label="Organization", unit="text"), Column(label="Action", unit="text"), *_COMPARED),
        rows=tuple(rows),
    )


def _row(name: str, row: Row[Any]) -> tuple[Cell, ...]:
    now, before = int(row.now), int(row.before)
    return (name, now, before, change(now, before))
