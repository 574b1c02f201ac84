"""Addresses in payloads. What checks them is loaded by the first one: it is a sixth of a function's start, and the
tables of e-mail syntax are of no use to a function that is only asked to refuse a forged request."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def _email(value: str) -> str:
    from pydantic import validate_email

    return validate_email(value)[1]


def _http_url(value: str) -> str:
    # Kept as it came, not as the parser would write it: a signed link must not change by a byte.
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("a link has no spaces and no control characters")
    _urls().validate_python(value)
    return value


@functools.cache
def _urls() -> TypeAdapter[Any]:
    from pydantic import HttpUrl, TypeAdapter

    return TypeAdapter(HttpUrl)


Email = Annotated[str, AfterValidator(_email), Field(json_schema_extra={"format": "email"})]
"""An e-mail address, with its domain in lower case."""

Link = Annotated[str, AfterValidator(_http_url), Field(json_schema_extra={"format": "uri"})]
"""An absolute http or https URL."""
