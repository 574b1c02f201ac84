"""Resend's events: what became of each mail, and which addresses are not to be written to again.

Resend promises no order either: a status is changed only by an event that is newer, or as new and further on. When it
was delivered, bounced or complained of is kept beside it, whichever came first.
Source: https://resend.com/docs/dashboard/webhooks/event-types
"""

from __future__ import annotations

from email.utils import parseaddr
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from sqlalchemy import Connection, and_, case, func, literal, or_
from sqlalchemy.dialects.postgresql import insert

from functions.process_webhook.outcome import IGNORED, Unusable
from qstash_jobs.run import Run
from qstash_jobs.webhook_events import Event
from saas.tables import email_deliveries, email_suppressions

STATUSES = {
    "email.sent": "sent",
    "email.delivery_delayed": "delayed",
    "email.delivered": "delivered",
    "email.bounced": "bounced",
    "email.complained": "complained",
}
"""In the order in which they follow each other."""

_RANKS = {status: rank for rank, status in enumerate(STATUSES.values())}


class _Object(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Bounce(_Object):
    """Why a mail came back."""

    type: str | None = None
    message: str | None = None


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Email(_Object):
    """The mail that an event is about."""

    email_id: Annotated[str, Field(min_length=1, max_length=255)]
    created_at: AwareDatetime | None = None
    to: Annotated[list[Annotated[str, Field(max_length=1000)]], BeforeValidator(_as_list), Field(min_length=1)]
    tags: dict[str, str] = {}
    bounce: Bounce | None = None

    @field_validator("tags", mode="before")
    @classmethod
    def _as_mapping(cls, tags: Any) -> Any:
        """As they were given when it was sent, `[{"name": …, "value": …}]`, or already by name."""
        if isinstance(tags, list):
            return {one["name"]: one.get("value", "") for one in tags if isinstance(one, dict) and "name" in one}
        return tags or {}

    @property
    def addresses(self) -> list[str]:
        """To whom, without names."""
        return [parseaddr(one)[1] or one.strip() for one in self.to]

    @property
    def job_id(self) -> UUID | None:
        """The job that sent it, as its tag says."""
        try:
            return UUID(self.tags.get("job_id", ""))
        except ValueError:
            return None


class ResendEvent(_Object):
    """The envelope of all events."""

    created_at: AwareDatetime
    data: Email


def act(connection: Connection, event: Event, run: Run) -> str:
    """Take one event over; what was done, in a few words. Raises `ValidationError` for one without what is needed."""
    status = STATUSES.get(event.type)
    if status is None:
        return IGNORED
    said = ResendEvent.model_validate(event.data)
    delivery = _keep(connection, said, status)
    reason = _suppresses(said.data, status)
    if reason is None:
        return "applied"
    if len(said.data.addresses) != 1:
        run.logger.warning("Suppression unclear", extra={"email_id": said.data.email_id})
        return "applied; which of several addresses is meant, it does not say"
    _suppress(connection, said.data.addresses[0], reason, delivery)
    return "applied, and the address suppressed"


def _suppresses(mail: Email, status: str) -> str | None:
    """Why nothing more is to be sent there: a bounce that says it will not pass, or a complaint."""
    if status == "bounced":
        return "bounced" if mail.bounce is not None and mail.bounce.type == "Permanent" else None
    return "complained" if status == "complained" else None


def _keep(connection: Connection, said: ResendEvent, status: str) -> int:
    """One row for each mail, whichever of its events comes first; its id."""
    mail, at = said.data, said.created_at
    moment = {f"{status}_at": at} if status in {"delivered", "bounced", "complained"} else {}
    reason = mail.bounce.message[:1000] if mail.bounce is not None and mail.bounce.message else None
    made = insert(email_deliveries).values(
        resend_id=mail.email_id,
        job_id=mail.job_id,
        address=func.lower(mail.addresses[0]),
        template=mail.tags.get("template"),
        status=status,
        reason=reason,
        sent_at=mail.created_at or at,
        last_event_at=at,
        **moment,
    )
    known, new = email_deliveries.c, made.excluded
    rank = case(_RANKS, value=known.status)
    newer = or_(
        known.last_event_at.is_(None), known.last_event_at < at, and_(known.last_event_at == at, rank < _RANKS[status])
    )
    upsert = made.on_conflict_do_update(
        index_elements=["resend_id"],
        set_={
            "status": case((newer, new.status), else_=known.status),
            "reason": func.coalesce(new.reason, known.reason),
            "job_id": func.coalesce(known.job_id, new.job_id),
            "template": func.coalesce(known.template, new.template),
            "last_event_at": func.greatest(known.last_event_at, new.last_event_at),
            **{name: func.coalesce(known[name], literal(value)) for name, value in moment.items()},
        },
    ).returning(known.id)
    return int(connection.execute(upsert).scalar_one())


def _suppress(connection: Connection, address: str, reason: str, delivery: int) -> None:
    if "@" not in address:
        raise Unusable("what it was sent to is no address")
    row = {"address": func.lower(address), "reason": reason, "email_delivery_id": delivery}
    connection.execute(insert(email_suppressions).values(row).on_conflict_do_nothing())
