"""What is rendered as SQL text, and what is refused before it reaches Postgres."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstash_jobs.errors import InvalidJob
from qstash_jobs.executions.literals import (
    MAX_DEPTH,
    MAX_DIGITS,
    NotStorable,
    integer,
    jsonb,
    milliseconds,
    storable_json,
    text,
    uuid,
)

ESCAPE_LITERAL = re.compile(r"E'(?:[ -&(-\[\]-~]|''|\\\\|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})*'")


class Colour(StrEnum):
    RED = "red'; DROP TABLE canary; --"


class Level(IntEnum):
    HIGH = 3


class Shouting(str):
    """Text whose own idea of itself differs from its characters."""

    __slots__ = ()

    def __str__(self) -> str:
        return "'; DROP TABLE canary; --"


class Lying(int):
    """A number whose own idea of itself differs from its value."""

    def __str__(self) -> str:
        return "0; DROP TABLE canary"

    __repr__ = __str__
    __format__ = lambda self, _spec: str(self)  # noqa: E731


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (None, "NULL"),
        ("", "E''"),
        ("plain", "E'plain'"),
        ("it's", "E'it''s'"),
        ("back\\slash", r"E'back\\slash'"),
        ("\\'", r"E'\\'''"),
        ("a\nb", r"E'a\u000ab'"),
        ("\x7f", r"E'\u007f'"),
        ("é", r"E'\u00e9'"),
        ("\ufeff", r"E'\ufeff'"),
        ("\uffff", r"E'\uffff'"),
        ("\U00010000", r"E'\U00010000'"),
        ("😀", r"E'\U0001f600'"),
        ("%s :name {} $$ -- /* */ ?", "E'%s :name {} $$ -- /* */ ?'"),
        (Colour.RED, "E'red''; DROP TABLE canary; --'"),
        (Shouting("quiet"), "E'quiet'"),
    ],
)
def test_text_is_ascii_between_quotes(value: str | None, literal: str) -> None:
    """Quotes and backslashes are doubled, whatever is not printable ASCII is an escape."""
    assert literal == text(value)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_text_never_leaves_its_quotes(value: str) -> None:
    """The literal is one token of Postgres's grammar, for any text."""
    assert ESCAPE_LITERAL.fullmatch(text(value))


@pytest.mark.parametrize("value", ["\0", "a\0b", "\ud800", "a\ud83d", "\ude00\ud83d"])
def test_text_that_has_no_place_in_postgres_is_refused(value: str) -> None:
    """NUL and halves of characters, alone, as a value and as a key of JSON."""
    stored: list[Callable[[], object]] = [
        lambda: text(value),
        lambda: storable_json(value),
        lambda: storable_json([{"a": value}]),
        lambda: jsonb({value: 1}),
    ]
    for store in stored:
        with pytest.raises(NotStorable):
            store()


def test_what_cannot_be_stored_is_an_invalid_job() -> None:
    """So that who enqueues it is told with the error that says nothing was stored."""
    assert issubclass(NotStorable, InvalidJob)


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (None, "NULL"),
        (0, "(0)"),
        (-1, "(-1)"),
        (True, "(1)"),
        (Level.HIGH, "(3)"),
        (2**63 - 1, "(9223372036854775807)"),
        (-(2**63), "(-9223372036854775808)"),
    ],
)
def test_integers_stand_in_parentheses(value: int | None, literal: str) -> None:
    """Up to 64 bits; the parentheses keep `- -1` from beginning a comment."""
    assert literal == integer(value)


def test_a_number_is_rendered_by_its_value() -> None:
    """A subclass that prints itself otherwise gets no word in."""
    assert integer(Lying(7)) == "(7)"
    assert jsonb([Lying(7)]) == "E'[7]'::jsonb"


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**100])
def test_integers_beyond_64_bits_are_refused(value: int) -> None:
    """Postgres's bigint ends there."""
    with pytest.raises(NotStorable, match="64 bits"):
        integer(value)


