"""Trouble on demand, so that a publisher or a function can be seen to survive it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, replace

from infra.local.qstash.delivery import Courier
from infra.local.qstash.message import Message
from infra.local.qstash.verdict import Outcome

LONGEST_OVERTAKING_SECONDS = 1.0
"""How long an attempt waits, in real time, for another one to go before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What goes wrong; shares, from 0 to 1, are of all attempts unless it is said otherwise."""

    refuse_publishes: int | None = None
    """The status (429 or 5xx) with which every publish, enqueue, batch and new schedule is refused."""
    refuse_publishes_share: float = 1.0
    """How many of them are."""
    drop_deliveries: float = 0.0
    """Attempts that do not arrive: to the publisher a failed connection."""
    duplicate_deliveries: float = 0.0
    """Attempts whose request is sent twice at once."""
    delay_deliveries: float = 0.0
    """Attempts that are sent later than they are due."""
    delay_seconds: float = 1.0
    """How much later, in real time."""
    reorder_deliveries: float = 0.0
    """Attempts that are sent after the next one."""
    seed: int = 0
    """The same seed makes the same choices again, attempt by attempt."""


class Faults:
    """Delivers through trouble; with no field of it set, as the courier does."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        self._random = random.Random(0)  # noqa: S311
        self._overtaken: list[asyncio.Future[None]] = []

    def set(self, trouble: Trouble) -> None:
        """Replace all trouble, and begin its choices anew."""
        self.trouble = trouble
        self._random.seed(trouble.seed)

    async def deliver(self, courier: Courier, message: Message) -> Outcome:
        """One attempt, and what may go wrong with it."""
        trouble = self._choose()
        if trouble.delay_deliveries:
            await asyncio.sleep(trouble.delay_seconds)
        if trouble.reorder_deliveries:
            await self._be_overtaken()
        if trouble.drop_deliveries:
            return Outcome(0, error="the server was told to drop this attempt")
        deliver = courier.deliver_twice if trouble.duplicate_deliveries else courier.deliver
        outcome = await deliver(message)
        self._overtake()
        return outcome

    def refusal(self) -> int | None:
        """The status with which a request to publish is refused, if it is."""
        trouble = self.trouble
        refused = trouble.refuse_publishes is not None and self._random.random() < trouble.refuse_publishes_share
        return trouble.refuse_publishes if refused else None

    def _choose(self) -> Trouble:
        """Each share as 0 or 1."""
        if self.trouble == Trouble():
            return self.trouble
        draws = {
            name: float(self._random.random() < getattr(self.trouble, name))
            for name in ("drop_deliveries", "duplicate_deliveries", "delay_deliveries", "reorder_deliveries")
        }
        return replace(self.trouble, **draws)  # type: ignore[arg-type]

    async def _be_overtaken(self) -> None:
        overtaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._overtaken.append(overtaken)
        with contextlib.suppress(TimeoutError):  # there is no other attempt to wait for
            await asyncio.wait_for(overtaken, LONGEST_OVERTAKING_SECONDS)

    def _overtake(self) -> None:
        for overtaken in self._overtaken:
            if not overtaken.done():
                overtaken.set_result(None)
        self._overtaken.clear()
