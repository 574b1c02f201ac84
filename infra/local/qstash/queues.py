"""Queues: messages that are delivered one after the other, in the order in which they were enqueued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from infra.local.qstash.clock import Clock
from infra.local.qstash.errors import NotFound, QuotaExceeded
from infra.local.qstash.gates import Admit, Gate
from infra.local.qstash.message import Json, milliseconds
from infra.local.qstash.settings import Limits
from infra.local.qstash.store import Store

DEFAULT_PARALLELISM = 1


@dataclass(slots=True)
class Queue:
    """A queue and its gate: a message stays inside until it and its callbacks are settled."""

    name: str
    created_ms: int
    updated_ms: int
    gate: Gate

    def as_json(self) -> Json:
        return {
            "name": self.name,
            "parallelism": self.gate.parallelism,
            "createdAt": self.created_ms,
            "updatedAt": self.updated_ms,
            "lag": len(self.gate.waiting) + self.gate.inside,
            "paused": self.gate.paused,
        }


class Queues:
    """All queues. One is made by the first message that is enqueued on it."""

    def __init__(self, store: Store, clock: Clock, limits: Limits, admit: Admit) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._admit = admit
        self._queues = {
            name: Queue(name, created_ms, updated_ms, Gate(admit, parallelism=parallelism, paused=bool(paused)))
            for name, parallelism, paused, created_ms, updated_ms in store.read("SELECT * FROM queues")
        }

    def all(self) -> list[Queue]:
        return list(self._queues.values())

    def get(self, name: str) -> Queue:
        """Raises NotFound."""
        if (queue := self._queues.get(name)) is None:
            raise NotFound(f"queue {name} not found")
        return queue

    def find(self, name: str) -> Queue | None:
        return self._queues.get(name)

    def gate(self, name: str) -> Gate:
        """The gate of this queue, which is made when missing. Raises QuotaExceeded."""
        if name not in self._queues:
            self.upsert(name, parallelism=DEFAULT_PARALLELISM, paused=False)
        return self._queues[name].gate

    def upsert(self, name: str, *, parallelism: int, paused: bool) -> None:
        """Make the queue, or change it. Raises QuotaExceeded."""
        if parallelism > self._limits.queue_parallelism:
            raise QuotaExceeded("maxQueueParallelism", self._limits.queue_parallelism)
        now_ms = milliseconds(self._clock.wall())
        if (queue := self._queues.get(name)) is None:
            if len(self._queues) >= self._limits.queues:
                raise QuotaExceeded("maxQueues", self._limits.queues)
            queue = self._queues[name] = Queue(name, now_ms, now_ms, Gate(self._admit))
        queue.updated_ms = now_ms
        queue.gate.parallelism, queue.gate.paused = parallelism, paused
        self._store.write(
            "INSERT OR REPLACE INTO queues VALUES (?, ?, ?, ?, ?)",
            (name, parallelism, paused, queue.created_ms, queue.updated_ms),
        )
        queue.gate.drain()

    def pause(self, name: str, paused: bool) -> None:
        """Raises NotFound."""
        self.upsert(name, parallelism=self.get(name).gate.parallelism or DEFAULT_PARALLELISM, paused=paused)

    def delete(self, name: str, cancel: Callable[[str], object]) -> None:
        """Remove the queue if there is one, with the messages on it: `cancel` is called with the id of each."""
        if (queue := self._queues.get(name)) is None:
            return
        queue.gate.paused = True
        for message_id in (*queue.gate.waiting, *queue.gate.holders()):
            cancel(message_id)
        del self._queues[name]
        self._store.write("DELETE FROM queues WHERE name = ?", (name,))
