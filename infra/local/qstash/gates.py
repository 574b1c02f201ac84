"""Who may go on: queues, flow-control keys and the plan's parallelism let so many messages in and make the others wait."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from infra.local.qstash.clock import Agenda, Clock
from infra.local.qstash.message import Message
from infra.local.qstash.publication import FlowControl

Admit = Callable[[Message], None]


class Gate:
    """At most `parallelism` holders at once; the other messages wait in the order of their arrival."""

    def __init__(self, admit: Admit, *, parallelism: int | None = None, paused: bool = False) -> None:
        self.parallelism = parallelism
        self.paused = paused
        self.waiting: OrderedDict[str, Message] = OrderedDict()
        self._admit = admit
        self._inside: dict[str, int] = {}

    @property
    def inside(self) -> int:
        return len(self._inside)

    def holders(self) -> list[str]:
        """Who is inside, by id."""
        return list(self._inside)

    def submit(self, message: Message) -> None:
        """Let it in, now or later: then `admit` is called."""
        self.waiting[message.id] = message
        self.drain()

    def hold(self, holder: str) -> None:
        """Take a place, or stay in it once more, until as many calls of `leave`."""
        self._inside[holder] = self._inside.get(holder, 0) + 1

    def leave(self, holder: str) -> None:
        """Give a hold back; the last one of a holder frees its place. Nothing happens for one that has none."""
        holds = self._inside.pop(holder, 0)
        if holds > 1:
            self._inside[holder] = holds - 1
        elif holds:
            self.drain()

    def withdraw(self, message: Message) -> bool:
        """Whether it was waiting here, and now no longer is."""
        return self.waiting.pop(message.id, None) is not None

    def drain(self) -> None:
        """Let in whom there is room for; to be called whenever a limit was changed."""
        while self.waiting and self._has_room():
            _, message = self.waiting.popitem(last=False)
            self.hold(message.id)
            self._count_start()
            self._admit(message)

    def _has_room(self) -> bool:
        return not self.paused and (self.parallelism is None or len(self._inside) < self.parallelism)

    def _count_start(self) -> None:
        """For limits on how often, not how many."""


class FlowGate(Gate):
    """A gate that also lets at most `rate` messages start per period. Periods follow each other on the timeline."""

    def __init__(self, admit: Admit, clock: Clock, timeline: Agenda) -> None:
        super().__init__(admit)
        self.rate: int | None = None
        self.period_seconds = 1
        self.period_start = -math.inf
        self.started = 0
        self.pinned_parallelism = False
        self.pinned_rate = False
        self._clock = clock
        self._timeline = timeline
        self._opens_at = -math.inf

    @property
    def in_period(self) -> bool:
        """Whether a period runs, in which `started` have started."""
        return self._clock.now() < self.period_start + self.period_seconds

    def configure(self, control: FlowControl) -> None:
        """Take a message's limits over, but for those that are pinned."""
        if not self.pinned_parallelism:
            self.parallelism = control.parallelism
        if not self.pinned_rate:
            self.rate, self.period_seconds = control.rate, control.period_seconds
        self.drain()

    def pin(self, *, parallelism: int | None, rate: int | None, period_seconds: int | None) -> None:
        """Set limits that `configure` leaves alone."""
        if parallelism is not None:
            self.pinned_parallelism, self.parallelism = True, parallelism
        if rate is not None:
            self.pinned_rate, self.rate, self.period_seconds = True, rate, period_seconds or 1
            self.begin_period()
        self.drain()

    def begin_period(self) -> None:
        """Start counting anew."""
        self.period_start, self.started = self._clock.now(), 0
        self.drain()

    def _has_room(self) -> bool:
        if not super()._has_room():
            return False
        if self.rate is None:
            return True
        if not self.in_period:
            self.period_start, self.started = self._clock.now(), 0
        if self.started < self.rate:
            return True
        ends_at = self.period_start + self.period_seconds
        if not self._clock.now() < self._opens_at <= ends_at:  # not waiting yet, or for a period that has changed
            self._opens_at = ends_at
            self._timeline.add(ends_at, self.drain)
        return False

    def _count_start(self) -> None:
        self.started += 1
