"""What loads a QStash server, each in a process of its own, so that it takes nothing from what is measured.

`python -m tests.benchmarks.load publish URL TOKEN COUNT DESTINATION [HEADER=VALUE …]` prints when it began and ended,
in unix seconds.
`python -m tests.benchmarks.load receive` prints its address, and then, for each line with a number that it reads, the time
at which so many more requests have arrived.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator

import aiohttp

CONNECTIONS = 32
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
END_OF_HEAD = b"\r\n\r\n"


async def publish(url: str, token: str, count: int, destination: str, headers: dict[str, str]) -> None:
    """Publish so many messages one by one, on a few connections at once."""
    remaining: Iterator[int] = iter(range(count))
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}", **headers}) as session:

        async def one_after_the_other() -> None:
            for _ in remaining:
                async with session.post(f"{url}/v2/publish/{destination}", data=b'{"n": 1}') as response:
                    assert response.status == 200, await response.text()
                    await response.read()

        began = time.time()
        await asyncio.gather(*(one_after_the_other() for _ in range(CONNECTIONS)))
        print(began, time.time())


class Receiver(asyncio.Protocol):
    """Answers 200 to requests that have no body, or a short one: as little as HTTP needs."""

    arrived = 0
    awaited: tuple[int, asyncio.Future[float]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(END_OF_HEAD)) >= 0:
            head = self._pending[:end].lower()
            _, found, length = head.partition(b"content-length:")
            size = end + len(END_OF_HEAD) + (int(length.split(b"\r", 1)[0]) if found else 0)
            if len(self._pending) < size:
                return
            self._pending = self._pending[size:]
            self._transport.write(ANSWER)
            Receiver.arrived += 1
            if Receiver.awaited is not None and Receiver.arrived >= Receiver.awaited[0]:
                Receiver.awaited[1].set_result(time.time())
                Receiver.awaited = None


async def receive() -> None:
    """Count requests until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Receiver, "127.0.0.1", 0, backlog=2_048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        Receiver.awaited = Receiver.arrived + int(line), loop.create_future()
        waiting = Receiver.awaited[1]
        print("ready", flush=True)
        print(await waiting, flush=True)


def main() -> None:
    """Do what the command line says."""
    match sys.argv[1:]:
        case ["receive"]:
            asyncio.run(receive())
        case ["publish", url, token, count, destination, *pairs]:
            headers = dict(pair.split("=", 1) for pair in pairs)
            asyncio.run(publish(url, token, int(count), destination, headers))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
