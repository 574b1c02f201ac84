"""What is recorded of messages, and how it is read back: the only module that knows their tables' columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from infra.local.qstash.clock import Clock
from infra.local.qstash.message import Json, Message, Place, header_map, milliseconds
from infra.local.qstash.publication import dump, load
from infra.local.qstash.state import EventKind, State
from infra.local.qstash.store import Store
from infra.local.qstash.verdict import Outcome

Listener = Callable[[Json], None]
"""Called with each event as it happens, in the server's thread."""

PRUNE_EVERY_EVENTS = 20_000

_INSERT_MESSAGE = "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_EVENT = "INSERT INTO events (message, time_ms, state, document) VALUES (?, ?, ?, ?)"
_MESSAGE_COLUMNS = (
    "sequence, id, created_ms, due_at, due_by_wall, state, retried, place_queue, place_holder, cancel_requested, "
    "document, body"
)


class Ledger:
    """The record of all messages: their rows, their events, and the dead letters."""

    def __init__(self, store: Store, clock: Clock, retention_seconds: float, listener: Listener | None = None) -> None:
        self._store = store
        self._clock = clock
        self._retention_seconds = retention_seconds
        self._listener = listener
        self._events_since_pruning = 0
        self._sequence = self._newest("messages")
        self._dead_letter_sequence = self._newest("dead_letters")

    def _newest(self, table: str) -> int:
        return int(self._store.read(f"SELECT coalesce(max(sequence), 0) FROM {table}")[0][0])  # noqa: S608

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def accepted(self, message: Message) -> None:
        """Record a new message."""
        publication, control, place = message.publication, message.publication.flow_control, message.place
        self._store.write(
            _INSERT_MESSAGE,
            (
                message.sequence,
                message.id,
                message.state,
                milliseconds(message.created_at),
                publication.url,
                publication.queue,
                publication.topic,
                publication.schedule_id,
                publication.caller_ip,
                control.key if control else None,
                json.dumps(publication.labels) if publication.labels else None,
                message.retried,
                message.due_at,
                message.due_by_wall,
                message.cancel_requested,
                place.queue if place else None,
                place.holder if place else None,
                dump(publication),
                publication.body,
            ),
        )
        self.event(message, EventKind.CREATED)

    def moved(self, message: Message) -> None:
        """Record where the message stands now."""
        self._store.write(
            "UPDATE messages SET state = ?, retried = ?, due_at = ?, due_by_wall = ?, cancel_requested = ? WHERE sequence = ?",
            (
                message.state,
                message.retried,
                message.due_at,
                message.due_by_wall,
                message.cancel_requested,
                message.sequence,
            ),
        )

    def event(self, message: Message, kind: EventKind, **details: Any) -> None:
        """Record that something happened to the message; `details` are fields of the event's JSON."""
        time_ms = milliseconds(self._clock.wall())
        self._store.write(_INSERT_EVENT, (message.sequence, time_ms, kind, json.dumps(details) if details else "{}"))
        self._events_since_pruning += 1
        if self._events_since_pruning >= PRUNE_EVERY_EVENTS:
            self.prune()
        if self._listener is not None:
            publication = message.publication
            self._listener(
                {
                    "time": time_ms,
                    "messageId": message.id,
                    "state": str(kind),
                    "url": publication.url,
                    "label": publication.labels[0] if publication.labels else None,
                    "retried": message.retried,
                    **details,
                }
            )

    def dead_letter(self, message: Message, outcome: Outcome) -> str:
        """Put the message among the dead letters; returns the id of its entry there."""
        self._dead_letter_sequence += 1
        time_ms = milliseconds(self._clock.wall())
        dead_letter_id = f"{time_ms}-{self._dead_letter_sequence}"
        self._store.write(
            "INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self._dead_letter_sequence,
                dead_letter_id,
                message.sequence,
                time_ms,
                outcome.status,
                json.dumps(header_map(outcome.headers)),
                response_content(outcome),
            ),
        )
        return dead_letter_id

    def unsettled(self) -> list[Message]:
        """Every message that still has to be delivered, in the order of acceptance."""
        rows = self._store.read(
            f"SELECT {_MESSAGE_COLUMNS} FROM messages WHERE state IN ('CREATED', 'RETRY') ORDER BY sequence"  # noqa: S608
        )
        return [_message(*row) for row in rows]

    def states(self, message_ids: list[str]) -> dict[str, State]:
        """The recorded state of each of these messages that is known."""
        marks = ", ".join("?" * len(message_ids))
        rows = self._store.read(f"SELECT id, state FROM messages WHERE id IN ({marks})", message_ids)  # noqa: S608
        return {message_id: State(state) for message_id, state in rows}

    def prune(self) -> None:
        """Forget what has been settled for longer than the plan keeps it."""
        self._events_since_pruning = 0
        limit = milliseconds(self._clock.wall() - self._retention_seconds)
        self._store.write("DELETE FROM dead_letters WHERE time_ms < ?", (limit,))
        self._store.write("DELETE FROM events WHERE time_ms < ?", (limit,))
        self._store.write(
            "DELETE FROM messages WHERE created_ms < ? AND state NOT IN ('CREATED', 'RETRY') AND sequence < ?"
            " AND NOT EXISTS (SELECT 1 FROM events WHERE message = messages.sequence)"
            " AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE message = messages.sequence)",
            (limit, self._sequence),
        )


def response_content(outcome: Outcome) -> bytes:
    """The body that is kept of an attempt: without an answer, the reason why there is none."""
    return outcome.error.encode() if outcome.error is not None else outcome.body


def _message(
    sequence: int,
    message_id: str,
    created_ms: int,
    due_at: float,
    due_by_wall: int,
    state: str,
    retried: int,
    place_queue: str | None,
    place_holder: str | None,
    cancel_requested: int,
    document: str,
    body: bytes,
) -> Message:
    place = Place(place_queue, place_holder) if place_queue is not None and place_holder is not None else None
    return Message(
        id=message_id,
        sequence=sequence,
        publication=load(document, body),
        created_at=created_ms / 1_000,
        due_at=due_at,
        due_by_wall=bool(due_by_wall),
        state=State(state),
        retried=retried,
        place=place,
        cancel_requested=bool(cancel_requested),
    )
