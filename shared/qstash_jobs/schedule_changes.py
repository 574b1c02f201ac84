"""The declared schedules against those that QStash has: what is missing, what differs, and what is declared no more.

Only schedules whose id begins with the prefix of the settings are ours to remove; a pause that a person made is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qstash_jobs.qstash import Message, QStash, Scheduled
    from qstash_jobs.schedules import Schedule
    from qstash_jobs.settings import Settings

Facts = Mapping[str, object]
"""What can differ between two schedules, by name."""


class Kind(StrEnum):
    """What is to be done with a schedule."""

    CREATE = "create"
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A declared schedule, as QStash is to have it."""

    id: str
    cron: str
    message: Message

    @property
    def facts(self) -> Facts:
        """As `Scheduled.facts` states them."""
        message = self.message
        flow = message.flow_control
        return {
            "cron": self.cron,
            "destination": message.url,
            "body": message.body,
            "retries": message.retries,
            "timeout": message.timeout_seconds,
            "label": message.label,
            "failure callback": message.failure_callback,
            "retry delay": message.retry_delay,
            "flow control": (flow["key"], flow.get("parallelism"), flow.get("rate"), _seconds(flow.get("period"))),
        }


@dataclass(frozen=True, kw_only=True)
class Change:
    """One step from what is there to what is wanted."""

    kind: Kind
    id: str
    differences: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    """What differs: as it is, and as it is to be."""
    wanted: Wanted | None = None
    paused: bool = False
    """Whether it is paused now, and is to stay so."""


def changes(wanted: Iterable[Wanted], found: Iterable[Scheduled], prefix: str) -> list[Change]:
    """The steps that are to be taken, in the order of the ids; none when all is as declared."""
    by_id = {one.id: one for one in found}
    steps = [step for one in wanted if (step := _step(one, by_id.pop(one.id, None))) is not None]
    steps += [Change(kind=Kind.REMOVE, id=id_) for id_ in by_id if id_.startswith(f"{prefix}.")]
    return sorted(steps, key=lambda step: step.id)


def wanted_schedules(declared: Iterable[Schedule], known: Settings | None = None) -> list[Wanted]:
    """The declared schedules under the prefix of the settings: those of this process, or the given ones of a stage.

    Raises `ConfigurationError`.
    """
    from qstash_jobs.dispatch import scheduled_message, zoned
    from qstash_jobs.settings import settings

    known = known or settings()
    return [
        Wanted(
            id=f"{known.schedule_prefix}.{one.id}",
            cron=zoned(one.cron, one.timezone),
            message=scheduled_message(one.job, known),
        )
        for one in declared
    ]


def apply(steps: Iterable[Change], qstash: QStash) -> None:
    """Take the steps; taking them again changes nothing. Raises `PublishFailed`."""
    for step in steps:
        if step.wanted is None:
            qstash.delete_schedule(step.id)
            continue
        qstash.put_schedule(step.id, step.wanted.cron, step.wanted.message)
        if step.paused:  # a schedule that is replaced begins anew, and would run
            qstash.pause_schedule(step.id, paused=True)


def _step(wanted: Wanted, found: Scheduled | None) -> Change | None:
    if found is None:
        return Change(kind=Kind.CREATE, id=wanted.id, wanted=wanted)
    facts = found.facts
    differences = {name: (facts[name], value) for name, value in wanted.facts.items() if facts[name] != value}
    if not differences:
        return None
    return Change(kind=Kind.REPLACE, id=wanted.id, differences=differences, wanted=wanted, paused=found.paused)


def _seconds(period: object) -> int:
    """As QStash states it: a key without a rate has a period of a second."""
    return int(str(period).removesuffix("s")) if period is not None else 1
