"""Trouble on demand, so that a sender can be seen to survive it."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from infra.local.mailbox.errors import Refused

NAMES = {
    400: "validation_error",
    401: "restricted_api_key",
    403: "invalid_api_key",
    404: "not_found",
    409: "concurrent_idempotent_requests",
    422: "validation_error",
    429: "rate_limit_exceeded",
    451: "security_error",
    500: "internal_server_error",
}
"""How Resend calls its errors, by status."""


class Fault(BaseModel):
    """How the next sends fail."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    status: Annotated[int, Field(ge=400, le=599)]
    """What they are answered with."""
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many sends."""
    name: str | None = None
    """Resend's name of the error; without one, the usual one of the status."""
    message: str = "This send fails because the mailbox was told so."
    """What the answer says."""
    headers: dict[str, str] = {}
    """What the answer carries besides, e.g. `retry-after`."""
    accept: bool = False
    """Take the mail all the same, as when only the answer is lost."""

    def refusal(self) -> Refused:
        """The answer."""
        name = self.name or NAMES.get(self.status, "application_error")
        return Refused(self.status, name, self.message, self.headers)


class Faults:
    """The faults that wait for their sends, first come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[Fault] = deque()

    def add(self, fault: Fault) -> None:
        """Let further sends fail, after those that already will."""
        self._waiting.append(fault)

    def take(self) -> Fault | None:
        """The fault of the send that is here, which it uses up."""
        if not self._waiting:
            return None
        fault = self._waiting.popleft()
        if fault.count > 1:
            self._waiting.appendleft(fault.model_copy(update={"count": fault.count - 1}))
        return fault

    def clear(self) -> None:
        """Let every further send succeed."""
        self._waiting.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """Those that wait, in order."""
        return [fault.model_dump(by_alias=True) for fault in self._waiting]
