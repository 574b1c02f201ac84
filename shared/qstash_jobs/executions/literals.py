"""Values as SQL text, so that a whole move travels as one message of the simple protocol: one round trip.

Only four kinds of value are rendered: text, UUIDs, integers and JSON. The text is pure ASCII (other characters are
written as escapes) between `E'` and `'`, with quotes and backslashes doubled, so it reads the same whatever
`standard_conforming_strings`, `client_encoding` or `backslash_quote` say.
Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-STRINGS-ESCAPE
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from operator import index
from uuid import UUID

from pydantic import JsonValue

from qstash_jobs.errors import InvalidJob

MAX_DEPTH = 200
"""Levels of nesting in stored JSON: far below what Postgres and Python can parse, far above any payload."""

MAX_DIGITS = 1000
"""Digits of a number in stored JSON; Python refuses to read more than 4,300, Postgres more than 131,072."""

_ESCAPED = re.compile(r"[^ -&(-\[\]-~]")


class NotStorable(InvalidJob):
    """Postgres cannot store this value."""


def text(value: str | None) -> str:
    """A text literal. Raises `NotStorable` on NUL and on lone surrogates, which Postgres has no place for."""
    return "NULL" if value is None else f"E'{_ESCAPED.sub(_escape, value)}'"


def uuid(value: UUID | None) -> str:
    """A uuid literal."""
    return "NULL" if value is None else f"'{UUID(int=value.int)}'::uuid"


def integer(value: int | None) -> str:
    """An integer literal. Raises `NotStorable` beyond 64 bits, TypeError for what is no integer."""
    if value is None:
        return "NULL"
    number = int(index(value))  # a float would be cut off without a word
    if not -(2**63) <= number < 2**63:
        raise NotStorable("an integer of more than 64 bits")
    return f"({number})"  # in parentheses because `- -1` would begin a comment


def milliseconds(duration: timedelta) -> str:
    """An interval, to the millisecond."""
    return f"({integer(round(duration / timedelta(milliseconds=1)))} * interval '1 millisecond')"


def jsonb(value: JsonValue) -> str:
    """A jsonb literal; None is JSON's null. Raises `NotStorable`."""
    return f"{text(storable_json(value))}::jsonb"


def storable_json(value: JsonValue) -> str:
    """The value as compact ASCII JSON that Postgres can store as jsonb.

    Raises `NotStorable` on NaN and infinity, NUL, lone surrogates, numbers of more than `MAX_DIGITS` digits, nesting
    deeper than `MAX_DEPTH`, and anything that is not JSON.
    """
    _check(value, MAX_DEPTH)
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise NotStorable(f"not JSON: {error}") from None


def _check(value: object, depth: int) -> None:
    if depth < 0:
        raise NotStorable(f"nested deeper than {MAX_DEPTH} levels")
    match value:
        case str():
            _check_text(value)
        case int() if abs(value) >= 10**MAX_DIGITS:
            raise NotStorable(f"a number of more than {MAX_DIGITS} digits")
        case dict():
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise NotStorable(f"an object's keys must be text, not {type(key).__name__}")
                _check_text(key)
                _check(inner, depth - 1)
        case list() | tuple():
            for inner in value:
                _check(inner, depth - 1)


def _check_text(value: str) -> None:
    if "\0" in value:
        raise NotStorable("text with a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotStorable("text with a lone surrogate (half of a character)") from None


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    if character in "'\\":
        return character * 2
    _check_text(character)
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
