"""What lies between a function and Postgres, and can fail: a TCP proxy whose connections a test cuts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST."""


class Proxy:
    """Listens on loopback, for as long as the `with` lasts, and leads to Postgres's unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._pairs: set[Pair] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def close(self) -> None:
        """End all connections, as a server that goes down in good order."""
        self._each(lambda pair: pair.close())

    def reset(self) -> None:
        """Break all connections, as a firewall that has forgotten them and says so."""
        self._each(lambda pair: pair.reset())

    def silence(self) -> None:
        """Let nothing pass on the connections that there are, as a NAT gateway that has forgotten them."""
        self._each(lambda pair: pair.silence())

    def refuse(self) -> None:
        """Take no connections, and end those that there are."""
        self._do(self._stop())
        self.close()

    def restore(self) -> None:
        """Take connections, at the same port as before."""
        self._do(self._start())

    def _each(self, do: Callable[[Pair], None]) -> None:
        async def to_all() -> None:
            for pair in list(self._pairs):
                do(pair)
            await asyncio.sleep(0)  # what is closed is closed at the loop's next turn

        self._do(to_all())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None, "not started"
        self._server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, outside = await asyncio.open_unix_connection(self._path)
        pair = Pair(writer, outside)
        self._pairs.add(pair)
        try:
            await asyncio.gather(pair.pump(reader, outside), pair.pump(inside, writer))
        finally:
            self._pairs.discard(pair)
            pair.close()


class Pair:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._client, self._server = client, server
        self._silent = False

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Pass on what comes, until one side has ended; then so does the other."""
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if not self._silent:
                    sink.write(data)
        sink.close()

    def close(self) -> None:
        """With FIN."""
        self._client.close()
        self._server.close()

    def reset(self) -> None:
        """With RST."""
        self._client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._client.transport.abort()
        self._server.close()

    def silence(self) -> None:
        """Nothing passes any more."""
        self._silent = True
