"""The gateway as a whole: asynchronous in itself, with a synchronous face for tests and scripts."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local.gateway.environment import Environment, LogSink
from infra.local.gateway.pool import Pool
from infra.local.gateway.reload import watching
from infra.local.gateway.server import FunctionServer
from infra.local.gateway.spec import FunctionSpec
from infra.local.gateway.variables import variables


def print_line(function: str, line: str) -> None:
    """The default log: every line of every function on stdout, as it is."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Gateway:
    """Serves functions on one port, each at `/<name>`, for as long as the `with` or `async with` lasts.

    `environment` is added to Lambda's own variables in the functions' processes, which inherit nothing else; `path`
    is searched first for modules. `log` gets every line that a function writes, on the gateway's thread. Changes
    below the folders of `reload` make the functions start afresh, and `find` is asked for functions that are new. With
    `port` 0 the system chooses one.
    """

    def __init__(
        self,
        specs: Iterable[FunctionSpec],
        *,
        environment: Mapping[str, str] | None = None,
        path: Sequence[Path] = (),
        log: LogSink = print_line,
        reload: Sequence[Path] = (),
        find: Callable[[], Iterable[FunctionSpec]] = tuple,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._specs = _by_name(specs)
        self._launch = functools.partial(_launch, given=dict(environment or {}), path=path, log=log)
        self._log = log
        self._watched = reload
        self._find = find
        self._host, self._port = host, port
        self._pools: dict[str, Pool] = {}
        self._server: FunctionServer | None = None
        self._running = contextlib.AsyncExitStack()
        self._thread: _LoopThread | None = None

    @property
    def url(self) -> str:
        """Where the functions are, e.g. `http://127.0.0.1:9000`; each at this address + `/<name>`."""
        assert self._server is not None, "not started"
        return self._server.url

    def pids(self, function: str) -> list[int]:
        """The function's processes that run now. From any thread."""
        return self._pools[function].pids()

    def kill_environments(self, function: str) -> list[int]:
        """SIGKILL to the function's processes, as a crash would end them; returns their ids. From any thread."""
        return self._pools[function].kill()

    async def serve(self) -> None:
        """Serve until cancelled. Raises OSError when the port is taken."""
        async with self:
            await asyncio.Event().wait()

    async def __aenter__(self) -> Self:
        self._pools = {name: Pool(spec, functools.partial(self._launch, spec)) for name, spec in self._specs.items()}
        async with contextlib.AsyncExitStack() as stack:
            server = FunctionServer(self._pools, self._log, host=self._host, port=self._port)
            stack.push_async_callback(server.stop)
            await server.start()
            for pool in self._pools.values():
                stack.push_async_callback(pool.close)
            if self._watched:
                await stack.enter_async_context(watching(self._watched, self._reload))
            self._running = stack.pop_all()
        self._server = server
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    def __enter__(self) -> Self:
        self._thread = _LoopThread(self)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None, "not started"
        self._thread.stop()

    def _reload(self) -> None:
        for pool in self._pools.values():
            pool.retire()
        try:
            found = list(self._find())
        except Exception as error:  # noqa: BLE001  # a contract that is being written: its next change asks again
            self._log("gateway", f"looking for new functions: {type(error).__name__}: {error}")
            return
        for spec in found:
            if spec.name not in self._pools:
                self._pools[spec.name] = Pool(spec, functools.partial(self._launch, spec))
                self._running.push_async_callback(self._pools[spec.name].close)


def _by_name(specs: Iterable[FunctionSpec]) -> dict[str, FunctionSpec]:
    named: dict[str, FunctionSpec] = {}
    for spec in specs:
        if spec.name in named:
            raise ValueError(f"two functions are named {spec.name!r}")
        named[spec.name] = spec
    return named


def _launch(spec: FunctionSpec, given: Mapping[str, str], path: Sequence[Path], log: LogSink) -> Environment:
    return Environment(spec, variables(spec, given, path), log)


class _LoopThread:
    """Runs the gateway's event loop beside a synchronous program; what fails there is raised here."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._started.wait()
        self._raise_failure()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._raise_failure()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 (raised on the thread that asked for the gateway)
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with self._gateway:
            self._started.set()
            await self._stopping.wait()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
