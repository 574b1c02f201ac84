"""The wire format: what the body of a message says.

    {"jobId": uuid, "type": "send-email", "generation": 1, "publication": 1, "payload": {...},
     "metadata": {"userId": 1, "organizationId": 1, "createdAt": "...", "idempotencyKey": "..."}}

Our dispatcher leaves `payload` out and the worker reads it from the row. A publisher without our database sends it
along; a schedule also leaves `jobId` out, so that each firing is a job of its own.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from qstash_jobs.errors import InvalidMessage
from qstash_jobs.executions.outbox import NewExecution
from qstash_jobs.job import JobOptions

_FIRINGS = uuid5(NAMESPACE_URL, "https://upstash.com/docs/qstash/features/schedules")

Number = Annotated[int, Field(ge=1, le=1_000_000_000)]  # can still be raised by one
Id = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Wire(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, defer_build=True
    )


class Metadata(_Wire):
    """Whose job it is and where it came from."""

    user_id: Id | None = None
    organization_id: Id | None = None
    created_at: datetime | None = None
    idempotency_key: Annotated[str, Field(max_length=255)] | None = None


class Envelope(_Wire):
    """The body of a message."""

    job_id: UUID | None = None
    type: str
    generation: Number = 1
    publication: Number = 1
    payload: dict[str, JsonValue] | None = None
    metadata: Metadata = Field(default_factory=Metadata)

    def encode(self) -> bytes:
        """The body to send."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    def execution(self, job_id: UUID, options: JobOptions, schedule_id: str | None = None) -> NewExecution | None:
        """The row that a message which brings its own payload makes; None for one that leaves it to the record."""
        if self.payload is None:
            return None
        return NewExecution(
            job_id=job_id,
            job_type=options.name,
            payload=self.payload,
            budget=options.retries + 1,
            schedule_id=schedule_id,
            idempotency_key=self.metadata.idempotency_key,
            user_id=self.metadata.user_id,
            organization_id=self.metadata.organization_id,
        )

    @classmethod
    def decode(cls, body: bytes) -> Envelope:
        """Raises `InvalidMessage` for anything but one strict JSON object of this shape: also for NaN, for a key that
        stands twice, and for nesting that no parser should follow."""
        try:
            text = body.decode()
            document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InvalidMessage(f"the message is not a job: {place}: {first['msg']}") from None
        except (ValueError, RecursionError) as error:
            raise InvalidMessage(f"the message is not JSON: {str(error)[:200]}") from None


def firing(message_id: str) -> UUID:
    """The job id of one firing of a schedule: the same for each delivery of its message, another for the next."""
    return uuid5(_FIRINGS, message_id)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
