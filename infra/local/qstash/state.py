"""The life of a message: its states and the moves between them.

`MOVES` alone says which move is allowed from where; `Message.move` obeys it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a message stands. The line below each says who moves it on, also after a crash."""

    CREATED = "CREATED"
    """Accepted; waits for its delay, its turn in a queue, or its flow-control key. The engine starts its attempt."""
    ACTIVE = "ACTIVE"
    """An attempt is on its way. Not recorded: after a crash the message stands where it stood before the attempt."""
    RETRY = "RETRY"
    """An attempt failed and another will follow; waits like CREATED."""
    DELIVERED = "DELIVERED"
    """The destination answered 2xx. For ever."""
    FAILED = "FAILED"
    """The retries are used up, or the destination said not to try again; a dead letter holds it. For ever: a retry
    from there is a message of its own."""
    CANCELED = "CANCELED"
    """Cancelled before it was delivered. For ever."""

    @property
    def settled(self) -> bool:
        return self in (State.DELIVERED, State.FAILED, State.CANCELED)


class Verb(StrEnum):
    """The moves of a message."""

    START = "start"
    """An attempt goes out."""
    DELIVER = "deliver"
    POSTPONE = "postpone"
    """The attempt failed; the next one waits for its backoff."""
    FAIL = "fail"
    CANCEL = "cancel"
    """At once while it waits; while an attempt is on its way, once that one has failed."""


class Move(NamedTuple):
    """From any of `sources` to `target`."""

    sources: frozenset[State]
    target: State


MOVES: dict[Verb, Move] = {
    Verb.START: Move(frozenset({State.CREATED, State.RETRY}), State.ACTIVE),
    Verb.DELIVER: Move(frozenset({State.ACTIVE}), State.DELIVERED),
    Verb.POSTPONE: Move(frozenset({State.ACTIVE}), State.RETRY),
    Verb.FAIL: Move(frozenset({State.ACTIVE}), State.FAILED),
    Verb.CANCEL: Move(frozenset({State.CREATED, State.RETRY, State.ACTIVE}), State.CANCELED),
}


class EventKind(StrEnum):
    """What the event log records: a message's states, and two things that happen between them."""

    CREATED = "CREATED"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"
    """An attempt failed."""
    RETRY = "RETRY"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    CANCELED = "CANCELED"


IN_PROGRESS = (EventKind.ACTIVE, EventKind.RETRY, EventKind.ERROR)
"""What the filter IN_PROGRESS stands for."""
