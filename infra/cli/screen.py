"""What people see on a terminal: tables and colours there, plain text elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)  # a terminal wraps lines by itself; a pipe gets them whole
errors = Console(stderr=True, highlight=False, soft_wrap=True)

_STYLES = {
    "pending": "cyan",
    "processing": "blue",
    "retrying": "yellow",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "magenta",
    "continued": "blue",
    "retried": "yellow",
    "running": "blue",
    "lost": "red",
}


def status(value: str) -> Text:
    """A status or an outcome in its colour."""
    return Text(value, style=_STYLES.get(value, ""))


def brief(text: str | None, width: int = 80) -> Text:
    """The first line of what somebody else wrote, cut to size, and never taken for markup."""
    lines = (text or "").strip().splitlines()
    return Text(plain(lines[0][:width]) if lines else "")


def plain(text: str) -> str:
    """Text of somebody else without the characters that steer a terminal."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text)


def ago(moment: datetime | None) -> str:
    """How long ago, or in how long."""
    if moment is None:
        return "–"
    passed = datetime.now(UTC) - moment
    return f"in {span(-passed)}" if passed < timedelta(0) else f"{span(passed)} ago"


def span(duration: timedelta | None) -> str:
    """A duration in its two largest units."""
    if duration is None:
        return "–"
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table in the house's style."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(
            column, header_style="dim", no_wrap=column in {"job", "schedule", "status", "type"}, overflow="fold"
        )
    return made


def show(made: Table) -> None:
    """A table for the terminal, or for whatever reads us through a pipe: there nothing is cut off. Nor is it where the
    terminal is too narrow for the headings: its own wrapping is easier to read than columns of single letters."""
    if console.is_terminal and least_width(made) <= console.width:
        console.print(made, soft_wrap=False)
    else:
        wide = Console(width=10_000, highlight=False)
        wide.print(made, soft_wrap=True)


def least_width(made: Table) -> int:
    """Of a table whose headings, and whatever must stay on one line, are in one piece."""
    return sum(
        2 + max([cell_len(str(column.header)), *(cell_len(str(one)) for one in column.cells if column.no_wrap)])
        for column in made.columns
    )
