"""Write a data set to a file and mail a link to it.

What can be exported is declared: the filters of each data set here, where the app is told at once of one that is wrong, and
its query with the function. No SQL ever comes from a payload.

>>> ExportData(export_type="users", format="csv", filters={"organizationId": 7}, notify_email="ada@example.com")
>>> ExportData(export_type="custom", name="invoices", format="xlsx", notify_email="ada@example.com")
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from qstash_jobs.addresses import Email
from qstash_jobs.job import Job, JobOptions, Payload

ExportFormat = Literal["csv", "json", "ndjson", "xlsx"]


def _first_moment(value: object) -> object:
    # A day alone means its first moment, as people write it who do not think of time zones.
    if isinstance(value, str) and len(value) == len("2026-01-01"):
        value = date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    return value


def _in_utc(value: datetime) -> datetime:
    # Postgres takes no zone beyond 15:59, and Python knows some that lead out of its years.
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC, a time of the years 1 to 9999 is needed") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_first_moment), AfterValidator(_in_utc)]
"""A time with a zone, or a day (`2026-01-01`), which means its first moment in UTC."""
RowId = Annotated[int, Field(ge=1, lt=2**63)]


class Filters(Payload):
    """What every data set can be narrowed to: what was made within a time."""

    since: Moment | None = None
    """Made at this time or later; a day alone (`2026-01-01`) is its first moment in UTC."""
    until: Moment | None = None
    """Made before this time; likewise."""

    @model_validator(mode="before")
    @classmethod
    def _said(cls, given: Any) -> Any:
        # Nothing in the place of an organization is an app's mistake far more often than the wish to export them all.
        for name, value in given.items() if isinstance(given, Mapping) else ():
            if value is None:
                raise ValueError(f"{name} is nothing: leave it out if the export is to be of all")
        return given

    @model_serializer(mode="wrap")
    def _without_nothing(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None}

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("`since` must come before `until`")
        return self


class UserFilters(Filters):
    """Which users."""

    organization_id: RowId | None = None
    """Members of this organization."""
    status: Literal["active", "suspended"] | None = None
    """In this status."""


class OrganizationFilters(Filters):
    """Which organizations."""

    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    """In this country, by its two letters (ISO 3166-1)."""


class ActivityLogFilters(Filters):
    """Which activity."""

    organization_id: RowId | None = None
    """In this organization."""
    user_id: RowId | None = None
    """Of this user."""
    action: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,99}$")] | None = None
    """Of this kind, e.g. `document.viewed`."""


class InvoiceFilters(Filters):
    """Which invoices."""

    organization_id: RowId | None = None
    """Of this organization."""
    status: Literal["draft", "open", "paid", "uncollectible", "void"] | None = None
    """In this status."""


FILTERS: Mapping[str, type[Filters]] = {
    "users": UserFilters,
    "organizations": OrganizationFilters,
    "activity-logs": ActivityLogFilters,
}
"""The data sets that the starter's tables have, and what each can be narrowed to."""

CUSTOM_FILTERS: Mapping[str, type[Filters]] = {"invoices": InvoiceFilters}
"""Data sets of an app's own: `exportType` is `custom`, and `name` one of these."""


class ExportData(Job):
    """Write a data set to a file and mail a link to it."""

    options = JobOptions(
        name="export-data",
        retries=2,
        timeout=timedelta(seconds=300),
        memory=1769,
        ephemeral_storage=4096,  # an xlsx is made of files as large as its text
        concurrency=3,  # each keeps the database busy
        publishes=True,
        secrets=("JOBS_LINK_KEY",),
        grants=("s3:exports",),
    )

    export_type: Literal["users", "organizations", "activity-logs", "custom"]
    """Which data set."""
    name: str | None = Field(None, validate_default=True)
    """Which one, when it is `custom`: the name that it was registered by."""
    format: ExportFormat
    """The file's format; `json` is one array, `ndjson` an object on each line."""
    filters: SerializeAsAny[Filters] = Field(default_factory=dict, validate_default=True)
    """Which rows; what is allowed depends on the data set."""
    notify_email: Email
    """Who gets the link."""

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.name if self.export_type == "custom" and self.name is not None else self.export_type

    @field_validator("name")
    @classmethod
    def _known(cls, name: str | None, info: ValidationInfo) -> str | None:
        custom = info.data.get("export_type") == "custom"
        if custom and name not in CUSTOM_FILTERS:
            raise ValueError(f"no data set is registered as {name!r}; registered are {', '.join(CUSTOM_FILTERS)}")
        if not custom and name is not None:
            raise ValueError("only a `custom` export has a name")
        return name

    @field_validator("filters", mode="before")
    @classmethod
    def _allowed(cls, filters: object, info: ValidationInfo) -> object:
        dataset = info.data.get("name") or info.data.get("export_type")
        allowed = {**FILTERS, **CUSTOM_FILTERS}.get(str(dataset))
        if allowed is None or isinstance(filters, allowed):
            return filters if allowed is not None else Filters()  # the name's own error is told
        if isinstance(filters, Filters):
            raise ValueError(f"these are filters of another data set than {dataset}")
        if filters is not None and not isinstance(filters, Mapping):
            raise ValueError("filters are an object")
        given = {} if filters is None else filters
        known = {name: field.alias or name for name, field in allowed.model_fields.items()}
        for name in given:
            if name not in known and name not in known.values():
                raise ValueError(f"{dataset} has no filter {name!r}; it has {', '.join(known.values())}")
        try:
            # Strict also on arrival: a filter that an older function does not know must not be taken for none.
            return allowed.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "filters"
            raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None
