"""A report as a file: of the same report always the same bytes, so that a repeated attempt overwrites its file with
itself.

PDF is typeset by typst, in this process: no browser, no network, no package but its own. The page is one file with its
style and its drawings in it, without a script.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functions.generate_report import charts, formats
from functions.generate_report.document import Cell, Chart, Column, Figure, Report, Section, Table

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent
FONTS = HERE / "pdf" / "fonts"

_UNBROKEN = re.compile(r"\S{24}(?=\S)")


@dataclass(frozen=True)
class Format:
    """How a report is written."""

    content_type: str
    write: Callable[[Report], bytes]


def pdf(report: Report) -> bytes:
    """Typeset, with page numbers."""
    import typst

    said = _said(report, lambda chart, _number: charts.draw(chart, style=charts.STYLE), _breakable)
    ended = report.period.to
    said["drawn"] = {"width": charts.WIDTH, "row": charts.BAR, "edge": charts.EDGE, "names": charts.NAMES}
    said["date"] = [ended.year, ended.month, ended.day]
    return typst.compile(
        str(HERE / "pdf" / "report.typ"),
        format="pdf",
        font_paths=[str(FONTS)],
        ignore_system_fonts=True,
        # Data, and never a part of the program: what a person wrote cannot become markup.
        sys_inputs={"report": json.dumps(said)},
        timestamp=int(ended.timestamp()),
    )


def html(report: Report) -> bytes:
    """One page that stands for itself."""
    said = _said(report, lambda chart, number: charts.draw(chart, identity=f"chart-{number}"), lambda text: text)
    return (_template().render(said).strip() + "\n").encode()


def as_json(report: Report) -> bytes:
    """The report itself, as `document.Report` describes it."""
    return (report.model_dump_json(by_alias=True, indent=2) + "\n").encode()


FORMATS: Mapping[str, Format] = {
    "pdf": Format("application/pdf", pdf),
    "html": Format("text/html; charset=utf-8", html),
    "json": Format("application/json", as_json),
}
"""By the contract's names."""


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _breakable(text: str) -> str:
    # The typesetter breaks lines at spaces only; a name without one would leave its column.
    return _UNBROKEN.sub("\\g<0>\N{ZERO WIDTH SPACE}", text)


def _said(report: Report, draw: Callable[[Chart, int], str], text: Callable[[str], str]) -> dict[str, Any]:
    """The report in words, with its charts drawn, for a template."""
    words = Words(draw, text)
    return {
        "title": report.title,
        "subject": text(formats.name(report.subject)) if report.subject is not None else None,
        "product": text(formats.name(report.product)),
        "period": report.period.label,
        "zone": report.period.time_zone,
        "notes": list(report.notes),
        "sections": [words.section(section) for section in report.sections],
    }


@dataclass
class Words:
    """Makes words of numbers, and drawings of charts."""

    draw: Callable[[Chart, int], str]
    text: Callable[[str], str]
    drawn: int = 0

    def section(self, section: Section) -> dict[str, Any]:
        """A chapter."""
        return {
            "title": section.title,
            "text": section.text,
            "figures": [self._figure(figure) for figure in section.figures],
            "charts": [self._chart(chart) for chart in section.charts],
            "tables": [self._table(table) for table in section.tables],
        }

    def _figure(self, figure: Figure) -> dict[str, Any]:
        compared = None
        if figure.previous is not None:
            before = formats.show(figure.previous, figure.unit, figure.currency)
            compared = f"{before} before"
        return {
            "label": figure.label,
            "value": formats.show(figure.value, figure.unit, figure.currency),
            "change": None if figure.change is None else formats.percent(figure.change, signed=True),
            "compared": compared,
            "note": figure.note,
        }

    def _chart(self, chart: Chart) -> dict[str, Any]:
        self.drawn += 1
        return {
            "title": chart.title,
            "svg": self.draw(chart, self.drawn),
            "about": charts.describe(chart),
            "names": [charts.short_name(label) for label in chart.labels] if chart.kind == "bars" else [],
        }

    def _table(self, table: Table) -> dict[str, Any]:
        return {
            "title": table.title,
            "columns": [{"label": one.label, "words": one.unit in _IN_WORDS} for one in table.columns],
            "rows": [self._row(row, table.columns) for row in table.rows],
            "total": None if table.total is None else self._row(table.total, table.columns, total=True),
            "note": table.note,
        }

    def _row(self, row: tuple[Cell, ...], columns: tuple[Column, ...], *, total: bool = False) -> list[str]:
        units = ["text" if total and not index else column.unit for index, column in enumerate(columns)]
        return [
            "" if total and cell is None else self.text(formats.show(cell, unit, column.currency))
            for cell, unit, column in zip(row, units, columns, strict=True)
        ]


_IN_WORDS = frozenset({"text", "day", "month"})
