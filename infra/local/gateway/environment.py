"""One environment: a process that runs one function, for one request at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from infra.local.gateway import runtime
from infra.local.gateway.spec import FunctionSpec
from infra.local.gateway.variables import ROOT

LogSink = Callable[[str, str], None]
"""Takes each line that a function writes: the function's name, and the line without its end."""

START_LIMIT = timedelta(seconds=60)
"""For the import of a handler. Lambda gives ten seconds on a processor of its own; here many may start at once."""

PIPE_SIZE = 1_048_576
"""Bytes, at least what a pipe holds: one read takes all that was written before."""


class InvocationFailed(Exception):
    """A request got no result from its function; a function URL answers 502."""


class HandlerRaised(InvocationFailed):
    """The handler raised, or returned what JSON cannot hold; the function's log has the traceback."""


class TimedOut(InvocationFailed):
    """The function's time was over, and the process was killed."""


class Crashed(InvocationFailed):
    """The process ended before it replied."""


class StartFailed(InvocationFailed):
    """The process did not get as far as taking requests; the function's log says why."""


class Environment(asyncio.Protocol):
    """The process, the socket to it, and its log. Made and used on the thread of the running event loop."""

    def __init__(self, spec: FunctionSpec, variables: Mapping[str, str], log: LogSink) -> None:
        self.spec = spec
        self.retired = False
        """Set when it must not take another request."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the process is gone and its last line is in the log."""
        self._log = log
        self._line = b""
        self._received = bytearray()
        self._reply: asyncio.Future[tuple[bytes, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self._burial: asyncio.Task[None] | None = None
        self._spawn(variables)

    def _spawn(self, variables: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        their_lifeline, self._lifeline = os.pipe()
        self._output, their_output = os.pipe()
        os.set_blocking(self._output, False)
        inherited = (theirs.fileno(), their_lifeline)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", Path(runtime.__file__), self.spec.module, *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
                env=variables,
                cwd=ROOT,
                pass_fds=inherited,
                start_new_session=True,  # a group of its own to kill; and Ctrl-C is the gateway's business
            )
        except OSError:
            self._close_descriptors()
            self._socket.close()
            raise
        finally:
            theirs.close()
            os.close(their_lifeline)
            os.close(their_output)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    async def start(self) -> None:
        """Wait until the handler is imported. Raises `StartFailed`."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._output, self._read_output)
        await loop.create_unix_connection(lambda: self, sock=self._socket)
        try:
            await self._expect_reply(START_LIMIT)
        except InvocationFailed as error:
            raise StartFailed(f"the function did not start: {error}") from error

    async def invoke(self, event: bytes) -> bytes:
        """The handler's result for an event, both as JSON. Raises `InvocationFailed`."""
        assert self._transport is not None, "not started"
        deadline = time.time() + self.spec.timeout.total_seconds()
        self._transport.write(runtime.REQUEST.pack(len(event), int(deadline * 1000)) + event)
        kind, body = await self._expect_reply(self.spec.timeout)
        if kind == runtime.RAISED:
            raise HandlerRaised("the handler raised")
        return body

    def kill(self) -> None:
        """End the process and what it started, at once. From any thread."""
        if not self.ended.done():  # the group may outlive the process that leads it
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Kill, and take no further request."""
        self.retired = True
        self.kill()
        if self._transport is not None:
            self._transport.abort()

    async def _expect_reply(self, limit: timedelta) -> tuple[bytes, bytes]:
        self._reply = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limit.total_seconds()):
                return await self._reply
        except TimeoutError:
            self.stop()
            await self.ended
            raise TimedOut(f"Task timed out after {limit.total_seconds():.2f} seconds") from None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < runtime.REPLY.size:
            return
        kind, length = runtime.REPLY.unpack_from(self._received)
        end = runtime.REPLY.size + length
        if len(self._received) < end:
            return
        body = bytes(self._received[runtime.REPLY.size : end])
        del self._received[:end]
        self._read_output()  # whoever has the answer finds in the log what the function wrote before it
        if self._reply is not None and not self._reply.done():
            self._reply.set_result((kind, body))

    def connection_lost(self, exc: Exception | None) -> None:
        self._burial = asyncio.create_task(self._bury())

    async def _bury(self) -> None:
        self.kill()
        status = await asyncio.to_thread(self._process.wait)
        self._read_output()
        if self._line:
            self._log(self.spec.name, self._line.decode(errors="replace"))
        asyncio.get_running_loop().remove_reader(self._output)
        self._close_descriptors()
        self.ended.set_result(None)
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(Crashed(f"Runtime exited with {_describe(status)}"))

    def _read_output(self) -> None:
        try:
            data = os.read(self._output, PIPE_SIZE)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._output)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._log(self.spec.name, line.decode(errors="replace"))

    def _close_descriptors(self) -> None:
        os.close(self._output)
        os.close(self._lifeline)


def _describe(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
