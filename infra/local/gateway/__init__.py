"""The function URL gateway: every function at its own URL and in its own processes, with Lambda's contract.

    with Gateway(discover(Path("functions")), environment={"DATABASE_URL": "..."}) as gateway:
        httpx.post(f"{gateway.url}/send-email", json={...})

A request goes from `server` (HTTP) through `event` (what Lambda makes of it) to the function's `pool`, which picks or
starts an `environment` (a process that runs `runtime`), and its result comes back through `answer`.
"""

from __future__ import annotations

from infra.local.gateway.environment import LogSink
from infra.local.gateway.gateway import Gateway, print_line
from infra.local.gateway.spec import FunctionSpec, discover

__all__ = ["FunctionSpec", "Gateway", "LogSink", "discover", "print_line"]
