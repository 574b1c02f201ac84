"""A server of the desk: one application under uvicorn, on loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

HOST = "127.0.0.1"
STYLE = Path(__file__).parent / "static" / "desk.css"
"""What the pages have in common, served by each at `/desk.css`."""


class PortTaken(Exception):
    """Another program listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is taken: stop what listens there, or choose another one with --port")


def listen(port: int) -> socket.socket:
    """A socket on loopback; port 0 takes a free one. Raises PortTaken."""
    # asyncio turns Nagle's delay (40 ms an answer) off only where the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(2_048)
    except OSError as error:
        listener.close()
        raise PortTaken(port) from error
    return listener


class Runner(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal instead of by returning.

    And without its ticks: it looks ten times a second whether it should exit; this one does nothing until `stop`.
    """

    on_started: Callable[[], None] | None = None

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let `serve` come to its end; from any thread, at any time."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has come to its end, and the loop is closed
                self._loop.call_soon_threadsafe(self._stopped.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        if not await self.on_tick(0):
            await self._stopped.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.on_started is not None:
            self.on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def runner(app: Starlette) -> Runner:
    """A server for `app`, quiet but for errors."""
    return Runner(
        uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
    )
