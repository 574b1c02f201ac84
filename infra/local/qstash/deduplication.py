"""Which publications repeat one of the last ten minutes."""

from __future__ import annotations

import hashlib
from collections import deque

from infra.local.qstash.clock import Clock
from infra.local.qstash.publication import Publication
from infra.local.qstash.store import Store

WINDOW_SECONDS = 600.0


def deduplication_key(publication: Publication) -> str | None:
    """The key that repeats share: the publisher's id, else a hash over destination, headers and body if asked for."""
    if publication.deduplication_id is not None:
        # One id stands for a message to each endpoint of a group.
        endpoint = f":{publication.url}" if publication.topic is not None else ""
        return f"id:{publication.deduplication_id}{endpoint}"
    if not publication.content_based_deduplication:
        return None
    digest = hashlib.sha256()
    for part in (publication.url, publication.method, *(f"{name}:{value}" for name, value in publication.headers)):
        digest.update(f"{len(part)}:{part}".encode())
    digest.update(publication.body)
    return f"content:{digest.hexdigest()}"


class Deduplication:
    """Keys and the messages that brought them. A message's failure or cancellation does not free its key."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        rows = store.read("SELECT id, message_id, expires_at FROM deduplication ORDER BY expires_at")
        self._messages: dict[str, str] = {key: message_id for key, message_id, _ in rows}
        self._expiry = deque((expires_at, key) for key, _, expires_at in rows)

    def existing(self, key: str) -> str | None:
        """The id of the message that brought this key within the window."""
        self._expire()
        return self._messages.get(key)

    def remember(self, key: str, message_id: str) -> None:
        expires_at = self._clock.now() + WINDOW_SECONDS
        self._messages[key] = message_id
        self._expiry.append((expires_at, key))
        self._store.write("INSERT OR REPLACE INTO deduplication VALUES (?, ?, ?)", (key, message_id, expires_at))

    def _expire(self) -> None:
        now = self._clock.now()
        while self._expiry and self._expiry[0][0] <= now:
            _, key = self._expiry.popleft()
            del self._messages[key]
            self._store.write("DELETE FROM deduplication WHERE id = ?", (key,))
