"""A local QStash: accepts, delivers, retries and schedules messages as the service does. A development tool.

`python -m infra.local.qstash` runs it; `QStashServer` runs it on a thread; `create_app` is the ASGI application.
"""

from __future__ import annotations

from infra.local.qstash.app import create_app
from infra.local.qstash.errors import DatabaseUnusable
from infra.local.qstash.server import QStashServer
from infra.local.qstash.settings import LIMITS, Limits, Settings
from infra.local.web import PortTaken

__all__ = ["LIMITS", "DatabaseUnusable", "Limits", "PortTaken", "QStashServer", "Settings", "create_app"]
