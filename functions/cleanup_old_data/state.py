"""How far a clean-up is: its checkpoint, saved with each piece of work, and at the end its result."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, JsonValue


class State(BaseModel):
    """What is done, and where the target in hand stands."""

    cutoff: datetime
    """Older than this is past its time: the same moment for all attempts, so that all mean the same rows."""
    counts: dict[str, int] = {}
    """What was deleted, or in a dry run would be, by table; `objects` are those of the bucket."""
    bytes: int | None = None
    """Of the objects."""
    skipped: list[str] = []
    """What this installation does not have."""
    done: list[str] = []
    """Targets that are finished."""

    total: int | None = None
    """Rows that there are to delete; none before they were counted."""
    deleted: int = 0
    """How many of them were."""
    row: tuple[datetime, int | str] | None = None
    """The last row that was deleted, as time and key. Whoever began again from the oldest would first have to pass
    everything that is deleted and not vacuumed yet, each time more of it."""
    key: str = ""
    """The last object that was dealt with."""
    until: str | None = None
    """The objects after `key` up to this one are counted, and perhaps not all deleted yet."""

    def add(self, name: str, count: int) -> None:
        """Count something that was deleted, or would be."""
        self.counts[name] = self.counts.get(name, 0) + count

    def skip(self, name: str) -> None:
        """Note that there is no such thing here."""
        if name not in self.skipped:
            self.skipped.append(name)

    def finish(self, name: str) -> None:
        """Go on to the next target."""
        self.done.append(name)
        self.total, self.deleted, self.row, self.key, self.until = None, 0, None, "", None

    def fraction(self, targets: int) -> float:
        """How much is done, from 0 to 1. How many objects there are is known only once the last one was seen."""
        part = min(1.0, self.deleted / self.total) if self.total else 0.0
        return min(1.0, (len(self.done) + part) / targets)

    def message(self, target: str) -> str | None:
        """What is done, with how much there is of the target in hand, where that is known."""
        totals = {target: f" of {self.total:,}"} if self.total else {}
        return ", ".join(f"{name} {count:,}{totals.get(name, '')}" for name, count in self.counts.items()) or None

    def dump(self) -> dict[str, Any]:
        """As a checkpoint."""
        return self.model_dump(mode="json")

    def result(self, *, dry_run: bool) -> JsonValue:
        """For people."""
        result: dict[str, JsonValue] = {
            "cutoff": self.cutoff.isoformat(timespec="seconds"),
            "dryRun": dry_run,
            "counts": dict(self.counts),
            "skipped": list(self.skipped),
        }
        return result if self.bytes is None else {**result, "bytes": self.bytes}
