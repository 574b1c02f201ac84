"""Cron's next times, against clocks that are walked minute by minute."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.qstash.cron import parse_cron

FIRST = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2034, 1, 1, tzinfo=UTC).timestamp())
MINUTE, HOUR, DAY, WEEK = 60, 3_600, 86_400, 7 * 86_400

Transition = tuple[int, int]
"""The second at which a zone's clocks are moved, and by how many seconds."""
Matcher = Callable[[datetime], bool]

DENSE: dict[str, Matcher] = {
    "* * * * *": lambda _: True,
    "*/15 * * * *": lambda local: local.minute % 15 == 0,
    "30 * * * *": lambda local: local.minute == 30,
}
"""What also comes within the hours around a transition."""

SPARSE: dict[str, Matcher] = {
    "30 2 * * *": lambda local: (local.hour, local.minute) == (2, 30),
    "0 0 * * *": lambda local: (local.hour, local.minute) == (0, 0),
    "59 1 * * *": lambda local: (local.hour, local.minute) == (1, 59),
    "*/20 0-3,23 * * *": lambda local: local.minute % 20 == 0 and local.hour in (0, 1, 2, 3, 23),
    "0 3 * * 0": lambda local: (local.hour, local.minute) == (3, 0) and local.weekday() == 6,
    "15 0 1 * *": lambda local: (local.day, local.hour, local.minute) == (1, 0, 15),
}
"""What comes once a day or less, or so."""


def offset(zone: ZoneInfo, second: int) -> int:
    return round(datetime.fromtimestamp(second, zone).utcoffset().total_seconds())


@lru_cache
def zones() -> dict[tuple[int, tuple[Transition, ...]], ZoneInfo]:
    """One of all zones whose clocks agree for the ten years, by its first offset and its transitions."""
    return {table(zone): zone for zone in map(ZoneInfo, sorted(available_timezones()))}


def table(zone: ZoneInfo) -> tuple[int, tuple[Transition, ...]]:
    return offset(zone, FIRST), tuple(transitions(zone))


def transitions(zone: ZoneInfo) -> Iterator[Transition]:
    """Every change of the zone's offset, found by bisection of the weeks in which there is one."""
    for before in range(FIRST, LAST, WEEK):
        after = before + WEEK
        if (first := offset(zone, before)) == (last := offset(zone, after)):
            continue
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if offset(zone, middle) == first else (before, middle)
        yield after, last - first


def local_times(zone: ZoneInfo, begin: int, end: int) -> Iterator[tuple[int, datetime]]:
    """What the zone's clocks show for the first time, minute after minute: what they show again is left out."""
    shown: set[datetime] = set()
    for second in range(begin, end, MINUTE):
        local = datetime.fromtimestamp(second, zone).replace(tzinfo=None, fold=0)
        if local not in shown:
            shown.add(local)
            yield second, local


def next_times(text: str, begin: int, end: int) -> list[int]:
    """The times of the expression from `begin` on and before `end`, each asked for from the one before it."""
    found: list[int] = []
    cron = parse_cron(text, now=begin)
    moment = cron.after(begin - 1)
    while moment < end:
        found.append(round(moment))
        moment = cron.after(moment)
    return found


def test_every_transition_of_every_zone_skips_what_is_not_and_repeats_nothing():
    """Ten years of all zones: a local time that does not exist is skipped, of one that repeats the first counts."""
    assert len(zones()) > 50
    for (_, moves), zone in zones().items():
        for moment, shift in moves:
            expect(DENSE, zone, moment, around=abs(shift) + 65 * MINUTE)
            expect(SPARSE, zone, moment, around=DAY)


def expect(expressions: dict[str, Matcher], zone: ZoneInfo, moment: int, *, around: int) -> None:
    """From `around` seconds before the moment to as long after it, each expression comes when the clocks say so."""
    begin, end = moment // MINUTE * MINUTE - around, moment + around
    shown = list(local_times(zone, begin - 3 * HOUR, end))
    for fields, matches in expressions.items():
        expected = [second for second, local in shown if second >= begin and matches(local)]
        assert next_times(f"CRON_TZ={zone.key} {fields}", begin, end) == expected, (zone.key, fields, moment)


def test_a_next_time_does_not_depend_on_the_one_before():
    """Asked for at any second around a transition, in the hour that repeats too, it is the first one that is later."""
    for (_, moves), zone in zones().items():
        for moment, shift in moves:
            begin, end = moment // MINUTE * MINUTE - 3 * HOUR, moment + DAY + HOUR
            shown = list(local_times(zone, begin - 3 * HOUR, end))
            for fields in ("30 2 * * *", "*/20 0-3,23 * * *"):
                cron = parse_cron(f"CRON_TZ={zone.key} {fields}", now=begin)
                times = [second for second, local in shown if SPARSE[fields](local)]
                for asked in range(moment - abs(shift) - 13, moment + abs(shift) + 13, 401):
                    expected = next((second for second in times if second > asked), None)
                    assert expected is None or cron.after(asked + 0.5) == expected, (zone.key, fields, asked)


