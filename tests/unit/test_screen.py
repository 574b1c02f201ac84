"""What the command shows on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from infra.cli import screen

JOB = "019a3f1c-0000-7000-8000-000000000000"


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_is_readable_on_a_narrow_terminal_too(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells stay words: where they do not fit the terminal wraps the line, and no column becomes a stack of letters."""
    seen = Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False, soft_wrap=True)
    monkeypatch.setattr(screen, "console", seen)
    monkeypatch.setattr("sys.stdout", seen.file)
    made = screen.table("job", "type", "status", "attempts", "created", "took", "error")
    made.add_row(JOB, "generate-report", screen.status("completed"), "1/3", "5 min 7 s ago", "444 ms", "")

    screen.show(made)

    assert isinstance(seen.file, io.StringIO)
    (_, row) = seen.file.getvalue().splitlines()
    assert "5 min 7 s ago" in row
    assert "444 ms" in row
