"""A local QStash: accepts, delivers, retries and schedules messages as the service does. A development tool.

`jobs qstash` runs it; `QStashServer` runs it on a thread; `create_app` is the ASGI application. These two are loaded when
they are first used: who only reads the server's options pays for no HTTP.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from infra.local.qstash.errors import DatabaseUnusable
from infra.local.qstash.settings import LIMITS, Limits, Settings

if TYPE_CHECKING:
    from infra.local.qstash.app import create_app
    from infra.local.qstash.server import QStashServer
    from infra.local.web import PortTaken

__all__ = ["LIMITS", "DatabaseUnusable", "Limits", "PortTaken", "QStashServer", "Settings", "create_app"]

_HOMES = {
    "PortTaken": "infra.local.web",
    "QStashServer": "infra.local.qstash.server",
    "create_app": "infra.local.qstash.app",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
