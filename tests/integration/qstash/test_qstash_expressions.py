"""Retry-delay expressions, durations, and the pure parts beside them."""

from __future__ import annotations

import itertools
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.qstash.cron import parse_cron
from infra.local.qstash.durations import parse_go_seconds, parse_seconds, parse_wait_seconds
from infra.local.qstash.message import Message
from infra.local.qstash.publication import FlowControl, Publication, dump, load
from infra.local.qstash.state import MOVES, State, Verb
from infra.local.qstash.verdict import DAY_SECONDS, retry_delay_seconds
from qstash_jobs.expression import LONGEST_TEXT, compile_expression


@pytest.mark.parametrize(
    ("text", "retried", "milliseconds"),
    [
        ("1000", 0, 1_000),
        ("1000 * (1 + retried)", 2, 3_000),
        ("pow(2, retried)", 10, 1_024),
        ("max(10, pow(2, retried), 3)", 0, 10),
        ("min(60000, 1000 * exp(retried))", 9, 60_000),
        ("-retried + +5 - 2 / 4", 1, 3.5),
        ("round(2.5) + round(-2.5) + floor(1.9) + ceil(1.1) + abs(-1) + sqrt(4)", 0, 6),
        (" 1.5e3 ", 0, 1_500),
    ],
)
def test_expressions_mean_what_arithmetic_means(text, retried, milliseconds):
    """Operators, parentheses, functions and `retried`."""
    assert compile_expression(text)(float(retried)) == milliseconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "1 +", "x", "retried()", "pow(2)", "pow(1, 2, 3)", "max()", "eval('1')", "retried.real", "1 ** 9", "7 % 3", "7 // 3", "1 < 2",
     "1 if 1 else 2", "[1]", "(1, 2)", "'a'", "True", "None", "1j", "lambda: 1", "pow(x=1)", "max(*[1])", "a := 1", "1; 2", "1\n2", "f'{1}'",
     "__import__('os')", "(lambda: 1)()", "pow", "~1", "not 1", "1 and 2", "\x00", "(" * 300 + ")" * 300, "1" * 513],
)  # fmt: skip
def test_anything_else_is_refused(text):
    """No names, attributes, comparisons or containers: only what was meant."""
    with pytest.raises(ValueError, match=r"."):
        compile_expression(text)


def written(number: int | float) -> tuple[str, str]:
    """A number as a publisher writes it, and as Python reads it to calculate with floats, as the evaluator does."""
    return (str(number), f"{number}.0") if isinstance(number, int) else (repr(number), repr(number))


NUMBER = st.one_of(
    st.integers(0, 10_000),
    st.integers(0, 10**320),
    st.floats(0, 1e6, allow_nan=False),
    st.floats(0, allow_nan=False, allow_infinity=False),
).map(written)
FUNCTIONS = ["exp", "sqrt", "abs", "floor", "ceil", "round"]


def filled(pattern: str, *parts: tuple[str, str]) -> tuple[str, str]:
    """The pattern with both forms of its parts."""
    return pattern.format(*(ours for ours, _ in parts)), pattern.format(*(theirs for _, theirs in parts))


def larger(inner: st.SearchStrategy) -> st.SearchStrategy:
    """Expressions made of others; without parentheses too, so that the precedence of operators counts."""
    binary = st.sampled_from([f"{{}}{sign}{{}}" for sign in ("+", "-", "*", "/", " - ", " / ")])
    return st.one_of(
        st.tuples(binary, inner, inner).map(lambda parts: filled(*parts)),
        inner.map(lambda one: filled("({})", one)),
        st.tuples(st.sampled_from(["-{}", "+{}", "- {}"]), inner).map(lambda parts: filled(*parts)),
        st.tuples(st.sampled_from(FUNCTIONS), inner).map(lambda parts: filled(f"{parts[0]}({{}})", parts[1])),
        st.tuples(inner, inner).map(lambda parts: filled("pow({}, {})", *parts)),
        st.tuples(st.sampled_from(["min", "max"]), st.lists(inner, min_size=1, max_size=4)).map(
            lambda parts: filled(f"{parts[0]}({', '.join(['{}'] * len(parts[1]))})", *parts[1])
        ),
    )


EXPRESSION = st.recursive(NUMBER | st.just(("retried", "retried")), larger, max_leaves=20)
ORACLE = {
    "pow": math.pow,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "abs": math.fabs,
    "floor": lambda value: float(math.floor(value)),
    "ceil": lambda value: float(math.ceil(value)),
    "round": lambda value: math.copysign(math.floor(abs(value) + 0.5), value),
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
}


def assert_agreement(text: str, python: str, retried: int) -> None:
    """The evaluator has Python's value, to the bit, or its arithmetic error."""
    try:
        expected = eval(python, {"__builtins__": {}}, ORACLE | {"retried": float(retried)})
    except (ArithmeticError, ValueError) as error:
        with pytest.raises(type(error)):
            compile_expression(text)(float(retried))
    else:
        value = compile_expression(text)(float(retried))
        assert math.isnan(value) if math.isnan(expected) else value == expected
    assert 0 <= retry_delay_seconds(text, retried) <= DAY_SECONDS


@given(expression=EXPRESSION.filter(lambda both: len(both[0]) <= LONGEST_TEXT), retried=st.integers(0, 100))
def test_the_evaluator_agrees_with_python(expression, retried):
    """Any well-formed expression: every function and operator, numbers up to infinity."""
    assert_agreement(*expression, retried)


