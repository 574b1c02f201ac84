"""Literals arrive in Postgres as they were, whatever its settings are, and never as anything but one value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from qstash_jobs.database import Database
from qstash_jobs.executions.literals import MAX_DEPTH, MAX_DIGITS, integer, jsonb, milliseconds, text, uuid
from tests.integration.postgres.conftest import Connect, with_driver

SESSIONS = [
    "SET standard_conforming_strings = on",
    "SET standard_conforming_strings = off",
    "SET backslash_quote = off",
    "SET backslash_quote = on; SET standard_conforming_strings = off",
    "SET backslash_quote = safe_encoding; SET standard_conforming_strings = off; SET client_encoding = 'SJIS'",
    "SET escape_string_warning = off",
    "SET quote_all_identifiers = on",
    "SET client_encoding = 'LATIN1'",
    "SET client_encoding = 'SJIS'",
    "SET client_encoding = 'BIG5'",
    "SET client_encoding = 'GBK'",
    "SET client_encoding = 'GB18030'",
    "SET client_encoding = 'UHC'",
    "SET client_encoding = 'JOHAB'",
    "SET client_encoding = 'EUC_JP'",
    "SET client_encoding = 'WIN1251'",
]

NASTY = [
    "",
    "'",
    "''",
    "\\",
    "\\'",
    "\\\\'",
    "'; DROP TABLE canary; --",
    "\\'; DROP TABLE canary; --",
    "'||(SELECT 1)||'",
    "$$; DROP TABLE canary; $$",
    "$tag$'$tag$",
    "-- comment",
    "/* comment",
    "*/",
    "%s %(a)s %% %",
    ":name :1 ::text",
    "{} {0} {name}",
    "? ?? $1 @a",
    "a\nb\r\tc\b\f\v\x1b\x7f",
    "".join(map(chr, range(1, 256))),
    "\\u0041 \\x41 \\101 \\n \\U00000041",
    "é ü ß ÿ \xa0 \x85",
    "\u202eright to left\u202c",
    "עברית العربية",
    "e\u0301 \u0308 \u20dd",
    "\u2028\u2029\ufeff\u200b\u200d",
    "👩‍👩‍👧‍👦 😀 𝔘",
    "\ufffe\uffff\U0010ffff\U0001fffe",
    "\u0130\u0131ſK",
    "表示 ソ 能 ―",  # whose second byte is a backslash in SJIS
    "功 許 蓋",  # and in BIG5
    "\xbf' \xbf\\' OR 1=1",  # the first half of a GBK character before a quote
    "x" * 100_000,
    "'" * 10_000,
    "\\" * 10_001,
]

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
SPITEFUL = st.lists(
    st.sampled_from(["'", "\\", "$$", "--", "/*", "%s", ":a", "{}", ";", "\n", "é", "表", "😀", "u0041"])
).map("".join)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**MAX_DIGITS) + 1, 10**MAX_DIGITS - 1)
    | st.integers(-(2**70), 2**70)
    | st.floats(-(2.0**53), 2.0**53)
    | TEXT
    | SPITEFUL
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | SPITEFUL, inner, max_size=3),
    max_leaves=12,
)
many = example_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


class Server:
    """One connection to Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, sql: str) -> list[Any]:
        """The columns of the one row, if there is one."""
        return [column for row in self._database.run(sql) for column in row]

    def row(self, expressions: Iterable[str]) -> list[Any]:
        """What each expression is to Postgres."""
        return self.run(f"SELECT {', '.join(expressions)}")

    def texts(self, values: list[str]) -> list[str]:
        """What Postgres took the texts for; in hexadecimal, so that no encoding of the way back can lie."""
        found = self.row(f"encode(convert_to({text(value)}, 'UTF8'), 'hex')" for value in values)
        return [bytes.fromhex(one).decode() for one in found]


@pytest.fixture
def plain(connect: Connect) -> Iterator[Server]:
    """A session as the server makes it, beside a table that no value may touch."""
    database = connect()
    database.run("CREATE TABLE canary AS SELECT 'alive' AS state")
    yield Server(database)
    assert database.run("SELECT convert_to(state, 'UTF8') = 'alive' FROM canary")[0][0]


@pytest.fixture(params=SESSIONS)
def server(request: pytest.FixtureRequest, plain: Server) -> Server:
    """A session with unusual settings."""
    plain.run(request.param)
    return plain


