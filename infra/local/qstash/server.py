"""The server on a thread of this process, with switches for tests."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType
from typing import Any, Self

import httpx

from infra.local.qstash.app import create_app
from infra.local.qstash.ledger import Listener
from infra.local.qstash.settings import Settings
from infra.local.qstash.store import check_database
from infra.local.web import HOST, listen, runner

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class QStashServer:
    """A server on a thread of this process, for as long as the `with` lasts. Switches go over HTTP."""

    def __init__(
        self, settings: Settings | None = None, *, port: int = 0, on_event: Listener | None = None, **options: Any
    ) -> None:
        """`options`: fields of Settings, instead of `settings`."""
        self.settings = settings or Settings(**options)
        self._port = port
        self._on_event = on_event

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once requests are answered. Raises PortTaken, DatabaseUnusable."""
        check_database(self.settings.database)
        listener = listen(self._port)
        self.url = f"http://{HOST}:{listener.getsockname()[1]}"
        self._runner = runner(create_app(self.settings, self._on_event))
        self._thread = threading.Thread(target=self._run, args=(listener,), name="qstash", daemon=True)
        self._client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"})
        self._thread.start()
        try:
            self._client.get("/v2/keys", timeout=START_SECONDS).raise_for_status()
        except httpx.HTTPError:
            self.stop()
            raise

    def stop(self) -> None:
        """Returns once everything is written down and the port is free."""
        self._client.close()
        self._runner.stop()
        self._thread.join(STOP_SECONDS)

    @property
    def token(self) -> str:
        return self.settings.token

    @property
    def current_signing_key(self) -> str:
        return str(self._client.get("/v2/keys").json()["current"])

    @property
    def next_signing_key(self) -> str:
        return str(self._client.get("/v2/keys").json()["next"])

    def advance(self, seconds: float) -> None:
        """Move delays, backoff and cron forward."""
        self._client.post("/admin/advance", params={"seconds": seconds}).raise_for_status()

    def refuse_publishes(self, status: int | None) -> None:
        """Answer publishers with this status (429 or 5xx); None ends it."""
        self._set_faults(refusePublishes=status)

    def drop_deliveries(self, share: float = 1.0, *, seed: int = 0) -> None:
        """Let this share of all attempts not arrive; 0 ends it."""
        self._set_faults(dropDeliveries=share, seed=seed)

    def duplicate_deliveries(self, share: float = 1.0, *, seed: int = 0) -> None:
        """Send this share of all attempts twice at once; 0 ends it."""
        self._set_faults(duplicateDeliveries=share, seed=seed)

    def delay_deliveries(self, share: float = 1.0, *, seconds: float = 1.0, seed: int = 0) -> None:
        """Send this share of all attempts so much later, in real time; 0 ends it."""
        self._set_faults(delayDeliveries=share, delaySeconds=seconds, seed=seed)

    def reorder_deliveries(self, share: float = 1.0, *, seed: int = 0) -> None:
        """Let another attempt overtake this share of all; 0 ends it."""
        self._set_faults(reorderDeliveries=share, seed=seed)

    def _set_faults(self, **changes: Any) -> None:
        faults = self._client.get("/admin/faults").json()
        self._client.post("/admin/faults", json=faults | changes).raise_for_status()

    def _run(self, listener: socket.socket) -> None:
        asyncio.run(self._runner.serve(sockets=[listener]))
