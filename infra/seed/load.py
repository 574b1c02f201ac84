"""Into the tables, through COPY, in one transaction: a seed that is stopped leaves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError

from infra.migrations import has_saas
from infra.seed import activity, billing, people
from infra.seed.indexes import put_aside
from infra.seed.population import Population
from infra.seed.refusal import SeedRefused
from infra.seed.scale import Period, Scale
from qstash_jobs.drivers import DRIVERS
from saas.tables import metadata

ROWS_OF_A_COPY = 20_000
ROWS_OF_A_MESSAGE = 500

Rows = Callable[[Population], Iterator[str]]

TABLES: dict[str, tuple[str, Rows]] = {
    "users": (
        "id, email, name, status, locale, time_zone, marketing_consent, email_verified_at, created_at, updated_at",
        people.users,
    ),
    "organizations": (
        "id, name, slug, billing_email, country, stripe_customer_id, created_at, updated_at",
        people.organizations,
    ),
    "organization_members": ("organization_id, user_id, role, created_at", people.members),
    "sessions": ("id, user_id, token_hash, ip_address, user_agent, created_at, expires_at", people.sessions),
    "invitations": (
        "id, organization_id, invited_by, email, role, token_hash, created_at, expires_at, accepted_at, revoked_at",
        people.invitations,
    ),
    "subscriptions": (
        "id, organization_id, stripe_subscription_id, stripe_customer_id, status, plan, quantity, amount, currency, "
        "billing_interval, started_at, trial_ends_at, current_period_start, current_period_end, cancel_at_period_end, "
        "canceled_at, ended_at, last_event_at, created_at, updated_at",
        billing.subscriptions,
    ),
    "subscription_changes": (
        "id, subscription_id, event_id, status, plan, quantity, amount, currency, billing_interval, changed_at",
        billing.subscription_changes,
    ),
    "invoices": (
        "id, organization_id, stripe_invoice_id, stripe_customer_id, stripe_subscription_id, number, status, amount_due, "
        "amount_paid, currency, attempts, issued_at, due_at, paid_at, failed_at, failure_reason, period_start, "
        "period_end, last_event_at, created_at, updated_at",
        billing.invoices,
    ),
    "activity_logs": (
        "id, organization_id, user_id, action, target_type, target_id, ip_address, details, created_at",
        activity.activity_logs,
    ),
}
"""In an order in which each finds what it refers to."""


@dataclass(frozen=True)
class Step:
    """How far a table is."""

    table: str
    rows: int
    total: int | None
    """None when it is not known before the end."""
    begins: bool = False
    ends: bool = False


def seed(connection: Connection, scale: Scale, until: date, *, replace: bool = False) -> Iterator[Step]:
    """Fill the tables while the steps are taken. Raises `SeedRefused`; the caller commits."""
    if not has_saas(connection):
        raise SeedRefused("the starter's tables are not there; make them with: jobs migrate --saas")
    if replace:
        _empty(connection)
    # What jobs have noted, such as files, is of nobody while there is nobody: it does not clash.
    elif occupied := [name for name in TABLES if _holds_rows(connection, name)]:
        raise SeedRefused(f"there are rows in {', '.join(occupied)}; delete all rows of the starter with: --replace")
    population = Population(scale, Period(until))
    totals = {"users": scale.users, "organizations": scale.organizations, "activity_logs": scale.activity_logs}
    for table, (columns, rows) in TABLES.items():
        yield from _fill(connection, table, columns, rows(population), totals.get(table))
    connection.execute(text(f"ANALYZE {', '.join(TABLES)}"))


def _empty(connection: Connection) -> None:
    """Without CASCADE: a table of the app's own that refers to one of these is not emptied along with it."""
    connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY"))


def _holds_rows(connection: Connection, table: str) -> bool:
    return connection.execute(select(metadata.tables[table]).limit(1)).first() is not None


def _fill(connection: Connection, table: str, columns: str, rows: Iterator[str], total: int | None) -> Iterator[Step]:
    done = 0
    yield Step(table, 0, total, begins=True)
    with put_aside(connection, table):
        while lines := list(islice(rows, ROWS_OF_A_COPY)):
            _copy(connection, f"COPY {table} ({columns}) FROM STDIN", lines)
            done += len(lines)
            yield Step(table, done, total)
    if "id" in metadata.tables[table].columns and done:
        connection.execute(select(func.setval(func.pg_get_serial_sequence(table, "id"), done)))
    yield Step(table, done, done, ends=True)


def _copy(connection: Connection, statement: str, lines: list[str]) -> None:
    starts = range(0, len(lines), ROWS_OF_A_MESSAGE)
    messages = ("".join(lines[start : start + ROWS_OF_A_MESSAGE]).encode() for start in starts)
    try:
        DRIVERS[connection.dialect.driver].copy_in(connection.connection.driver_connection, statement, messages)
    except (connection.dialect.loaded_dbapi.Error, OSError) as error:
        raise DBAPIError(statement, None, error) from error
