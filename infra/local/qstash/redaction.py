"""What of a publication is hidden from whoever reads the record. Deliveries, and retries of dead letters, carry the
originals."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

from infra.local.qstash.publication import Headers, Publication, canonical

BODY, ALL_HEADERS = "body", "header"

_FIELD = re.compile(r"headers?\[([A-Za-z0-9!#$%&'*+.^_`|~-]{1,256})\]")


def parse_redaction(text: str) -> tuple[str, ...]:
    """The fields that `Upstash-Redact-Fields` names: `body`, `header`, or `header[Name]`. Raises ValueError."""
    return tuple(_parse_field(part.strip()) for part in text.split(","))


def shown_body(publication: Publication) -> bytes:
    """The body, or its hash."""
    return _hash(publication.body) if BODY in publication.redact and publication.body else publication.body


def shown_headers(headers: Headers, hidden: Collection[str]) -> Headers:
    """Headers, with hashes for what is hidden."""
    return tuple(
        (name, _hash(value.encode()).decode() if ALL_HEADERS in hidden or f"header[{name}]" in hidden else value)
        for name, value in headers
    )


def _parse_field(field: str) -> str:
    if field == BODY:
        return BODY
    if field in (ALL_HEADERS, "headers"):  # the documents say one, the SDKs the other
        return ALL_HEADERS
    if (match := _FIELD.fullmatch(field)) is not None:
        return f"header[{canonical(match[1])}]"
    raise ValueError(f"{field[:64]!r} is none of body, header and header[Name]")


def _hash(content: bytes) -> bytes:
    return b"REDACTED:" + hashlib.sha256(content).hexdigest().encode()
