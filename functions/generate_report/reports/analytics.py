"""Who signed up, who was active, and where most of it happened.

An active user is one who did at least one thing that the activity log holds; whoever was active on three days counts on
each of them, and once in the period.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, cast, func, select

from functions.generate_report.document import (
    Chart,
    Column,
    Section,
    Series,
    Table,
    column_of,
    compared,
    share,
)
from functions.generate_report.source import Source
from saas.tables import activity_logs, organizations, users

TOP = 10
"""Organizations that are named."""


def sections(source: Source) -> Iterator[Section]:
    """The whole report."""
    logs, by = activity_logs.c, source.period.grain
    signed_up = {row.bucket: row.many for row in source.rows(_made_over_time(source))}
    active = {row.bucket: (row.users, row.many) for row in source.rows(_activity_over_time(source))}
    new_users = source.row(_made(source, users.c.created_at))
    new_organizations = source.row(_made(source, organizations.c.created_at))
    people = source.row(_active_users(source))
    happened = source.row(_made(source, logs.created_at))
    rows = source.over_time(
        {one: (signed_up.get(one, 0), *active.get(one, (0, 0))) for one in {*signed_up, *active}}, 3
    )
    labels = tuple(str(row[0]) for row in rows)

    def over_time(title: str, name: str, column: int, kind: str) -> Chart:
        series = (Series(name=name, values=column_of(rows, column)),)
        return Chart.model_validate({"title": title, "kind": kind, "axis": by, "labels": labels, "series": series})

    yield Section(
        title="Growth and activity",
        figures=(
            compared("Sign-ups", new_users.now, new_users.before),
            compared("New organizations", new_organizations.now, new_organizations.before),
            compared("Active users", people.now, people.before),
            compared("Activities", happened.now, happened.before),
        ),
        charts=(
            over_time(f"Sign-ups by {by}", "Sign-ups", 1, "columns"),
            over_time(f"Active users by {by}", "Active users", 2, "line"),
            over_time(f"Activities by {by}", "Activities", 3, "columns"),
        ),
    )
    yield _top(source, happened.now)
    yield Section(
        title=f"Figures by {by}",
        tables=(
            Table(
                title=f"Sign-ups and activity by {by}",
                columns=(
                    source.time_column,
                    Column(label="Sign-ups"),
                    Column(label="Active users"),
                    Column(label="Activities"),
                ),
                rows=rows,
                total=("Period", new_users.now, people.now, happened.now),
                note=f"Who was active in more than one {by} is counted once in the period.",
            ),
        ),
    )


def _made(source: Source, moment: ColumnElement[Any]) -> Select[int, int]:
    """How many rows of a table are of the period, and of the one before."""
    now = source.is_now(moment)
    return select(
        func.count().filter(now).label("now"),
        func.count().filter(~now).label("before"),
    ).where(source.in_either(moment))


def _made_over_time(source: Source) -> Select[date, int]:
    moment = users.c.created_at
    return select(source.bucket(moment), func.count().label("many")).where(source.within(moment)).group_by("bucket")


def _activity_over_time(source: Source) -> Select[Any]:
    # In two steps, because Postgres counts distinct values by sorting them, and groups by hashing.
    logs = activity_logs.c
    each = (
        select(source.bucket(logs.created_at), logs.user_id, func.count().label("many"))
        .where(source.within(logs.created_at))
        .group_by("bucket", logs.user_id)
        .subquery()
    )
    return select(
        each.c.bucket,
        func.count(each.c.user_id).label("users"),
        cast(func.sum(each.c.many), BigInteger).label("many"),
    ).group_by(each.c.bucket)


def _active_users(source: Source) -> Select[int, int]:
    logs = activity_logs.c
    now = source.is_now(logs.created_at)
    each = (
        select(func.bool_or(now).label("now"), func.bool_or(~now).label("before"))
        .where(and_(source.in_either(logs.created_at), logs.user_id.is_not(None)))
        .group_by(logs.user_id)
        .subquery()
    )
    return select(
        func.count().filter(each.c.now).label("now"), func.count().filter(each.c.before).label("before")
    ).select_from(each)


def _top(source: Source, all_of_it: int) -> Section:
    logs = activity_logs.c
    ranked = source.rows(
        select(logs.organization_id, func.count().label("many"))
        .where(and_(source.within(logs.created_at), logs.organization_id.is_not(None)))
        .group_by(logs.organization_id)
        .order_by(func.count().desc(), logs.organization_id)
        .limit(TOP)
    )
    users_of = {row.id: (row.name, row.users) for row in source.rows(_who_was_active(source, [r[0] for r in ranked]))}
    found = [(*users_of[row.organization_id], row.many) for row in ranked]
    return Section(
        title="Top organizations",
        charts=(
            Chart(
                title=f"The {TOP} most active organizations",
                kind="bars",
                axis="text",
                labels=tuple(name for name, _, _ in found),
                series=(Series(name="Activities", values=tuple(count for *_, count in found)),),
            ),
        )
        if found
        else (),
        tables=(
            Table(
                title="Top organizations",
                columns=(
                    Column(label="Organization", unit="text"),
                    Column(label="Active users"),
                    Column(label="Activities"),
                    Column(label="Share of all", unit="percent"),
                ),
                rows=tuple((name, people, count, share(count, all_of_it)) for name, people, count in found),
            ),
        ),
    )


def _who_was_active(source: Source, ids: list[int]) -> Select[Any]:
    """The names of these organizations, and how many users each had that were active."""
    logs = activity_logs.c
    each = (
        select(logs.organization_id, logs.user_id)
        .where(source.within(logs.created_at), logs.organization_id.in_(ids))
        .group_by(logs.organization_id, logs.user_id)
        .subquery()
    )
    return (
        select(organizations.c.id, organizations.c.name, func.count(each.c.user_id).label("users"))
        .join_from(each, organizations, organizations.c.id == each.c.organization_id)
        .group_by(organizations.c.id, organizations.c.name)
    )
