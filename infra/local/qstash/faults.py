"""Trouble on demand, so that a publisher or a function can be seen to survive it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass
class Faults:
    """What goes wrong at present; with no field set, nothing does."""

    refuse_publishes: int | None = None
    """The status (429 or 5xx) with which every publish, enqueue, batch and new schedule is refused."""
    duplicate_deliveries: float = 0.0
    """The share of attempts whose request is sent twice at once, from 0 to 1."""
    seed: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(0), repr=False)  # noqa: S311

    def set(self, *, refuse_publishes: int | None, duplicate_deliveries: float, seed: int) -> None:
        """Replace every fault; the same seed makes the same choices again."""
        self.refuse_publishes = refuse_publishes
        self.duplicate_deliveries = duplicate_deliveries
        self.seed = seed
        self._random.seed(seed)

    def duplicates(self) -> bool:
        """Whether the next attempt goes out twice."""
        return self.duplicate_deliveries > 0 and self._random.random() < self.duplicate_deliveries
