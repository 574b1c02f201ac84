"""The mails that were accepted, in memory, and in a file if there is to be one after the end."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from infra.local.mailbox.errors import Refused
from infra.local.mailbox.mail import Draft, Mail, accepted

KEEP = 500
"""Mails; of more the oldest go."""
KEEP_ATTACHED = 200_000_000
"""Bytes of Base64 that are attached to them; of more the oldest mails go too, but never the newest."""
KEY_LIFETIME = timedelta(hours=24)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mails (id TEXT PRIMARY KEY, mail TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS keys (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, ids TEXT NOT NULL, created_at TEXT NOT NULL
);
"""


class Store:
    """Mails by id, oldest first, and the idempotency keys of the last day. Every method may be called on any thread."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is made if need be, and holds `mailbox.db`; without one, nothing is left."""
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(folder / "mailbox.db" if folder else ":memory:", check_same_thread=False)
        self._file.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {_SCHEMA}")
        rows = self._file.execute("SELECT mail FROM mails ORDER BY rowid")
        self._mails = {mail.id: mail for mail in (Mail.model_validate_json(row[0]) for row in rows)}
        self._changed = threading.Condition()
        self._began, self._changes = uuid4().hex[:8], 0

    @property
    def revision(self) -> str:
        """Another one after every change."""
        return f"{self._began}-{self._changes}"

    def accept(self, drafts: Sequence[Draft], key: str | None, request: object) -> list[str]:
        """Keep these mails, once for each idempotency key; their ids.

        Raises `Refused` when the key came with another request before.
        """
        with self._changed:
            fingerprint = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
            if key is not None and (known := self._known(key, fingerprint)) is not None:
                return known
            mails = [accepted(draft, key) for draft in drafts]
            self._write(mails, key, fingerprint)
            self._mails.update((mail.id, mail) for mail in mails)
            self._forget_oldest()
            self._notify()
            return [mail.id for mail in mails]

    def mails(self) -> list[Mail]:
        """All, newest first."""
        with self._changed:
            return list(reversed(self._mails.values()))

    def get(self, mail_id: str) -> Mail | None:
        """One, if it is there."""
        return self._mails.get(mail_id)

    def clear(self) -> None:
        """Forget all mails, and the keys that they came with."""
        with self._changed:
            self._file.executescript("DELETE FROM mails; DELETE FROM keys;")
            self._mails.clear()
            self._notify()

    def wait_for(self, find: Callable[[list[Mail]], Mail | None], timeout: timedelta) -> Mail | None:
        """What `find` finds among the mails, newest first, as soon as it does; None when it never did."""
        with self._changed:
            self._changed.wait_for(lambda: find(self.mails()) is not None, timeout.total_seconds())
            return find(self.mails())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _known(self, key: str, fingerprint: str) -> list[str] | None:
        since = (datetime.now(UTC) - KEY_LIFETIME).isoformat()
        with self._file:
            self._file.execute("DELETE FROM keys WHERE created_at < ?", (since,))
        row = self._file.execute("SELECT fingerprint, ids FROM keys WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if row[0] != fingerprint:
            message = "Same idempotency key used with a different request payload."
            raise Refused(409, "invalid_idempotent_request", message)
        ids: list[str] = json.loads(row[1])
        return ids

    def _write(self, mails: Sequence[Mail], key: str | None, fingerprint: str) -> None:
        with self._file:
            self._file.executemany(
                "INSERT INTO mails VALUES (?, ?)", [(mail.id, mail.model_dump_json(by_alias=True)) for mail in mails]
            )
            if key is not None:
                ids = json.dumps([mail.id for mail in mails])
                now = datetime.now(UTC).isoformat()
                self._file.execute("INSERT INTO keys VALUES (?, ?, ?, ?)", (key, fingerprint, ids, now))

    def _forget_oldest(self) -> None:
        oldest = list(self._mails)[: max(0, len(self._mails) - KEEP)]
        attached = sum(mail.attached for mail in self._mails.values())
        for mail in list(self._mails.values())[len(oldest) : -1]:
            if attached <= KEEP_ATTACHED:
                break
            oldest.append(mail.id)
            attached -= mail.attached
        with self._file:
            self._file.executemany("DELETE FROM mails WHERE id = ?", [(mail_id,) for mail_id in oldest])
        for mail_id in oldest:
            del self._mails[mail_id]

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify_all()
