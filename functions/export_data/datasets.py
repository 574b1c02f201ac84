"""What can be exported: the query of each data set. Its filters are declared in the contract, by the same names.

>>> Dataset(title="users", columns=[users.c.id, users.c.email], made=users.c.created_at, id=users.c.id, narrow=_users)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, literal_column, select

from qstash_jobs.executions import literals
from qstash_jobs.jobs.export_data import ActivityLogFilters, InvoiceFilters, OrganizationFilters, UserFilters
from saas.tables import activity_logs, invoices, organization_members, organizations, users

Condition = ColumnElement[bool]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set. It is read in the order of (`made`, `id`), page by page, so an index should lie along these; both are
    among its columns, by which the next page is found."""

    title: str
    """What it is called in a mail and in the file's name."""
    columns: Sequence[ColumnElement[Any]]
    """What each row has; their names are those in the file."""
    made: ColumnElement[Any]
    """When a row was made."""
    id: ColumnElement[Any]
    """What tells apart rows that were made at the same time."""
    narrow: Callable[[Any], list[Condition]]
    """The conditions of the filters, besides those of time. A COPY takes no parameters: text goes through `said`."""


def said(value: str) -> ColumnElement[str]:
    """A text as SQL, quoted."""
    return literal_column(literals.text(value))


def _users(filters: UserFilters) -> list[Condition]:
    conditions: list[Condition] = []
    if filters.organization_id is not None:
        members = select(organization_members.c.user_id).where(
            organization_members.c.organization_id == filters.organization_id
        )
        conditions.append(users.c.id.in_(members))
    if filters.status is not None:
        conditions.append(users.c.status == said(filters.status))
    return conditions


def _organizations(filters: OrganizationFilters) -> list[Condition]:
    return [] if filters.country is None else [organizations.c.country == said(filters.country)]


def _activity_logs(filters: ActivityLogFilters) -> list[Condition]:
    conditions: list[Condition] = []
    if filters.organization_id is not None:
        conditions.append(activity_logs.c.organization_id == filters.organization_id)
    if filters.user_id is not None:
        conditions.append(activity_logs.c.user_id == filters.user_id)
    if filters.action is not None:
        conditions.append(activity_logs.c.action == said(filters.action))
    return conditions


def _invoices(filters: InvoiceFilters) -> list[Condition]:
    conditions: list[Condition] = []
    if filters.organization_id is not None:
        conditions.append(invoices.c.organization_id == filters.organization_id)
    if filters.status is not None:
        conditions.append(invoices.c.status == said(filters.status))
    return conditions


DATASETS: Mapping[str, Dataset] = {
    "users": Dataset(
        title="users",
        columns=[
            users.c.id,
            users.c.email,
            users.c.name,
            users.c.status,
            users.c.locale,
            users.c.time_zone,
            users.c.marketing_consent,
            users.c.email_verified_at,
            users.c.created_at,
            users.c.updated_at,
        ],
        made=users.c.created_at,
        id=users.c.id,
        narrow=_users,
    ),
    "organizations": Dataset(
        title="organizations",
        columns=[
            organizations.c.id,
            organizations.c.name,
            organizations.c.slug,
            organizations.c.billing_email,
            organizations.c.country,
            organizations.c.stripe_customer_id,
            organizations.c.created_at,
            organizations.c.updated_at,
        ],
        made=organizations.c.created_at,
        id=organizations.c.id,
        narrow=_organizations,
    ),
    "activity-logs": Dataset(
        title="activity logs",
        columns=[
            activity_logs.c.id,
            activity_logs.c.created_at,
            activity_logs.c.organization_id,
            activity_logs.c.user_id,
            activity_logs.c.action,
            activity_logs.c.target_type,
            activity_logs.c.target_id,
            activity_logs.c.ip_address,
            activity_logs.c.details,
        ],
        made=activity_logs.c.created_at,
        id=activity_logs.c.id,
        narrow=_activity_logs,
    ),
}
"""Those of the starter's tables."""

CUSTOM: Mapping[str, Dataset] = {
    "invoices": Dataset(
        title="invoices",
        columns=[
            invoices.c.id,
            invoices.c.number,
            invoices.c.status,
            invoices.c.organization_id,
            invoices.c.amount_due.label("amount_due_minor"),  # in the smallest unit, as Stripe counts it
            invoices.c.amount_paid.label("amount_paid_minor"),
            invoices.c.currency,
            invoices.c.issued_at,
            invoices.c.due_at,
            invoices.c.paid_at,
            invoices.c.stripe_invoice_id,
        ],
        made=invoices.c.issued_at,
        id=invoices.c.id,
        narrow=_invoices,
    ),
}
"""Those of one's own."""
