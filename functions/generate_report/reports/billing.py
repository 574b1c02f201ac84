"""Monthly recurring revenue (MRR) and what moved it, invoices by state, payments that failed, and churn: each currency for itself, since
no sum of several means anything.

Invoices are those issued in the period, in the state that they have now; failed payments are invoices of which a payment
last failed in the period, whatever became of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import accumulate
from typing import Any

from sqlalchemy import BigInteger, Row, Select, cast, func, select

from functions.generate_report import revenue
from functions.generate_report.document import (
    Cell,
    Chart,
    Column,
    Figure,
    Section,
    Series,
    Table,
    compared,
    share,
)
from functions.generate_report.source import Source
from saas.tables import INVOICE_STATUSES, invoices

_LOST = ("uncollectible", "void")


@dataclass
class Found:
    """What there is in one currency."""

    movements: dict[str, Row[Any]] = field(default_factory=dict)
    deltas: dict[date | None, int] = field(default_factory=dict)
    invoices: dict[str, Row[Any]] = field(default_factory=dict)
    failures: list[Row[Any]] = field(default_factory=list)

    @property
    def opening(self) -> int:
        """MRR when the period begins."""
        return sum(row.before for row in self.movements.values())

    @property
    def closing(self) -> int:
        """MRR when it ends."""
        return sum(row.after for row in self.movements.values())

    def customers(self, *, at_the_end: bool) -> int:
        """Who pays when the period begins, or ends."""
        return sum(row.customers for row in self.movements.values() if (row.after if at_the_end else row.before))


def sections(source: Source) -> Iterator[Section]:
    """The whole report: a section for each currency, that of the most revenue first."""
    found: Mapping[str, Found] = defaultdict(Found)
    for row in source.rows(revenue.movements(source)):
        found[row.currency].movements[row.movement] = row
    for row in source.rows(revenue.along(source)):
        found[row.currency].deltas[row.bucket] = row.delta
    for row in source.rows(_invoices(source)):
        found[row.currency].invoices[row.status] = row
    for row in source.rows(_failures(source)):
        found[row.currency].failures.append(row)
    told = {
        currency: one for currency, one in found.items() if one.opening or one.closing or one.invoices or one.failures
    }
    if not told:
        yield Section(title="Billing", text="Nobody paid anything in this period, and no invoice was issued.")
    for currency, one in sorted(told.items(), key=lambda item: (-item[1].closing, item[0])):
        yield _section(source, currency, one)


def _invoices(source: Source) -> Select[Any]:
    bills = invoices.c
    return (
        select(
            bills.currency,
            bills.status,
            func.count().label("many"),
            cast(func.sum(bills.amount_due), BigInteger).label("due"),
            cast(func.sum(bills.amount_paid), BigInteger).label("paid"),
        )
        .where(source.within(bills.issued_at))
        .group_by(bills.currency, bills.status)
    )


def _failures(source: Source) -> Select[Any]:
    bills = invoices.c
    reason = func.coalesce(bills.failure_reason, "unknown").label("reason")
    due = func.coalesce(func.sum(bills.amount_due), 0)
    return (
        select(
            bills.currency,
            reason,
            func.count().label("many"),
            cast(due, BigInteger).label("due"),
            func.count().filter(bills.status == "paid").label("recovered"),
            func.count().filter(bills.status.in_(_LOST)).label("lost"),
        )
        .where(source.within(bills.failed_at))
        .group_by(bills.currency, "reason")
        .order_by(func.count().desc(), "reason")
    )


def _section(source: Source, currency: str, found: Found) -> Section:
    buckets, by = source.period.buckets, source.period.grain
    opening, closing = found.opening, found.closing
    steps = [found.deltas.get(bucket, 0) for bucket in buckets]
    standing = tuple(accumulate(steps, initial=found.deltas.get(None, 0)))[1:]
    names = tuple(source.name_of(bucket) for bucket in buckets)
    moved = [(key, label, *_moved(found, key)) for key, label in revenue.MOVEMENTS.items()]
    return Section(
        title=f"In {currency.upper()}",
        figures=_figures(found, currency),
        charts=(
            Chart(
                title=f"MRR at the end of each {by}",
                kind="line",
                axis=by,
                labels=names,
                series=(Series(name="MRR", values=standing),),
                unit="money",
                currency=currency,
            ),
            Chart(
                title="What moved it",
                kind="bars",
                axis="text",
                labels=tuple(label for _, label, *_ in moved),
                series=(Series(name="MRR", values=tuple(amount for *_, amount in moved)),),
                unit="money",
                currency=currency,
            ),
        ),
        tables=(
            _movement_table(found, currency),
            _invoice_table(found, currency),
            _failure_table(found, currency),
            Table(
                title=f"MRR by {by}",
                columns=(source.time_column, _money("At its end", currency), _money("Change", currency)),
                rows=tuple(zip(names, standing, steps, strict=True)),
                total=("Period", closing, closing - opening),
            ),
        ),
    )


def _figures(found: Found, currency: str) -> tuple[Figure, ...]:
    opening, closing = found.opening, found.closing
    begun, ended = found.customers(at_the_end=False), found.customers(at_the_end=True)
    gone, lost = _moved(found, "churn")
    failed = sum(row.many for row in found.failures)
    recovered = sum(row.recovered for row in found.failures)
    return (
        compared("Monthly recurring revenue", closing, opening, currency=currency),
        compared("Paying customers", ended, begun),
        Figure(
            label="Revenue churn", value=share(-lost, opening), unit="percent", note="of the revenue at the beginning"
        ),
        Figure(
            label="Customer churn", value=share(gone, begun), unit="percent", note="of the customers at the beginning"
        ),
        Figure(
            label="Collected",
            value=sum(row.paid for row in found.invoices.values()),
            unit="money",
            currency=currency,
            note="of the invoices issued",
        ),
        Figure(label="Failed payments", value=failed, note=f"{recovered:,} paid since" if failed else None),
    )


def _moved(found: Found, movement: str) -> tuple[int, int]:
    """Customers, and by how much their revenue moved."""
    row = found.movements.get(movement)
    return (row.customers, row.after - row.before) if row is not None else (0, 0)


def _money(label: str, currency: str) -> Column:
    return Column(label=label, unit="money", currency=currency)


def _movement_table(found: Found, currency: str) -> Table:
    rows: list[tuple[Cell, ...]] = [("At the beginning", found.customers(at_the_end=False), found.opening)]
    rows += [(label, *_moved(found, key)) for key, label in revenue.MOVEMENTS.items()]
    return Table(
        title="MRR and its movements",
        columns=(Column(label="Movement", unit="text"), Column(label="Customers"), _money("MRR", currency)),
        rows=tuple(rows),
        total=("At the end", found.customers(at_the_end=True), found.closing),
        note="The two edges of the period compared: who came and went within it is not seen.",
    )


def _invoice_table(found: Found, currency: str) -> Table:
    rows = [found.invoices[status] for status in INVOICE_STATUSES if status in found.invoices]
    return Table(
        title="Invoices by state",
        columns=(
            Column(label="State", unit="text"),
            Column(label="Invoices"),
            _money("Due", currency),
            _money("Paid", currency),
        ),
        rows=tuple((row.status.capitalize(), row.many, row.due, row.paid) for row in rows),
        total=("All", sum(row.many for row in rows), sum(row.due for row in rows), sum(row.paid for row in rows)),
        note="Issued in the period, in the state that they have now.",
    )


def _failure_table(found: Found, currency: str) -> Table:
    rows = [
        (
            row.reason.replace("_", " ").capitalize(),
            row.many,
            row.due,
            row.recovered,
            row.lost,
            row.many - row.recovered - row.lost,
        )
        for row in found.failures
    ]
    columns = ("Failed", "", "Paid since", "Given up", "Still open")
    return Table(
        title="Failed payments",
        columns=(
            Column(label="Reason", unit="text"),
            *(_money("Due", currency) if not label else Column(label=label) for label in columns),
        ),
        rows=tuple(rows),
        total=("All", *(sum(row[index] for row in rows) for index in range(1, 6))),
        note="Invoices of which a payment last failed in the period, whatever became of them.",
    )
