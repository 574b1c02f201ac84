"""The signing keys: deliveries are signed with the current one; the next one takes its place at a rotation."""

from __future__ import annotations

from infra.local.qstash.settings import Settings
from infra.local.qstash.signature import new_key
from infra.local.qstash.store import Store


class SigningKeys:
    """The keys of this database; a new one starts with those of the settings."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        kept: dict[str, str] = dict(
            store.read("SELECT name, value FROM meta WHERE name IN ('current_key', 'next_key')")
        )
        self.current = kept.get("current_key", settings.current_signing_key)
        self.next = kept.get("next_key", settings.next_signing_key)

    def rotate(self) -> None:
        """The next key becomes the current one, and a fresh one the next."""
        self.current, self.next = self.next, new_key()
        for name, key in (("current_key", self.current), ("next_key", self.next)):
            self._store.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, key))

    def as_json(self) -> dict[str, str]:
        return {"current": self.current, "next": self.next}
