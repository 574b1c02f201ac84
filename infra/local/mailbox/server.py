"""The mailbox on a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.local.mailbox.app import create_app
from infra.local.mailbox.faults import Fault, Faults
from infra.local.mailbox.mail import Mail
from infra.local.mailbox.store import Store
from infra.local.web import HOST, listen, runner

STOP_SECONDS = 10.0
PATIENCE = timedelta(seconds=30)


class Mailbox:
    """A mailbox on a thread of this process, for as long as the `with` lasts."""

    def __init__(self, *, port: int = 0, folder: Path | None = None) -> None:
        """Port 0 takes a free one; without a folder, nothing is left at the end."""
        self._port = port
        self._folder = folder
        self._faults = Faults()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Requests are taken from now on. Raises `PortTaken`."""
        listener = listen(self._port)
        self.url = f"http://{HOST}:{listener.getsockname()[1]}"
        try:
            self._store = Store(self._folder)
        except BaseException:
            listener.close()
            raise
        self._server = runner(create_app(self._store, self._faults))
        self._thread = threading.Thread(target=self._run, args=(listener,), name="mailbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns once the port is free and everything is written down."""
        self._server.stop()
        self._thread.join(STOP_SECONDS)
        self._store.close()

    def mails(self, to: str | None = None) -> list[Mail]:
        """All mails, or those to that address, newest first."""
        return [mail for mail in self._store.mails() if to is None or to in mail.to]

    def wait_for_mail(self, to: str | None = None, timeout: timedelta = PATIENCE) -> Mail:
        """The newest mail (to that address), as soon as there is one. Raises TimeoutError."""
        found = self._store.wait_for(
            lambda mails: next((mail for mail in mails if to is None or to in mail.to), None), timeout
        )
        if found is None:
            raise TimeoutError(f"no mail to {to or 'anybody'} came within {timeout}")
        return found

    def clear(self) -> None:
        """Forget all mails and all faults."""
        self._store.clear()
        self._faults.clear()

    def fail(self, status: int, **options: Any) -> None:
        """Let the next send fail; `options` are the further fields of `Fault`."""
        self._faults.add(Fault(status=status, **options))

    def _run(self, listener: socket.socket) -> None:
        asyncio.run(self._server.serve(sockets=[listener]))
