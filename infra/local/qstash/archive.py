"""The record as clients read it: events, dead letters, and the messages that a filter means."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

from infra.local.qstash.errors import NotFound
from infra.local.qstash.filters import (
    ADDRESS_COLUMNS,
    MESSAGE_COLUMNS,
    UNSETTLED,
    Condition,
    Selection,
    before_cursor,
    condition,
    count,
    standing,
)
from infra.local.qstash.message import Json, message_json, present, publication_json, text_or_base64
from infra.local.qstash.publication import Publication, load
from infra.local.qstash.redaction import shown_body
from infra.local.qstash.state import State
from infra.local.qstash.store import Store

EVENT_COLUMNS = MESSAGE_COLUMNS | ADDRESS_COLUMNS | {"state": "events.state"}
DEAD_LETTER_COLUMNS = MESSAGE_COLUMNS | {"responseStatus": "dead_letters.response_status", "dlqIds": "dead_letters.id"}
CANCEL_COLUMNS = MESSAGE_COLUMNS | ADDRESS_COLUMNS

MOST_EVENTS = 1_000
MOST_MESSAGES = 100
DEFAULT_MESSAGES = 50
MOST_DEAD_LETTERS = 100

Entry = TypeVar("Entry")

_DEAD_LETTERS = (
    "SELECT dead_letters.sequence, dead_letters.id, dead_letters.time_ms, response_status, response_headers,"
    " response_body, messages.id, created_ms, document, body"
    " FROM dead_letters JOIN messages ON messages.sequence = dead_letters.message"
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that failed, and its last response."""

    sequence: int
    id: str
    time_ms: int
    response_status: int
    response_headers: dict[str, list[str]]
    response_body: bytes
    message_id: str
    created_ms: int
    publication: Publication

    @property
    def cursor(self) -> str:
        return f"{self.time_ms}-{self.sequence}"

    def as_json(self) -> Json:
        return {
            **message_json(self.message_id, self.publication, self.created_ms / 1_000),
            "dlqId": self.id,
            "responseStatus": self.response_status,
            **present({"responseHeader": self.response_headers}),
            **text_or_base64(self.response_body, "responseBody"),
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a message stands, without its body."""

    sequence: int
    id: str
    state: State
    """As recorded: an attempt that is on its way is not."""
    created_ms: int
    due_at: float
    due_by_wall: bool
    retried: int
    cancel_requested: bool
    last_event: int
    """The sequence of its newest event: as long as this stays, nothing happened to it."""
    publication: Publication

    @property
    def cursor(self) -> str:
        return f"{self.created_ms}-{self.sequence}"


@dataclass(frozen=True, slots=True)
class Page(Generic[Entry]):
    """Some entries of a list, the newest first, and where the next page begins; None after the last."""

    entries: list[Entry]
    cursor: str | None


class Archive:
    """Reads; only dead letters are also removed here."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def events(self, selection: Selection) -> Page[Json]:
        """One page of the event log. Raises BadRequest for a malformed selection."""
        most = count(selection, default=MOST_EVENTS, most=MOST_EVENTS)
        wanted = condition(selection, EVENT_COLUMNS, time_column="events.time_ms") & before_cursor(
            selection, "events.sequence"
        )
        rows = self._store.read(
            "SELECT events.sequence, events.time_ms, events.state, events.document, messages.id, messages.document,"  # noqa: S608
            " messages.body FROM events JOIN messages ON messages.sequence = events.message"
            f" WHERE {wanted.sql} ORDER BY events.sequence DESC LIMIT ?",
            (*wanted.parameters, most + 1),
        )
        cursor = f"{rows[most - 1][1]}-{rows[most - 1][0]}" if len(rows) > most else None
        return Page([_event_json(*row[1:]) for row in rows[:most]], cursor)

    def messages(self, selection: Selection, active: Collection[str]) -> Page[Standing]:
        """One page of all messages. `active`: the ids of those with an attempt on its way, a state of its own here.

        Raises BadRequest for a malformed selection.
        """
        most = count(selection, default=DEFAULT_MESSAGES, most=MOST_MESSAGES)
        filters = {name: values for name, values in selection.items() if name != "state"}
        wanted = condition(filters, MESSAGE_COLUMNS, time_column="messages.created_ms") & before_cursor(
            selection, "messages.sequence"
        )
        if states := selection.get("state"):
            wanted &= standing(states, active)
        rows = self._store.read(
            "SELECT sequence, id, state, created_ms, due_at, due_by_wall, retried, cancel_requested,"  # noqa: S608
            " (SELECT coalesce(max(sequence), 0) FROM events WHERE message = messages.sequence), document"
            f" FROM messages WHERE {wanted.sql} ORDER BY sequence DESC LIMIT ?",
            (*wanted.parameters, most + 1),
        )
        found = [_standing(*row) for row in rows[:most]]
        return Page(found, found[-1].cursor if len(rows) > most else None)

    def counts(self) -> tuple[int, int]:
        """How many messages are unsettled, and how many dead letters there are."""
        counted = f"SELECT (SELECT count(*) FROM messages WHERE {UNSETTLED}), (SELECT count(*) FROM dead_letters)"  # noqa: S608
        ((unsettled, dead_letters),) = self._store.read(counted)
        return unsettled, dead_letters

    def dead_letters(self, selection: Selection) -> Page[DeadLetter]:
        """One page of the dead letters. Raises BadRequest for a malformed selection."""
        most = count(selection, default=MOST_DEAD_LETTERS, most=MOST_DEAD_LETTERS)
        wanted = condition(selection, DEAD_LETTER_COLUMNS, time_column="dead_letters.time_ms") & before_cursor(
            selection, "dead_letters.sequence"
        )
        found = self._dead_letters(wanted, most + 1)
        return Page(found[:most], found[most - 1].cursor if len(found) > most else None)

    def dead_letter(self, dead_letter_id: str) -> DeadLetter:
        """Raises NotFound."""
        found = self._dead_letters(Condition("dead_letters.id = ?", (dead_letter_id,)), 1)
        if not found:
            raise NotFound(f"dlq message {dead_letter_id[:64]} not found")
        return found[0]

    def remove(self, dead_letters: list[DeadLetter]) -> None:
        for dead_letter in dead_letters:
            self._store.write("DELETE FROM dead_letters WHERE sequence = ?", (dead_letter.sequence,))

    def unsettled(self, selection: Selection) -> list[str]:
        """The ids of all messages on their way that `selection` means, the oldest first; a count is no limit here."""
        count(selection, default=1, most=10**9)  # one that is no number is a mistake, which must not cancel everything
        wanted = condition(selection, CANCEL_COLUMNS, time_column="messages.created_ms")
        rows = self._store.read(
            f"SELECT id FROM messages WHERE {UNSETTLED} AND {wanted.sql} ORDER BY sequence",  # noqa: S608
            wanted.parameters,
        )
        return [message_id for (message_id,) in rows]

    def _dead_letters(self, wanted: Condition, most: int) -> list[DeadLetter]:
        rows = self._store.read(
            f"{_DEAD_LETTERS} WHERE {wanted.sql} ORDER BY dead_letters.sequence DESC LIMIT ?",
            (*wanted.parameters, most),
        )
        return [_dead_letter(*row) for row in rows]


def _dead_letter(
    sequence: int,
    dead_letter_id: str,
    time_ms: int,
    status: int,
    headers: str,
    response_body: bytes,
    message_id: str,
    created_ms: int,
    document: str,
    body: bytes,
) -> DeadLetter:
    return DeadLetter(
        sequence=sequence,
        id=dead_letter_id,
        time_ms=time_ms,
        response_status=status,
        response_headers=json.loads(headers),
        response_body=response_body,
        message_id=message_id,
        created_ms=created_ms,
        publication=load(document, body),
    )


def _standing(
    sequence: int,
    message_id: str,
    state: str,
    created_ms: int,
    due_at: float,
    due_by_wall: int,
    retried: int,
    cancel_requested: int,
    last_event: int,
    document: str,
) -> Standing:
    return Standing(
        sequence=sequence,
        id=message_id,
        state=State(state),
        created_ms=created_ms,
        due_at=due_at,
        due_by_wall=bool(due_by_wall),
        retried=retried,
        cancel_requested=bool(cancel_requested),
        last_event=last_event,
        publication=load(document, b""),
    )


def _event_json(time_ms: int, state: str, details: str, message_id: str, document: str, body: bytes) -> Json:
    publication = load(document, body)
    shown = publication_json(publication)
    if "retryDelayExpression" in shown:
        shown["retryDelayExpr"] = shown["retryDelayExpression"]
    for name in ("callbackHeader", "failureCallbackHeader"):
        if name in shown:
            shown[f"{name}s"] = shown[name]
    return {
        "time": time_ms,
        "messageId": message_id,
        "state": state,
        "url": publication.url,
        "maxRetries": publication.retries,
        **shown,
        **present(
            {
                "body": base64.b64encode(shown_body(publication)).decode(),
                "timeout": publication.timeout_seconds and publication.timeout_seconds * 1_000,
            }
        ),
        **json.loads(details),
    }