@pytest.mark.parametrize("value", [1.5, "1", "1); DROP TABLE canary; --", float("nan"), float("inf")])
def test_what_is_no_integer_is_not_rendered(value: Any) -> None:
    """Text in an integer's place does not reach the statement, and a fraction is not cut off."""
    with pytest.raises(TypeError):
        integer(value)


@given(st.uuids())
def test_a_uuid_is_rendered_by_its_value(value: UUID) -> None:
    """32 digits, hyphens, quotes."""
    assert f"'{value}'::uuid" == uuid(value)


def test_no_uuid_is_null() -> None:
    """As with every kind of value."""
    assert uuid(None) == "NULL"


@pytest.mark.parametrize("value", ["x", "'; DROP TABLE canary; --", 5])
def test_what_is_no_uuid_is_not_rendered(value: Any) -> None:
    """Text in a UUID's place does not reach the statement."""
    with pytest.raises(AttributeError):
        uuid(value)


@pytest.mark.parametrize(
    ("duration", "ms"),
    [
        (timedelta(0), 0),
        (timedelta(seconds=-1), -1000),
        (timedelta(microseconds=1500), 2),
        (timedelta(microseconds=400), 0),
        (timedelta(days=365), 31_536_000_000),
        (timedelta.max, 86_400_000_000_000_000),
    ],
)
def test_durations_are_rendered_to_the_millisecond(duration: timedelta, ms: int) -> None:
    """As a number of milliseconds, so that no interval syntax is involved."""
    assert f"(({ms}) * interval '1 millisecond')" == milliseconds(duration)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        [1, [float("nan")]],
        {"a": {"b": float("inf")}},
        {1, 2},
        frozenset(),
        b"bytes",
        object(),
        1j,
        datetime(2030, 1, 1),
        UUID(int=1),
        {1: "a"},
        {None: "a"},
        {True: "a"},
        {("a",): "b"},
        10**MAX_DIGITS,
        -(10**MAX_DIGITS),
        [{"n": 10**5000}],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_json_is_refused(value: Any) -> None:
    """Also where `json.dumps` would make something of it: NaN, numbers as keys, numbers that no one can read back."""
    with pytest.raises(NotStorable):
        jsonb(value)


@pytest.mark.parametrize("number", [10**MAX_DIGITS - 1, -(10**MAX_DIGITS) + 1, 2**64, 1e308, 5e-324])
def test_large_numbers_are_json(number: float) -> None:
    """Up to the limit they come back as they were."""
    assert number == json.loads(storable_json(number))


def nested(levels: int, value: Any = None, key: str | None = None) -> Any:
    for _ in range(levels):
        value = [value] if key is None else {key: value}
    return value


@pytest.mark.parametrize("key", [None, "k"])
def test_nesting_has_a_limit(key: str | None) -> None:
    """At the limit it is stored, one level deeper it is refused, and depth without end is refused as calmly."""
    assert storable_json(nested(MAX_DEPTH, 1, key))
    with pytest.raises(NotStorable, match="deeper"):
        storable_json(nested(MAX_DEPTH + 1, 1, key))
    with pytest.raises(NotStorable, match="deeper"):
        storable_json(nested(100_000, 1, key))


def test_a_circle_is_refused() -> None:
    """It is nested without end."""
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(NotStorable):
        storable_json(circle)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc\\'\"é😀", max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_is_ascii_and_comes_back(value: Any) -> None:
    """Compact, ASCII, equal."""
    rendered = storable_json(value)
    assert rendered.isascii()
    assert value == json.loads(rendered)
    assert ESCAPE_LITERAL.fullmatch(jsonb(value).removesuffix("::jsonb"))


def test_tuples_are_lists() -> None:
    """As JSON has it."""
    assert storable_json((1, (2,))) == "[1,[2]]"  # type: ignore[arg-type]
