"""Reports without a database: an ordinary one, and one with the worst that people write."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from functions.generate_report.document import Chart, Column, Figure, Report, Section, Series, Span, Table

PERIOD = Span(
    from_=datetime(2026, 3, 1, tzinfo=UTC),
    to=datetime(2026, 4, 1, tzinfo=UTC),
    time_zone="UTC",
    label="1 to 31 March 2026",
)
HOSTILE = {
    "markup": "</title><script>document.title='run'</script><img src=x onerror=alert(1)>",
    "typesetting": '#panic("run") $x$ *bold* _it_ @cite \\ [x] <label> `raw` // gone',
    "template": "{{ 7 * 7 }}{% raw %}",
    "long": "Donaudampfschifffahrtselektrizitaetenhauptbetriebswerkbauunterbeamtengesellschaft" * 4,
    "arabic": "شركة النور للتجارة والصناعة",
    "hebrew": "חברת האור בע״מ",
    "mixed": "Acme شركة (Ltd) חברה 123",
    "controls": "a\x01b\x0b\u202ec\u2066d\nnew line\ttab",
    "entities": "&lt;Fish & Chips&gt; \"quoted\" 'single'",
    "empty": "   ",
    "emoji": "👩‍👩‍👧‍👦 Familie",
    "accents": "Z̸̢̛̲̼͑a̶͎̔l̷̡̊g̵̠̈o̶͚͐" * 30,
}


def report(*sections: Section, **changes: Any) -> Report:
    """A report of these sections."""
    return Report(
        **{"name": "usage", "title": "Usage", "product": "Northwind", "period": PERIOD, "sections": sections} | changes
    )


def chart(kind: str, labels: list[str], *values: list[float], axis: str = "text", unit: str = "count") -> Chart:
    """A chart of one series or more."""
    series = tuple(Series(name=f"Series {number}", values=tuple(one)) for number, one in enumerate(values))
    currency = "usd" if unit == "money" else None
    return Chart.model_validate(
        {
            "title": "A chart",
            "kind": kind,
            "axis": axis,
            "labels": labels,
            "series": series,
            "unit": unit,
            "currency": currency,
        }
    )


def hostile() -> Report:
    """All of it, wherever a person's words may stand."""
    names = list(HOSTILE.values())
    return report(
        Section(
            title="Names",
            figures=(Figure(label="Things", value=len(names)),),
            charts=(chart("bars", names, [float(number) for number in range(len(names))]),),
            tables=(
                Table(
                    title="By name",
                    columns=(
                        Column(label="Name", unit="text"),
                        Column(label="Also", unit="text"),
                        Column(label="Number"),
                    ),
                    rows=tuple((name, name, number) for number, name in enumerate(names)),
                    total=("All", None, 7),
                ),
            ),
        ),
        subject=HOSTILE["markup"] + HOSTILE["long"],
        product=HOSTILE["typesetting"],
    )
