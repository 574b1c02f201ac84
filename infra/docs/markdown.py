"""Pieces of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells may hold Markdown."""
    lines = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def code(text: str) -> str:
    """Text as code, also when it holds a backtick."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def sentence(text: str) -> str:
    """Text on one line, with its full stop, unless it ends with an address or with JSON, which a stop would spoil."""
    joined = " ".join(text.split())
    spoiled = "://" in joined.rpartition(" ")[2] or joined.endswith("}")
    return joined if not joined or joined[-1] in ".!?" or spoiled else f"{joined}."


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