@given(
    layers=st.lists(
        st.sampled_from(["(", "-", "+", "1-(", *(f"{name}(" for name in FUNCTIONS), "max(7, "]), min_size=1
    ),
    retried=st.integers(0, 5),
)
def test_depth_is_no_trouble(layers, retried):
    """Layers upon layers, as many as an expression has room for, or as Python's parser takes parentheses."""
    text = "retried"
    for layer in itertools.cycle(layers):
        nested = f"{layer}{text}{')' if '(' in layer else ''}"
        if len(nested) > LONGEST_TEXT or nested.count("(") == 200:
            break
        text = nested
    assert_agreement(text, text.replace("1-", "1.0-").replace("7", "7.0"), retried)


@given(
    text=st.text(alphabet="retidpowexmin0123456789.+-*/(), '\"[]:=_", max_size=40) | st.text(max_size=40),
    retried=st.integers(0, 5),
)
def test_every_text_is_a_delay_or_refused(text, retried):
    """Whatever is written, a retry waits from nothing to a day."""
    try:
        compile_expression(text)
    except ValueError:
        return
    assert 0 <= retry_delay_seconds(text, retried) <= DAY_SECONDS


def test_an_expression_without_a_value_means_the_default():
    """Division by zero, a root of a negative number, nan; infinity is a day, a negative delay none."""
    for text in ("1 / retried", "sqrt(0 - 1)", "1e999 - 1e999"):
        assert retry_delay_seconds(text, 0) == pytest.approx(math.exp(2.5))
    assert retry_delay_seconds("exp(9999)", 0) == DAY_SECONDS
    assert retry_delay_seconds("0 - 5", 0) == 0
    assert [int(retry_delay_seconds(None, n)) for n in (0, 1, 2, 3, 4, 400)] == [12, 148, 1808, 22026, 86400, 86400]


@given(parts=st.lists(st.tuples(st.integers(0, 99_999), st.sampled_from("smhd")), min_size=1, max_size=6))
def test_durations_add_up(parts):
    """A duration is the sum of its parts."""
    unit = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    text = "".join(f"{amount}{letter}" for amount, letter in parts)
    assert parse_seconds(text) == sum(amount * unit[letter] for amount, letter in parts)


@given(text=st.text(alphabet="0123456789smhd.-+ µu", max_size=20) | st.text(max_size=20))
def test_every_text_is_a_duration_or_refused(text):
    """The parsers return a number or raise ValueError, nothing else."""
    for parse in (parse_seconds, parse_go_seconds, lambda value: parse_wait_seconds(value, wall=0)):
        try:
            assert parse(text) >= 0
        except (ValueError, OverflowError):
            continue


@given(nanoseconds=st.integers(0, 10**15))
def test_go_durations_are_read(nanoseconds):
    """Fractions and small units as Go prints them."""
    assert parse_go_seconds(f"{nanoseconds}ns") == pytest.approx(nanoseconds / 1e9)
    hours, rest = divmod(nanoseconds / 1e9, 3_600)
    assert parse_go_seconds(f"{int(hours)}h{int(rest // 60)}m{rest % 60:.9f}s") == pytest.approx(nanoseconds / 1e9)


@given(text=st.text(alphabet="0123456789*/-,L#MONW ", max_size=24) | st.text(max_size=24))
def test_every_text_is_a_cron_expression_or_refused(text):
    """A parsed expression has a later time; anything else is a ValueError."""
    now = time.time()
    try:
        cron = parse_cron(text, now=now)
    except ValueError:
        return
    assert cron.after(now) > now
    assert cron.after(now) % 60 == 0


def test_daylight_saving_skips_and_does_not_repeat():
    """A local time that does not exist is skipped; one that occurs twice runs once."""
    spring = time.mktime((2026, 3, 28, 12, 0, 0, 0, 0, 0)) - time.timezone
    daily = parse_cron("CRON_TZ=Europe/Berlin 30 2 * * *", now=spring)
    assert time.gmtime(daily.after(spring))[:5] == (2026, 3, 30, 0, 30)
    autumn = parse_cron("CRON_TZ=Europe/Berlin 30 2 25 10 *", now=spring)
    first = autumn.after(spring)
    assert time.gmtime(first)[:5] == (2026, 10, 25, 0, 30)
    assert time.gmtime(autumn.after(first))[0] == 2027


@given(
    publication=st.builds(
        Publication,
        url=st.text(),
        body=st.binary(),
        headers=st.lists(st.tuples(st.text(), st.text())).map(tuple),
        retry_delay=st.none() | st.text(min_size=1),
        delay_seconds=st.integers(0, 10**9),
        labels=st.lists(st.text()).map(tuple),
        flow_control=st.none()
        | st.builds(FlowControl, st.text(), st.none() | st.integers(1), st.none() | st.integers(1)),
        content_based_deduplication=st.booleans(),
    )
)
def test_a_publication_is_read_back_as_it_was_written(publication):
    """`load` is the inverse of `dump`."""
    assert load(dump(publication), publication.body) == publication


def test_moves_follow_the_table():
    """From every state, exactly the moves of the table are possible, and nothing leaves a settled state."""
    for state in State:
        for verb in Verb:
            message = Message(id="m", sequence=1, publication=Publication(url=""), created_at=0, due_at=0, state=state)
            if state in MOVES[verb].sources:
                message.move(verb)
                assert message.state is MOVES[verb].target
            else:
                with pytest.raises(ValueError, match="cannot"):
                    message.move(verb)
        assert state.settled == (not any(state in move.sources for move in MOVES.values()))
