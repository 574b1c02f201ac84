"""A document as PDF, page and JSON: nothing that people write breaks it or becomes a part of it."""

from __future__ import annotations

import io
import itertools
import re
from datetime import date, timedelta
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from pypdf import PdfReader

from functions.generate_report import charts
from functions.generate_report.document import Column, Figure, Report, Section, Table, schema
from functions.generate_report.rendering import FORMATS, as_json, html, pdf
from tests.conftest import ROOT
from tests.unit.generate_report.documents import HOSTILE, chart, hostile, report

VOID = {"meta", "br", "img", "link", "base", "hr", "input"}


class Page(HTMLParser):
    """The elements of a page in order, with their attributes; ends that do not fit their beginnings are errors."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(content.decode())
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def words_of(content: bytes) -> str:
    text = " ".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)
    return re.sub(r"\s+", " ", text.replace("\u200b", ""))


def test_a_page_cannot_be_taken_over() -> None:
    """Names with markup are text: no script, no image, no attribute of theirs."""
    page = Page(html(hostile()))

    assert {"script", "img", "iframe", "link", "form"} & {name for name, _ in page.elements} == set()
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [attributes for _, attributes in page.elements if {"href", "src", "style"} & attributes.keys()]
    assert HOSTILE["markup"] in page.text
    assert "{{ 7 * 7 }}" in page.text
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")


def test_a_page_can_be_read_by_everyone() -> None:
    """A language, headings in order, tables with captions and scopes, charts that say what they show."""
    page = Page(html(hostile()))

    assert page.all("html")[0]["lang"] == "en"
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table")) == 1
    assert {one.get("scope") for one in page.all("th")} == {"col", "row"}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for drawing in page.all("svg"):
        assert drawing["role"] == "img"
        assert set((drawing["aria-labelledby"] or "").split()) <= set(ids)


def contrast(one: str, other: str) -> float:
    """Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_stand_out() -> None:
    """Text has a contrast of 4.5 on each of its grounds, light, dark and printed, and charts of 3."""
    blocks = re.findall(r":root \{(.*?)\}", html(report()).decode(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", block))
        for ground in ("page", "card", "panel"):
            for words in ("ink", "soft", "accent"):
                assert contrast(colours[words], colours[ground]) >= 4.5, (words, ground, colours)
        for mark in ("accent", "second", "third"):
            assert contrast(colours[mark], colours["card"]) >= 3


def test_a_pdf_holds_all_that_was_written() -> None:
    """Typesetting commands are text, long names are broken, and right-to-left names are there."""
    words = words_of(pdf(hostile()))

    assert '#panic("run") $x$ *bold* _it_ @cite \\ [x] <label> `raw` // gone' in words
    assert "<script>" in words
    assert "{{ 7 * 7 }}" in words
    assert re.search(r"[\u0600-\u06ff\ufb50-\ufeff]{3}", words)
    assert re.search(r"[\u0590-\u05ff]{3}", words)
    assert "Page 1 of" in words


def test_a_long_name_is_broken_into_lines() -> None:
    """A name without a space stays in its column: its number is still there, on the first of its lines."""
    words = words_of(pdf(hostile()))

    lines = re.search(r"Donaudampf\w+ \w+ \w+", words)
    assert lines is not None
    assert max(len(line) for line in lines[0].split()) < 80


def test_scripts_are_mixed_in_a_drawing() -> None:
    """A name of several scripts is drawn with the letters of each: none is missing from the fonts of the paper."""
    one = report(Section(title="x", charts=(chart("bars", [HOSTILE["mixed"]], [1]),)))

    words = words_of(pdf(one))

    assert re.search(r"[\u0600-\u06ff\ufb50-\ufeff]{3}", words)
    assert re.search(r"[\u0590-\u05ff]{3}", words)
    assert "Acme" in words


def test_a_pdf_says_what_it_is() -> None:
    """Title, author and language are there for archives and screen readers, and the date is that of the period."""
    reader = PdfReader(io.BytesIO(pdf(report(Section(title="x", charts=(chart("bars", ["a"], [1]),))))))

    assert reader.metadata is not None
    assert reader.metadata.title == "Northwind: Usage, 1 to 31 March 2026"
    assert reader.metadata.author == "Northwind"
    assert reader.metadata.creation_date is not None
    assert reader.metadata.creation_date.date() == date(2026, 4, 1)
    assert reader.root_object["/Lang"] == "en"
    assert reader.root_object["/MarkInfo"]["/Marked"]


def test_a_long_table_goes_over_pages() -> None:
    """Its heading is there again on each, and pages are numbered."""
    rows = tuple((f"Organization {number}", number) for number in range(150))
    table = Table(
        title="All", columns=(Column(label="Organization name", unit="text"), Column(label="Number")), rows=rows
    )

    pages = [
        page.extract_text() for page in PdfReader(io.BytesIO(pdf(report(Section(title="x", tables=(table,)))))).pages
    ]

    assert len(pages) == 4
    assert all("Organization name" in page for page in pages)
    assert all(f"Page {number} of 4" in page for number, page in enumerate(pages, 1))
    assert all(f"Organization {number}" in "\n".join(pages) for number in range(150))


EDGES = {
    "no sections": [],
    "nothing at all": [Section(title="x", text="Nothing.")],
    "no rows": [Section(title="x", tables=(Table(title="t", columns=(Column(label="a"),), rows=()),))],
    "nothing to chart": [Section(title="x", charts=(chart("bars", [], []), chart("line", [], [], axis="day")))],
    "one point": [
        Section(
            title="x",
            charts=(
                chart("line", ["2026-03-01"], [5], axis="day"),
                chart("columns", ["2026-03"], [5], axis="month"),
                chart("bars", ["a"], [5]),
            ),
        )
    ],
    "all zero": [
        Section(
            title="x", charts=(chart("columns", ["2026-03-01"] * 9, [0] * 9, axis="day"), chart("bars", ["a"], [0]))
        )
    ],
    "below zero": [
        Section(
            title="x",
            charts=(
                chart("bars", ["a", "b"], [-5, -7], unit="money"),
                chart("bars", ["a", "b"], [9, -7], unit="money"),
                chart("line", ["2026-03-01", "2026-03-02"], [-5, 3], axis="day"),
            ),
        )
    ],
    "huge": [
        Section(
            title="x",
            figures=(
                Figure(label="f", value=10**18, unit="money", currency="jpy", previous=1, change=1e18),
                Figure(label="g", value=None, unit="percent", note="n"),
                Figure(label="h", value=-5, unit="money", currency="kwd"),
            ),
            charts=(chart("bars", ["a"], [10**18], unit="money"), chart("line", ["2026-03"], [10**18], axis="month")),
        )
    ],
    "small shares": [
        Section(
            title="x",
            charts=(chart("line", ["2026-03-01", "2026-03-02"], [0.001, 0.0004], axis="day", unit="percent"),),
        )
    ],
    "five years of days": [
        Section(
            title="x",
            charts=(
                chart(
                    "columns",
                    [(date(2021, 1, 1) + timedelta(days=number)).isoformat() for number in range(1830)],
                    list(range(1830)),
                    axis="day",
                ),
            ),
        )
    ],
}


@pytest.mark.parametrize("sections", EDGES.values(), ids=EDGES.keys())
@pytest.mark.parametrize("written_as", FORMATS)
def test_edges(written_as: str, sections: list[Section]) -> None:
    """Empty periods, single points, and numbers of any size and sign make a file."""
    made = report(*sections)
    content = FORMATS[written_as].write(made)

    match written_as:
        case "pdf":
            assert words_of(content).count("Usage") >= 1
        case "html":
            assert "Usage" in Page(content).text
        case _:
            assert Report.model_validate_json(content) == made


def test_every_drawing_is_well_formed_and_within_its_frame() -> None:
    """Whatever the numbers, a drawing is XML, and no bar or line leaves it."""
    drawn = [one for sections in EDGES.values() for section in sections for one in section.charts]
    drawn += [one for section in hostile().sections for one in section.charts]
    for one in drawn:
        root = ElementTree.fromstring(charts.draw(one, style=charts.STYLE))
        height = float(root.attrib["height"])
        for bar in root.iter("{http://www.w3.org/2000/svg}rect"):
            x, y, wide, high = (float(bar.attrib[name]) for name in ("x", "y", "width", "height"))
            assert x >= -0.1
            assert x + wide <= charts.WIDTH + 0.1
            assert -0.1 <= y <= y + high <= height + 0.1


def test_a_bar_is_as_long_as_its_number() -> None:
    """Twice as much is twice as long, and a column twice as high."""
    for kind, size in (("bars", "width"), ("columns", "height")):
        axis, labels = ("text", ["a", "b"]) if kind == "bars" else ("day", ["2026-03-01", "2026-03-02"])
        root = ElementTree.fromstring(charts.draw(chart(kind, labels, [40, 80], axis=axis)))
        one, two = (float(bar.attrib[size]) for bar in root.iter("{http://www.w3.org/2000/svg}rect"))
        assert two / one == pytest.approx(2, rel=0.01)


def test_a_single_column_stays_slim() -> None:
    """A report of one day or month has columns, and no walls."""
    root = ElementTree.fromstring(charts.draw(chart("columns", ["2026-03-01"], [40], axis="day")))
    (column,) = root.iter("{http://www.w3.org/2000/svg}rect")
    assert float(column.attrib["width"]) < charts.WIDTH / 10


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0, 3, [0, 1, 2, 3]),
        (0, 137, [0, 50, 100, 150]),
        (0, 1, [0, 1]),
        (-7, 9, [-10, -5, 0, 5, 10]),
        (0, 10**6, [0, 500_000, 1_000_000]),
    ],
)
def test_axes_have_round_numbers(low: int, high: int, marks: list[float]) -> None:
    """They reach from the least to the most, in steps that people count in, and have nought."""
    assert charts.ticks(low, high, whole=True) == marks


def test_the_schema_is_documented() -> None:
    """The file in the documentation is the schema of what is written; each of its fields says what it is."""
    assert (ROOT / "docs/reference/report.schema.json").read_text() == schema(), (
        "make docs/reference/report.schema.json anew"
    )
    described: dict[str, Any] = Report.model_json_schema(by_alias=True)
    for name, one in {"Report": described, **described["$defs"]}.items():
        assert [field for field, what in one["properties"].items() if "description" not in what] == [], name


def test_json_keeps_numbers_and_words_as_they_are() -> None:
    """Names are not cut, numbers not made words."""
    made = hostile()

    assert Report.model_validate_json(as_json(made)) == made
    assert HOSTILE["arabic"] in as_json(made).decode()
