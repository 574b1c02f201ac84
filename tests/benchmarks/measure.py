"""Measuring on a noisy machine: rounds that alternate between ours and the floor, and the median of their ratios."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line of the table. `value` and `floor` are in `unit`."""

    name: str
    unit: str
    value: float
    floor: float | None
    ratio: float | None
    target: str
    ok: bool

    def as_dict(self) -> dict[str, object]:
        """For `build/benchmarks.json`."""
        return asdict(self)


def compare(name: str, ours: Step, floor: Step, *, at_most: float, rounds: int = 30, repeats: int = 20) -> Result:
    """How many times as long as the floor our step takes, each round being so many repeats."""
    for _ in range(repeats):
        ours()
        floor()
    return compare_reported(
        name,
        lambda: _milliseconds(ours, repeats),
        lambda: _milliseconds(floor, repeats),
        at_most=at_most,
        rounds=rounds,
    )


def compare_reported(
    name: str, ours: Callable[[], float], floor: Callable[[], float], *, at_most: float, rounds: int
) -> Result:
    """The same for steps that report themselves how many milliseconds they took: the median ratio of the rounds."""
    pairs = [(ours(), floor()) for _ in range(rounds)]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    return Result(
        name=name,
        unit="ms",
        value=round(statistics.median(mine for mine, _ in pairs), 3),
        floor=round(statistics.median(theirs for _, theirs in pairs), 3),
        ratio=round(ratio, 2),
        target=f"≤ {at_most} ×",
        ok=ratio <= at_most,
    )


def at_least(name: str, per_second: float, least: float) -> Result:
    """A throughput against a fixed target."""
    return Result(
        name=name,
        unit="/s",
        value=round(per_second, 1),
        floor=None,
        ratio=None,
        target=f"≥ {least:g}/s",
        ok=per_second >= least,
    )


def at_most(name: str, value: float, most: float, unit: str) -> Result:
    """A cost against a fixed target."""
    target = f"≤ {most:g} {unit}"
    return Result(name=name, unit=unit, value=round(value, 3), floor=None, ratio=None, target=target, ok=value <= most)


def exactly(name: str, value: int, target: int) -> Result:
    """A count that must be right."""
    return Result(name=name, unit="", value=value, floor=None, ratio=None, target=f"= {target}", ok=value == target)


def _milliseconds(step: Step, repeats: int) -> float:
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        for _ in range(repeats):
            step()
        return (time.perf_counter() - began) * 1000 / repeats
    finally:
        gc.enable()
