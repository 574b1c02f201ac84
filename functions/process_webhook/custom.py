"""Events of senders of one's own. Each has a model, so a handler never sees what it does not expect.

To take one more: write its model and its function, and add them to `HANDLERS`. The sender's secret goes into
`CUSTOM_WEBHOOK_SECRETS` under its name; it signs by Standard Webhooks and posts
`{"type": "contact.created", "timestamp": "…", "data": {…}}` to `/custom/<name>`. What a function writes is committed
together with the note that the event is processed, so it happens once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy import Connection, exists, insert, select

from functions.process_webhook.outcome import IGNORED, Unusable
from qstash_jobs.run import Run
from qstash_jobs.webhook_events import Event
from saas.tables import activity_logs, organizations

M = TypeVar("M", bound="CustomData")


class CustomData(BaseModel):
    """The base of what an event's `data` holds: camelCase, and fields that we do not know are let be."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, hide_input_in_errors=True, alias_generator=to_camel, populate_by_name=True
    )


@dataclass(frozen=True)
class Handler(Generic[M]):
    """What is done for one kind of event."""

    model: type[M]
    function: Callable[[Connection, M, Run], None]

    def __call__(self, connection: Connection, data: Any, run: Run) -> None:
        """Raises `ValidationError` for data that is not as its model says."""
        self.function(connection, self.model.model_validate(data), run)


class ContactCreated(CustomData):
    """The CRM has a new contact at one of our customers."""

    id: Annotated[str, Field(min_length=1, max_length=100)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    organization_id: Annotated[int, Field(ge=1, lt=2**63)]
    """Ours, at which the contact works."""


def contact_created(connection: Connection, contact: ContactCreated, _run: Run) -> None:
    """A line in what happened at the organization."""
    if not connection.scalar(select(exists().where(organizations.c.id == contact.organization_id))):
        raise Unusable(f"there is no organization {contact.organization_id}")
    connection.execute(
        insert(activity_logs).values(
            organization_id=contact.organization_id,
            action="contact.created",
            target_type="contact",
            details={"source": "crm", "contactId": contact.id, "name": contact.name},
        )
    )


HANDLERS: dict[tuple[str, str], Handler[Any]] = {
    ("crm", "contact.created"): Handler(ContactCreated, contact_created),
}
"""By the sender's name and the event's type."""


def act(connection: Connection, event: Event, run: Run) -> str:
    """Call the handler; an event that has none is recorded and acknowledged."""
    handle = HANDLERS.get((event.sender.name or "", event.type))
    if handle is None:
        return IGNORED
    handle(connection, event.data.get("data"), run)
    return "applied"
