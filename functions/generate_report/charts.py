"""Charts as SVG: one drawing for the page and for the PDF, which differ only in where its colours come from.

The page's own style colours the classes, light and dark; a PDF takes a drawing that brings its style along. What a person
wrote becomes text of the drawing and nothing else. On paper the typesetter writes the names of bars itself, at the places
that are named here: in a drawing it gives a text of several scripts one font.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from functions.generate_report import formats
from functions.generate_report.document import Chart, Number

WIDTH = 640
HEIGHT = 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 12, 26
BAR = 26
"""The height of a row of bars."""
EDGE = 5
"""What is above the first of them, and below the last."""
NAMES = 190
"""The width that bars leave to their names."""
_LEGEND = 16
"""The height of the names of several lines, above them."""
_NAME_LENGTH = 30
_LETTER = 6.2
"""About how wide a letter is at the size of all text here."""
_MOST_COLUMNS_APART = 120
_WIDEST_COLUMN = 48

STYLE = """
text { font-family: Inter; font-size: 11px; fill: #5c6471; }
.name { fill: #15181e; }
.grid { stroke: #e3e6eb; stroke-width: 1; }
.zero { stroke: #8d95a3; stroke-width: 1; }
.fill-0 { fill: #3451c6; } .fill-1 { fill: #b4540a; } .fill-2 { fill: #17703c; } .less { fill: #b4540a; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line-0 { stroke: #3451c6; } .line-1 { stroke: #b4540a; stroke-dasharray: 6 4; } .line-2 { stroke: #17703c; stroke-dasharray: 2 4; }
"""
"""The colours on paper. Lines of one chart also differ in their dashes."""


def draw(chart: Chart, *, style: str | None = None, identity: str | None = None) -> str:
    """The chart as an `<svg>`. With `style` it stands for itself, but for the names of bars; with `identity` it names and describes itself to those
    who do not see it."""
    height = BAR * max(1, len(chart.labels)) + 2 * EDGE if chart.kind == "bars" else HEIGHT
    content = list(_bars(chart, named=style is None) if chart.kind == "bars" else _along_time(chart))
    if not any(value for series in chart.series for value in series.values):
        content.append(_text(WIDTH / 2, height / 2, "Nothing in this period", "middle"))
    about = ""
    named = f' class="chart {chart.kind}"'
    if identity is not None:
        named += f' role="img" aria-labelledby="{identity}-title {identity}-desc"'
        about = f'<title id="{identity}-title">{_xml(chart.title)}</title><desc id="{identity}-desc">{_xml(describe(chart))}</desc>'
    own = f"<style>{style}</style>" if style is not None else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"{named}>'
        f"{about}{own}{''.join(content)}</svg>"
    )


def describe(chart: Chart) -> str:
    """The chart in a sentence, for those who do not see it; all of its numbers are in a table besides."""
    if not chart.labels:
        return "There is nothing to show."
    said = []
    for series in chart.series:
        top, bottom = max(series.values), min(series.values)
        at = formats.show(chart.labels[series.values.index(top)], chart.axis)
        high = formats.show(top, chart.unit, chart.currency)
        low = formats.show(bottom, chart.unit, chart.currency)
        said.append(f"{series.name}: from {low} to {high}, the most for {at}.")
    return " ".join(said)


def ticks(low: Number, high: Number, *, whole: bool) -> list[float]:
    """Round numbers from one that is at most `low` to one that is at least `high`, four to eight of them."""
    if low == high:
        high = low + 1
    raw = (high - low) / 4
    size = 10 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw * 0.999)
    if whole:
        step = max(1, round(step))
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [round(count * step, 6) for count in range(first, last + 1)]


def _along_time(chart: Chart) -> Iterator[str]:
    values = [value for series in chart.series for value in series.values]
    low, high = min([0, *values]), max([0, *values])
    marks = ticks(low, high, whole=chart.unit != "percent") if low != high else [0, 1]
    bottom, top = marks[0], marks[-1]
    above = _TOP + (_LEGEND if len(chart.series) > 1 else 0)
    across, up = WIDTH - _LEFT - _RIGHT, HEIGHT - above - _BOTTOM

    def y(value: float) -> float:
        return above + up * (top - value) / (top - bottom)

    for mark in marks:
        yield f'<path class="{"zero" if mark == 0 else "grid"}" d="M{_LEFT} {y(mark):.1f}H{WIDTH - _RIGHT}"/>'
        yield _text(_LEFT - 8, y(mark) + 4, formats.short(mark, chart.unit, chart.currency), "end")
    if not chart.labels:
        return
    slot = across / len(chart.labels)
    middles = [_LEFT + slot * (index + 0.5) for index in range(len(chart.labels))]
    for index in _labelled(len(chart.labels)):
        yield _text(middles[index], HEIGHT - 8, _moment(chart.labels[index], chart.axis), "middle")
    for number, series in enumerate(chart.series):
        if chart.kind == "line":
            yield from _line(number, middles, [y(value) for value in series.values])
            continue
        wide = min(_WIDEST_COLUMN, slot * (0.72 if len(series.values) <= _MOST_COLUMNS_APART else 1))
        for middle, value in zip(middles, series.values, strict=True):
            if value:
                at, end = min(y(value), y(0)), max(y(value), y(0))
                kind = f"fill-{number}" if value > 0 else "less"
                yield f'<rect class="{kind}" x="{middle - wide / 2:.2f}" y="{at:.1f}" width="{wide:.2f}" height="{max(0.8, end - at):.1f}" rx="1"/>'
    if len(chart.series) > 1:
        yield from _legend(chart)


def _line(number: int, xs: list[float], ys: list[float]) -> Iterator[str]:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    yield f'<polyline class="line line-{number}" points="{points}"/>'
    if len(xs) == 1:  # a line of one point cannot be seen
        yield f'<circle class="fill-{number}" cx="{xs[0]:.1f}" cy="{ys[0]:.1f}" r="4"/>'


def _legend(chart: Chart) -> Iterator[str]:
    x = float(_LEFT)
    for number, series in enumerate(chart.series):
        yield f'<path class="line line-{number}" d="M{x:.0f} {_TOP + 2}h22"/>'
        yield _text(x + 28, _TOP + 6, formats.name(series.name, _NAME_LENGTH), "start", "name")
        x += 28 + _LETTER * len(series.name) + 24


def _bars(chart: Chart, *, named: bool) -> Iterator[str]:
    (series,) = chart.series
    low, high = min([0, *series.values]), max([0, *series.values])
    written = [formats.show(value, chart.unit, chart.currency) for value in series.values]
    # The value stands at the end of its bar, so the longest one's needs room there, on each side that has bars.
    room = max([len(text) for text in written], default=0) * _LETTER + 10
    left, right = NAMES + 10 + (room if low < 0 else 0), WIDTH - (room if high > 0 or low == 0 else 0)
    scale = (right - left) / ((high - low) or 1)
    zero = left - low * scale
    for row, (label, value, text) in enumerate(zip(chart.labels, series.values, written, strict=True)):
        middle = EDGE + BAR * (row + 0.5)
        start, end = sorted((zero, zero + value * scale))
        if named:
            yield _text(NAMES, middle + 4, short_name(label), "end", "name")
        kind = "fill-0" if value >= 0 else "less"
        if value:
            yield f'<rect class="{kind}" x="{start:.1f}" y="{middle - 8:.1f}" width="{max(1, end - start):.1f}" height="16" rx="2"/>'
        beside = (end + 6, "start") if value >= 0 else (start - 6, "end")
        yield _text(beside[0], middle + 4, text, beside[1])
    if chart.labels and low < 0:
        yield f'<path class="zero" d="M{zero:.1f} 3V{EDGE + BAR * len(chart.labels)}"/>'


def short_name(label: str) -> str:
    """What stands beside a bar."""
    return formats.name(label, _NAME_LENGTH) or formats.NOTHING


def _labelled(count: int) -> range:
    """Which of the columns have room for a label."""
    return range(0, count, max(1, math.ceil(count / 9)))


def _moment(label: str, axis: str) -> str:
    if axis == "day":
        return formats.day(label).rsplit(" ", 1)[0]
    year_after = formats.month(label)
    return f"{year_after[:3]} {year_after[-4:]}"


def _text(x: float, y: float, text: str, anchor: str, kind: str | None = None) -> str:
    classed = f' class="{kind}"' if kind else ""
    return f'<text{classed} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_xml(text)}</text>'


def _xml(text: str) -> str:
    return escape(formats.name(text, 400), quote=True)
