"""The life of an execution: its statuses and the moves between them.

`MOVES` is the only place that says which move is allowed from where: the guarded statements in `store` are made from
it, the trigger in the database is compared with it, and the picture in the docs is drawn from it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """Where an execution stands. The line below each says who moves it on, also after a crash."""

    PENDING = "pending"
    """Accepted, perhaps waiting for its delay; moved on by its delivery, else by the relay, which publishes it."""
    PROCESSING = "processing"
    """An attempt holds the lease; moved on by its report, else by the next delivery or the reaper once it ended."""
    RETRYING = "retrying"
    """An attempt ended without success and another will follow; moved on like `pending`."""
    COMPLETED = "completed"
    """Done, for ever."""
    FAILED = "failed"
    """Not retryable, or the budget is used up; only a requeue moves it on."""
    CANCELLED = "cancelled"
    """Stopped by a person; only a requeue moves it on."""


class Verb(StrEnum):
    """The moves of an execution."""

    START = "start"
    """An attempt claims the job; from `processing` only once the lease before it has ended."""
    COMPLETE = "complete"
    """The attempt succeeded; from `retrying` when its lease ended before it could say so and no other has started."""
    RETRY = "retry"
    """The attempt failed, or its lease ended without a word, and the budget allows another."""
    FAIL = "fail"
    """The attempt failed for good, or the budget, or the patience for lost messages, is used up."""
    CANCEL = "cancel"
    """A person stopped it; an attempt that runs ends itself at its next report of progress."""
    REQUEUE = "requeue"
    """A person sends it round again, as the next generation."""


class Move(NamedTuple):
    """From which statuses a verb leads where."""

    sources: tuple[Status, ...]
    target: Status


MOVES: dict[Verb, Move] = {
    Verb.START: Move((Status.PENDING, Status.RETRYING, Status.PROCESSING), Status.PROCESSING),
    Verb.COMPLETE: Move((Status.PROCESSING, Status.RETRYING), Status.COMPLETED),
    Verb.RETRY: Move((Status.PROCESSING,), Status.RETRYING),
    Verb.FAIL: Move((Status.PENDING, Status.PROCESSING, Status.RETRYING), Status.FAILED),
    Verb.CANCEL: Move((Status.PENDING, Status.PROCESSING, Status.RETRYING), Status.CANCELLED),
    Verb.REQUEUE: Move((Status.FAILED, Status.CANCELLED), Status.PENDING),
}

ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
"""The statuses in which no attempt runs and none will, unless a person requeues the job."""


class Outcome(StrEnum):
    """How an attempt ended. An attempt that never reported has none."""

    COMPLETED = "completed"
    RETRIED = "retried"
    """It failed, and another attempt was allowed."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    CONTINUED = "continued"
    """It did its part; another attempt goes on from its checkpoint."""
