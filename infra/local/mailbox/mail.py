"""What a mail is: as a client sends it to Resend, and as it is kept."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.functional_validators import AfterValidator

from infra.local.mailbox.errors import Refused

_ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+|[^\r\n<>]*<[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+>")
_WORDS = re.compile(r"[A-Za-z0-9_-]{1,256}")
_PREVIEW_LENGTH = 140


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value.strip()):
        raise ValueError(
            "The email address needs to follow the `email@example.com` or `Name <email@example.com>` format."
        )
    return value


def _subject(value: str) -> str:
    if "\n" in value or "\r" in value:
        raise ValueError("The `\\n` is not allowed.")
    return value


def _tag(value: str) -> str:
    if not _WORDS.fullmatch(value):
        raise ValueError("Tags should only contain ASCII letters, numbers, underscores, or dashes.")
    return value


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[list[Address], BeforeValidator(_list), Field(max_length=50)]


class Tag(BaseModel):
    """A name and a value by which the provider's statistics and webhooks know a mail."""

    name: Annotated[str, AfterValidator(_tag)]
    value: Annotated[str, AfterValidator(_tag)]


def _content(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("The content must be Base64 encoded.") from None
    return value


class Attachment(BaseModel):
    """A file that came with the mail. One that is only linked to has no content here: nothing is fetched."""

    filename: str = "unnamed"
    content: Annotated[str, AfterValidator(_content)] = ""
    """In Base64."""

    @property
    def data(self) -> bytes:
        """What the file holds."""
        return base64.b64decode(self.content)


class Draft(BaseModel):
    """A mail as a client sends it; unknown fields are ignored, as Resend does."""

    from_: Address = Field(alias="from")
    to: Annotated[Addresses, Field(min_length=1)]
    subject: Annotated[str, AfterValidator(_subject)]
    html: str | None = None
    text: str | None = None
    cc: Addresses = []
    bcc: Addresses = []
    reply_to: Addresses = []
    headers: dict[str, str] = {}
    tags: list[Tag] = []
    attachments: list[Attachment] = []


class Mail(Draft):
    """A mail that was accepted."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    created_at: datetime
    idempotency_key: str | None = None

    @property
    def attached(self) -> int:
        """How many bytes of Base64 came with it."""
        return sum(len(one.content) for one in self.attachments)

    def as_resend(self) -> dict[str, Any]:
        """The mail as Resend's API shows it."""
        kept = self.model_dump(mode="json", by_alias=True, exclude={"idempotency_key", "attachments"})
        return {"object": "email", **kept, "last_event": "delivered"}

    def as_summary(self) -> dict[str, Any]:
        """What a list shows of it, in JSON."""
        words = " ".join((self.text or "").split())
        return {
            "id": self.id,
            "createdAt": self.created_at.isoformat(),
            "from": self.from_,
            "to": self.to,
            "subject": self.subject,
            "preview": words[:_PREVIEW_LENGTH],
        }

    def as_json(self) -> dict[str, Any]:
        """All of it, in JSON."""
        return self.as_summary() | {
            "html": self.html,
            "text": self.text,
            "cc": self.cc,
            "bcc": self.bcc,
            "replyTo": self.reply_to,
            "headers": self.headers,
            "tags": {tag.name: tag.value for tag in self.tags},
            "attachments": [
                {"filename": one.filename, "size": len(one.data), "path": f"/mails/{self.id}/attachments/{number}"}
                for number, one in enumerate(self.attachments)
            ],
            "idempotencyKey": self.idempotency_key,
        }


def read(body: object) -> Draft:
    """A mail from a request's JSON. Raises `Refused` with Resend's status and name of the error."""
    if not isinstance(body, dict):
        raise Refused(422, "validation_error", "The request body must be a JSON object.")
    try:
        draft = Draft.model_validate(body)
    except ValidationError as error:
        raise _refused(error) from None
    if draft.html is None and draft.text is None:
        raise Refused(422, "missing_required_field", "Missing `html` or `text` field.")
    return draft


def accepted(draft: Draft, idempotency_key: str | None) -> Mail:
    """The mail, with an id and the time."""
    kept = draft.model_dump()
    return Mail(**kept, id=str(uuid4()), created_at=datetime.now(UTC), idempotency_key=idempotency_key)


def _refused(error: ValidationError) -> Refused:
    first = error.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0])
    if first["type"] == "missing":
        return Refused(422, "missing_required_field", f"Missing `{field}` field.")
    return Refused(422, "validation_error", f"Invalid `{field}` field. {first['msg'].removeprefix('Value error, ')}")
