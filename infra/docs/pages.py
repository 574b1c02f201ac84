"""Which text is generated, and where it stands: whole files, and blocks between two markers of a page.

A block stands between `<!-- generated: NAME -->` and `<!-- end of generated: NAME -->`; the prose around it is written
by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from infra.docs import commands, cost, deployment_context, errors, job_types, lifecycle, local_qstash, python, settings

ROOT = Path(__file__).parents[2]

BLOCKS: dict[str, Callable[[], str]] = {
    "settings": settings.reference,
    "plans": settings.plans,
    "job types": job_types.reference,
    "lifecycle diagram": lifecycle.diagram,
    "statuses": lifecycle.statuses,
    "verbs": lifecycle.verbs,
    "outcomes": lifecycle.outcomes,
    "deployment context": deployment_context.reference,
    "errors": errors.reference,
    "commands": commands.reference,
    "cost of a million": cost.of_a_million,
    "cost by size": cost.by_size,
    "cost variations": cost.variations,
    "prices": cost.sources,
    "local QStash": local_qstash.reference,
    "enqueue options": python.enqueue_options,
    "run": python.run_members,
}

FILES: dict[str, Callable[[], str]] = {".env.example": settings.env_example}

_BLOCK = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[^>]+?) -->\n).*?(?P<end><!-- end of generated: (?P=name) -->)", re.DOTALL
)


class PageBroken(Exception):
    """A page has a marker that means nothing, or a generated block stands nowhere."""


def rendered(root: Path) -> dict[Path, str]:
    """Each file that holds generated text, as it should read. Raises `PageBroken`."""
    pages: dict[Path, str] = {root / name: make() for name, make in FILES.items()}
    placed: set[str] = set()
    for path in sorted((root / "docs").rglob("*.md")):
        text = path.read_text()
        if "<!-- generated:" in text:
            pages[path], names = _fill(path, text)
            placed |= names
    if missing := sorted(BLOCKS.keys() - placed):
        raise PageBroken(f"no page of docs/ has a place for {', '.join(missing)}")
    return pages


def _fill(path: Path, text: str) -> tuple[str, set[str]]:
    names: set[str] = set()

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in BLOCKS:
            raise PageBroken(f"{path.name}: nothing generates {name!r}; there are {', '.join(BLOCKS)}")
        names.add(name)
        return f"{match['begin']}\n{BLOCKS[name]().strip()}\n\n{match['end']}"

    filled = _BLOCK.sub(fill, text)
    if text.count("<!-- generated:") != len(_BLOCK.findall(text)):
        raise PageBroken(f"{path.name}: a generated block has no end")
    return filled, names