def test_nasty_texts_arrive_as_they_were(server: Server) -> None:
    """Every trick that has broken a quoting function before, alone and joined."""
    assert server.texts(NASTY) == NASTY
    joined = ["".join(NASTY), "'".join(NASTY), "\\".join(NASTY)]
    assert joined == server.texts(joined)


def test_any_text_arrives_as_it_was(server: Server) -> None:
    """Of any script, length and order, several in one statement."""

    @many
    @given(st.lists(TEXT | SPITEFUL, min_size=1, max_size=20))
    @example(["\\", "'", "\\'"])
    def check(values: list[str]) -> None:
        assert values == server.texts(values)

    check()


def test_each_character_arrives_as_it_was(server: Server) -> None:
    """All of the basic plane, and one of each other block."""
    codes = [*range(1, 0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 0x100)]
    everything = "".join(map(chr, codes))
    assert [everything] == server.texts([everything])


@pytest.mark.parametrize("strings", ["on", "off"])
def test_json_arrives_as_it_was(plain: Server, strings: str) -> None:
    """What the driver reads back is what was stored."""
    plain.run(f"SET standard_conforming_strings = {strings}")

    @many
    @given(st.lists(JSON, min_size=1, max_size=8))
    @example([NASTY])
    @example([{value: value for value in NASTY}])
    @example([10**MAX_DIGITS - 1, 5e-324, -0.5, 0, 2**63])
    def check(values: list[Any]) -> None:
        assert values == plain.row(map(jsonb, values))

    check()


@pytest.mark.parametrize("number", [1e16, 2.0**70, -1e300, 1.7976931348623157e308])
def test_a_float_without_a_fraction_may_come_back_as_an_integer(plain: Server, number: float) -> None:
    """To Postgres a number is decimal digits: the nearest float is still the same."""
    (found,) = plain.row([jsonb(number)])
    assert number == float(found)


def test_json_at_the_limits_is_stored(plain: Server) -> None:
    """The deepest nesting and the longest number that are let through are no trouble for Postgres."""
    deepest: Any = 10**MAX_DIGITS - 1
    for level in range(MAX_DEPTH):
        deepest = [deepest] if level % 2 else {"k": deepest}
    assert [deepest] == plain.row([jsonb(deepest)])


@many
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
@example([-(2**63), 2**63 - 1, -1, 0])
def test_integers_arrive_as_they_were(plain: Server, values: list[int]) -> None:
    """All 64 bits of them, and also after a minus sign."""
    assert values == plain.row(f"{integer(value)}::bigint" for value in values)
    differences = plain.row(f"(1::numeric -{integer(value)})::text" for value in values)
    assert [str(1 - value) for value in values] == differences


@many
@given(st.lists(st.uuids(), min_size=1, max_size=20))
def test_uuids_arrive_as_they_were(plain: Server, values: list[UUID]) -> None:
    """Every bit."""
    assert values == plain.row(map(uuid, values))


@many
@given(st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000)))
def test_durations_arrive_to_the_millisecond(plain: Server, duration: timedelta) -> None:
    """Rounded, not cut off."""
    found = plain.row([f"(extract(epoch FROM {milliseconds(duration)}) * 1000)::bigint"])
    assert [round(duration / timedelta(milliseconds=1))] == found


def test_nothing_is_null(plain: Server) -> None:
    """None is NULL as a column, and null as JSON."""
    nulls = [f"{text(None)} IS NULL", f"{integer(None)} IS NULL", f"{uuid(None)} IS NULL", f"{jsonb(None)}::text"]
    assert plain.row(nulls) == [True, True, True, "null"]


@pytest.mark.parametrize("strings", ["on", "off"])
def test_nasty_texts_pass_a_pooler(pooler: str, driver: str, strings: str) -> None:
    """Also when it hands each message to another connection."""
    database = Database(with_driver(pooler, driver), timedelta(seconds=10))
    try:
        database.run("CREATE TABLE canary ()")
        columns = ", ".join(f"encode(convert_to({text(value)}, 'UTF8'), 'hex')" for value in NASTY)
        found = database.run(f"SET LOCAL standard_conforming_strings = {strings}; SELECT {columns}")[0]
        assert [bytes.fromhex(one).decode() for one in found] == NASTY
        assert database.run(f"SELECT {jsonb([*NASTY])}")[0][0] == NASTY
        assert database.run("SELECT to_regclass('canary') IS NOT NULL")[0][0]
    finally:
        database.close()
