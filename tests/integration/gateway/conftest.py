"""A gateway that serves one throw-away function, and its log."""

from __future__ import annotations

import contextlib
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.gateway import FunctionSpec, Gateway


@dataclass
class Log:
    """Collects the lines of all functions."""

    lines: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, function: str, line: str) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def wait_for(self, line: str, count: int = 1) -> None:
        """Wait until a line was written so many times."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.lines.count(line) >= count, timeout=60), self.lines

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass
class Served:
    """One function, `sample-function`, and a client for it."""

    gateway: Gateway
    http: httpx.Client
    source: Path
    log: Log
    stop: Callable[[], None]

    def get(self, path: str = "", **options: Any) -> httpx.Response:
        return self.http.get(f"/sample-function{path}", **options)

    def post(self, path: str = "", **options: Any) -> httpx.Response:
        return self.http.post(f"/sample-function{path}", **options)

    def pids(self) -> list[int]:
        return self.gateway.pids("sample-function")


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a gateway for a function of that source; further arguments are the spec's options."""
    folder = tmp_path / "code"
    folder.mkdir()
    log = Log()

    with contextlib.ExitStack() as stack:

        def start(
            source: str, *, environment: dict[str, str] | None = None, reload: bool = False, **options: Any
        ) -> Served:
            module = folder / "sample.py"
            module.write_text(textwrap.dedent(source))
            gateway = Gateway(
                [FunctionSpec(name="sample-function", module="sample", **options)],
                environment=environment,
                path=[folder],
                log=log.add,
                reload=[folder] if reload else [],
            )
            http = stack.enter_context(httpx.Client(timeout=60))
            running = stack.enter_context(contextlib.ExitStack())
            http.base_url = running.enter_context(gateway).url
            return Served(gateway, http, module, log, stop=running.close)

        yield start
