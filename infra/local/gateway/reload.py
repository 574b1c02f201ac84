"""Notice that the functions' source has changed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from watchfiles import awatch

DEBOUNCE_MS = 200
"""Changes that follow each other this quickly are one, e.g. a checkout of another branch."""


@contextlib.asynccontextmanager
async def watching(folders: Sequence[Path], changed: Callable[[], None]) -> AsyncIterator[None]:
    """Call `changed` after each change below the folders, for as long as the `async with` lasts.

    Raises FileNotFoundError when a folder is missing.
    """
    watcher = asyncio.create_task(_watch(folders, changed))
    await asyncio.sleep(0)  # its first step sets the watch up: what changes from here on is noticed
    if watcher.done():
        watcher.result()
    try:
        yield
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher


async def _watch(folders: Sequence[Path], changed: Callable[[], None]) -> None:
    async for changes in awatch(*folders, debounce=DEBOUNCE_MS):
        for _, path in changes:
            _forget_bytecode(Path(path))
        changed()


def _forget_bytecode(source: Path) -> None:
    # Bytecode is matched to its source by size and whole seconds of time: too coarse for an edit right after a run.
    if source.suffix == ".py":
        Path(importlib.util.cache_from_source(source)).unlink(missing_ok=True)
