"""The environments of one function: which one takes a request, when another starts, and when a request is refused."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable

from infra.local.gateway.environment import Crashed, Environment, StartFailed
from infra.local.gateway.spec import FunctionSpec


class Throttled(Exception):
    """All environments are busy and no further request may wait; a function URL answers 429."""


class Pool:
    """Starts environments when requests need them and keeps them warm; the one used last is used first."""

    def __init__(self, spec: FunctionSpec, launch: Callable[[], Environment]) -> None:
        self.spec = spec
        self._launch = launch
        self._environments: set[Environment] = set()
        self._idle: list[Environment] = []
        self._waiting: deque[asyncio.Future[Environment]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._closed = False

    async def invoke(self, event: bytes) -> bytes:
        """The handler's result for an event, both as JSON. Raises `InvocationFailed` or `Throttled`."""
        environment = await self._acquire()
        try:
            return await environment.invoke(event)
        finally:
            self._release(environment)

    def pids(self) -> list[int]:
        """The processes that run now. From any thread."""
        return [environment.pid for environment in list(self._environments) if environment.alive]

    def kill(self) -> list[int]:
        """SIGKILL to every process, as a crash would end them. From any thread; returns their ids."""
        pids = self.pids()
        for environment in list(self._environments):
            environment.kill()
        return pids

    def retire(self) -> None:
        """Let no environment take another request: idle ones end now, busy ones after their request."""
        for environment in self._environments:
            environment.retired = True
        for environment in self._idle:
            environment.stop()
        self._idle.clear()

    async def close(self) -> None:
        """End every process and wait until all are gone; requests that run or wait fail."""
        self._closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(Crashed("the gateway stops"))
        environments = list(self._environments)
        for environment in environments:
            environment.stop()
        await asyncio.gather(*self._starting, *(environment.ended for environment in environments))

    async def _acquire(self) -> Environment:
        while self._idle:
            environment = self._idle.pop()
            if environment.alive:
                return environment
        if self._closed or len(self._waiting) >= len(self._starting) + self._room() + self.spec.waiting:
            raise Throttled
        waiter: asyncio.Future[Environment] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._start_for_waiting()
        return await waiter

    def _release(self, environment: Environment) -> None:
        if environment.retired or not environment.alive:
            environment.stop()
            self._start_for_waiting()
        elif waiter := self._next_waiting():
            waiter.set_result(environment)
        else:
            self._idle.append(environment)

    def _next_waiting(self) -> asyncio.Future[Environment] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    def _refuse_next(self, error: StartFailed) -> None:
        # The request that has waited longest had its try; the others get theirs with the next start.
        if waiter := self._next_waiting():
            waiter.set_exception(error)

    def _room(self) -> int:
        return 0 if self._closed else self.spec.environments - len(self.pids())

    def _start_for_waiting(self) -> None:
        for _ in range(min(self._room(), len(self._waiting) - len(self._starting))):
            try:
                environment = self._launch()
            except OSError as error:
                self._refuse_next(StartFailed(f"the process did not start: {error}"))
                continue
            self._environments.add(environment)
            environment.ended.add_done_callback(functools.partial(self._forget, environment))
            self._starting.add(asyncio.create_task(self._start(environment)))

    def _forget(self, environment: Environment, _: asyncio.Future[None]) -> None:
        self._environments.discard(environment)
        if environment in self._idle:
            self._idle.remove(environment)
        self._start_for_waiting()  # there is room now

    async def _start(self, environment: Environment) -> None:
        try:
            await environment.start()
        except StartFailed as error:
            self._refuse_next(error)
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._starting.discard(task)
        self._release(environment)
