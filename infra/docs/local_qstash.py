"""What the local QStash server offers of the service, from the list that stands beside it and that its tests keep true."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from infra.docs.markdown import code, table

PROTOCOL = Path(__file__).parents[1] / "local" / "qstash" / "protocol.toml"

Entry = dict[str, Any]


def protocol() -> dict[str, list[Entry]]:
    """The entries of each group: `what`, `here` (supported, deviates, not offered), `why`, `shown_by` (tests)."""
    return tomllib.loads(PROTOCOL.read_text())


def reference() -> str:
    """A table for each group."""
    return "\n\n".join(
        f"## {group}\n\n{table(['', 'here', 'how it differs, or why', 'shown by'], map(_row, entries))}"
        for group, entries in protocol().items()
    )


def _row(entry: Entry) -> list[str]:
    tests = ", ".join(code(name) for name in entry.get("shown_by", ())) or "–"
    what: str = entry["what"]
    named = code(what) if what.startswith(("GET", "POST", "DELETE", "/", "Upstash", "Content")) else what
    return [named, entry["here"], entry.get("why", ""), tests]
