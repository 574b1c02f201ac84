"""A record that tests write as the engine would, at times of their choice, and read back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from infra.local.qstash.archive import Archive
from infra.local.qstash.clock import Clock
from infra.local.qstash.ledger import Ledger
from infra.local.qstash.message import Message, new_id
from infra.local.qstash.publication import Publication
from infra.local.qstash.state import EventKind, State
from infra.local.qstash.store import Store
from infra.local.qstash.verdict import Outcome

BASE_MS = 1_750_000_000_000
"""When the first thing happened, in unix milliseconds."""

RETENTION_MS = 1_000_000


class StoppedClock(Clock):
    """Shows what it is set to."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.now_ms = BASE_MS

    def wall(self) -> float:
        return self.now_ms / 1_000


@dataclass(kw_only=True, eq=False)
class Life:
    """What was recorded of one message: its events with their times, and time, id and status of its dead letter."""

    message: Message
    created_ms: int
    events: list[tuple[int, EventKind]] = field(default_factory=list)
    dead: tuple[int, str, int] | None = None


class Recorder:
    """A ledger and an archive over one database in memory."""

    def __init__(self) -> None:
        self.clock = StoppedClock()
        self.store = Store(None)
        self.archive = Archive(self.store)
        self.restart()
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.close()
        self.store.close()

    def run(self, step: Callable[[], Any]) -> Any:
        """What `step` returns, inside the event loop that a store needs."""

        async def inside() -> Any:
            return step()

        return self._runner.run(inside())

    def restart(self) -> None:
        """Go on with a new ledger over the same database."""
        self.ledger = Ledger(self.store, self.clock, RETENTION_MS / 1_000)

    def accept(self, publication: Publication, at_ms: int) -> Life:
        self.clock.now_ms = at_ms
        message = Message(
            id=new_id("msg"),
            sequence=self.ledger.next_sequence(),
            publication=publication,
            created_at=at_ms / 1_000,
            due_at=0,
        )
        self.ledger.accepted(message)
        return Life(message=message, created_ms=at_ms, events=[(at_ms, EventKind.CREATED)])

    def happen(self, life: Life, kind: EventKind, at_ms: int) -> None:
        self.clock.now_ms = at_ms
        self.ledger.event(life.message, kind)
        life.events.append((at_ms, kind))

    def move(self, life: Life, state: State) -> None:
        life.message.state = state
        self.ledger.moved(life.message)

    def bury(self, life: Life, status: int, at_ms: int) -> None:
        self.clock.now_ms = at_ms
        life.dead = (at_ms, self.ledger.dead_letter(life.message, Outcome(status)), status)
