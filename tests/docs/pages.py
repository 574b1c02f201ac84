"""The pages of the documentation, and the pieces of them that tests look at."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])

_PIECE = re.compile(
    r"^[ ]*<!-- setup\n(?P<setup>.*?)^[ ]*-->$"
    r"|^[ ]*<!-- (?P<comment>not run.*?) -->$"
    r"|^(?P<indent>[ ]*)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Snippet:
    """A fenced block, or the setup in a comment that readers do not see."""

    language: str
    code: str
    line: int
    """Of its first line, from 1."""
    not_run: str | None
    """Why it is not run with its page."""


def name(page: Path) -> str:
    """As people call it."""
    return str(page.relative_to(ROOT))


def snippets(page: Path, language: str) -> list[Snippet]:
    """The blocks of a page in one language, in order. A comment `<!-- not run: why -->` holds for the block below it."""
    text = page.read_text()
    found: list[Snippet] = []
    comment: str | None = None
    for piece in _PIECE.finditer(text):
        if piece["comment"] is not None:
            comment = piece["comment"]
            continue
        inside = "setup" if piece["setup"] is not None else "code"
        kind = "python" if inside == "setup" else piece["language"]
        if kind == language:
            line = text.count("\n", 0, piece.start(inside)) + 1
            found.append(Snippet(kind, textwrap.dedent(piece[inside]), line, comment))
        comment = None
    return found


def as_module(parts: list[Snippet]) -> str:
    """The snippets as one module in which each line has the number that it has in the page."""
    lines: list[str] = []
    for part in parts:
        lines += [""] * (part.line - 1 - len(lines))
        lines += part.code.splitlines()
    return "\n".join(lines) + "\n"
