"""One look after another, each with a mark and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.markup import escape

from infra.cli.aws import AwsFailed
from infra.cli.screen import console, plain
from qstash_jobs.errors import JobsError


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    ok: bool
    text: str


@dataclass(frozen=True)
class Check:
    """One thing to look at, of no use while another is not well."""

    name: str
    look: Callable[[], Finding]
    after: str | None = None
    acts: bool = False
    """Whether it does more than look."""


def examine(checks: Sequence[Check]) -> bool:
    """Look at each, and say what was found; whether all is well."""
    sick: set[str] = set()
    for check in checks:
        if check.after in sick:
            sick.add(check.name)
            console.print(f"– [bold]{check.name:<13}[/] not looked at: mend the {check.after} first")
            continue
        finding = _find(check)
        if not finding.ok:
            sick.add(check.name)
        mark = "[green]✓[/]" if finding.ok else "[bold red]✗[/]"
        console.print(f"{mark} [bold]{check.name:<13}[/] {escape(plain(finding.text))}")
    return not sick


def _find(check: Check) -> Finding:
    try:
        return check.look()
    except Exception as error:  # noqa: BLE001  # whatever is wrong is what the doctor is here to say
        known = isinstance(error, JobsError | AwsFailed)
        return Finding(False, str(error) if known else f"{type(error).__name__}: {error}")