def test_between_transitions_nothing_is_lost():
    """Every Wednesday noon of the ten years, in every zone: each a week after the last, by the local calendar."""
    for zone in zones().values():
        times = next_times(f"CRON_TZ={zone.key} 0 12 * * WED", FIRST, LAST)
        shown = [datetime.fromtimestamp(second, zone).replace(tzinfo=None) for second in times]
        assert shown == [datetime(2024, 1, 3, 12) + timedelta(weeks=n) for n in range(522)]


Field = tuple[str, frozenset[int]]
"""A field's text, and the values that it means."""


def part(low: int, high: int) -> st.SearchStrategy[Field]:
    """A number, a range, or a range with a step."""
    ranges = st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted)
    return st.one_of(
        st.integers(low, high).map(lambda number: (str(number), frozenset({number}))),
        ranges.map(lambda ends: (f"{ends[0]}-{ends[1]}", frozenset(range(ends[0], ends[1] + 1)))),
        st.tuples(ranges, st.integers(1, high)).map(
            lambda given: (
                f"{given[0][0]}-{given[0][1]}/{given[1]}",
                frozenset(range(given[0][0], given[0][1] + 1, given[1])),
            )
        ),
    )


def field(low: int, high: int) -> st.SearchStrategy[Field]:
    """Everything, every so often, or a list of parts."""
    return st.one_of(
        st.just(("*", frozenset(range(low, high + 1)))),
        st.integers(1, high).map(lambda step: (f"*/{step}", frozenset(range(low, high + 1, step)))),
        st.lists(part(low, high), min_size=1, max_size=3).map(
            lambda parts: (",".join(text for text, _ in parts), frozenset().union(*(values for _, values in parts)))
        ),
    )


NAMES = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
WEEKDAYS = (
    field(0, 6)
    | st.just(("7", frozenset({0})))
    | st.sampled_from(range(7)).map(lambda day: (NAMES[day], frozenset({day})))
    | st.tuples(st.integers(0, 5), st.integers(1, 6)).map(
        lambda ends: (
            f"{NAMES[min(ends)]}-{NAMES[max(ends)]}".lower(),
            frozenset(range(min(ends), max(ends) + 1)),
        )
    )
)
DAYS = field(1, 31) | st.just(("L", frozenset({0})))
"""0 stands for a month's last day."""


@settings(max_examples=500, deadline=None)
@given(
    minutes=field(0, 59),
    hours=field(0, 23),
    days=DAYS,
    months=field(1, 12),
    weekdays=WEEKDAYS,
    moment=st.floats(FIRST, LAST),
    zone=st.sampled_from(["UTC", "Asia/Kolkata", "Pacific/Marquesas"]),
)
def test_any_expression_comes_when_the_calendar_says_so(minutes, hours, days, months, weekdays, moment, zone):
    """In zones without transitions; days and weekdays narrow each other if either is a star, else they add up."""
    text = f"CRON_TZ={zone} {' '.join(name for name, _ in (minutes, hours, days, months, weekdays))}"
    narrowing = days[0].startswith("*") or weekdays[0].startswith("*")

    def is_day(day: datetime) -> bool:
        last = calendar.monthrange(day.year, day.month)[1]
        by_number = day.day in days[1] or (0 in days[1] and day.day == last)
        by_weekday = day.isoweekday() % 7 in weekdays[1]
        return day.month in months[1] and ((by_number and by_weekday) if narrowing else (by_number or by_weekday))

    local = datetime.fromtimestamp(moment, ZoneInfo(zone))
    day, expected = local.replace(hour=0, minute=0, second=0, microsecond=0), None
    while expected is None and day.year <= local.year + 50:
        if is_day(day):
            times = (day.replace(hour=h, minute=m) for h in sorted(hours[1]) for m in sorted(minutes[1]))
            expected = next((time for time in times if time > local), None)
        day += timedelta(days=1)
    if expected is None:
        with pytest.raises(ValueError, match=r"."):
            parse_cron(text, now=moment)
    else:
        assert parse_cron(text, now=moment).after(moment) == expected.timestamp()


def test_a_range_of_one_with_a_step_is_that_one():
    """`5-5/10` is 5; it is not `5/10`, which goes on to the end. A step of zero stays refused."""
    for text, single in (
        ("5-5/10 * * * *", "5 * * * *"),
        ("0 05-5/1,7-7/2 * * *", "0 5,7 * * *"),
        ("0 0 * JAN-jan/2 0-0/3", "0 0 * 1 0"),
    ):
        assert next_times(text, FIRST, FIRST + 60 * DAY) == next_times(single, FIRST, FIRST + 60 * DAY)
    assert next_times("5/25 * * * *", FIRST, FIRST + HOUR) == [FIRST + n * MINUTE for n in (5, 30, 55)]
    with pytest.raises(ValueError, match=r"."):
        parse_cron("5-5/0 * * * *", now=FIRST)
