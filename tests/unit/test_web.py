"""The runner of the desk's servers."""

from __future__ import annotations

import asyncio
import threading

from starlette.applications import Starlette

from infra.local.web import listen, runner


def test_a_server_ends_whenever_it_is_told_to():
    """Before it serves, while it does, and after: told from another thread, it comes to its end, once."""
    early, late = runner(Starlette()), runner(Starlette())
    early.stop()
    late.on_started = threading.Thread(target=late.stop).start
    for server in (early, late):
        asyncio.run(asyncio.wait_for(server.serve(sockets=[listen(0)]), 20))
        assert server.started
        server.stop()
