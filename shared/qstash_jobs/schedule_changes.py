"""The declared schedules against those that QStash has: what is missing, what differs, and what is declared no more.

Only schedules whose id begins with the prefix of the settings are ours to remove; a pause that a person made is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from qstash_jobs.errors import PublishFailed

if TYPE_CHECKING:
    from qstash_jobs.qstash import Message, QStash, Scheduled
    from qstash_jobs.schedules import Schedule
    from qstash_jobs.settings import Settings

Facts = Mapping[str, object]
"""What can differ between two schedules, by name."""

Differences = dict[str, tuple[object, object]]
"""What differs, by name: as it is, and as it is to be."""

READ_BACK_SECONDS = 3.0
"""How long QStash may take to show what it was told."""


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
    owner: tuple[str, ...] = ()
    """The labels behind the job type's, which say whose it is: the stage that deployed it, and the resource there.
    Without them, those that it has are kept."""

    @property
    def facts(self) -> Facts:
        """As `Scheduled.facts` states them."""
        message = self.message
        flow = message.flow_control
        return {
            "cron": self.cron,
            "destination": message.url,
            "method": "POST",
            "body": message.body,
            "retries": message.retries,
            "timeout": message.timeout_seconds,
            "delay": None,
            "queue": None,
            "label": message.label,
            "callback": message.callback,
            "failure callback": message.failure_callback,
            "retry delay": message.retry_delay,
            "flow control": (flow["key"], flow.get("parallelism"), flow.get("rate"), _seconds(flow.get("period"))),
        }

    @property
    def labelled(self) -> Message:
        """The message with all its labels; the first is what its deliveries are known by."""
        return replace(self.message, label=",".join((self.message.label, *self.owner)))


@dataclass(frozen=True, kw_only=True)
class Change:
    """One step from what is there to what is wanted."""

    kind: Kind
    id: str
    differences: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    wanted: Wanted | None = None
    paused: bool = False
    """Whether it is paused now, and is to stay so."""


def changes(wanted: Iterable[Wanted], found: Iterable[Scheduled], prefix: str) -> list[Change]:
    """The steps that are to be taken, in the order of the ids; none when all is as declared."""
    by_id = {one.id: one for one in found}
    steps = [step for one in wanted if (step := change(one, by_id.pop(one.id, None))) is not None]
    steps += [Change(kind=Kind.REMOVE, id=id_) for id_ in by_id if id_.startswith(f"{prefix}.")]
    return sorted(steps, key=lambda step: step.id)


def change(wanted: Wanted, found: Scheduled | None) -> Change | None:
    """The step that one schedule needs; None when it is as declared."""
    if found is None:
        return Change(kind=Kind.CREATE, id=wanted.id, wanted=wanted)
    wanted = replace(wanted, owner=wanted.owner or found.owner)
    differing = differences(wanted, found)
    if not differing:
        return None
    return Change(kind=Kind.REPLACE, id=wanted.id, differences=differing, wanted=wanted, paused=found.paused)


def differences(wanted: Wanted, found: Scheduled) -> Differences:
    """What is otherwise than it is to be, whether paused or not."""
    differing: Differences = {
        name: (found.facts[name], value) for name, value in wanted.facts.items() if found.facts[name] != value
    }
    if wanted.owner and wanted.owner != found.owner:
        differing["owner"] = (", ".join(found.owner) or None, ", ".join(wanted.owner))
    return differing


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
    """Take the steps, and look whether QStash has them as it was told; taking them again changes nothing.

    Raises `PublishFailed`, also when QStash took a schedule and made something else of it.
    """
    for step in steps:
        if step.wanted is None:
            qstash.delete_schedule(step.id)
            continue
        qstash.put_schedule(step.id, step.wanted.cron, step.wanted.labelled)
        if step.paused:  # a schedule that is replaced begins anew, and would run
            qstash.pause_schedule(step.id, paused=True)
        _read_back(step, step.wanted, qstash)


def _read_back(step: Change, wanted: Wanted, qstash: QStash) -> None:
    until = time.monotonic() + READ_BACK_SECONDS
    pause_seconds = 0.1
    while left := _left(step, wanted, qstash.schedule(step.id)):
        if time.monotonic() + pause_seconds > until:
            said = "; ".join(f"{name} {is_!r} instead of {to_be!r}" for name, (is_, to_be) in left.items())
            raise PublishFailed(f"QStash took it and has it otherwise than it was told: {said} ({step.id})", 200)
        time.sleep(pause_seconds)
        pause_seconds *= 2


def _left(step: Change, wanted: Wanted, found: Scheduled | None) -> Differences:
    if found is None:
        return {"schedule": (None, step.id)}
    left = differences(wanted, found)
    if found.paused != step.paused:
        left["paused"] = (found.paused, step.paused)
    return left


def _seconds(period: object) -> int:
    """As QStash states it: a key without a rate has a period of a second."""
    return int(str(period).removesuffix("s")) if period is not None else 1
