"""What the gateway knows of a function, and how it finds the functions of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

PAYLOAD_LIMIT = 6_291_556
"""Bytes that an event and a result may have as JSON, as Lambda allows them."""

CONCURRENCY = 1000
"""What AWS lets a function without a limit of its own take at once (the default quota of an account)."""


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """One function. The module holds `handler`; the function is served at `/<name>` and below."""

    name: str
    module: str
    timeout: timedelta = timedelta(seconds=30)
    """A request that takes longer is answered 502 and its process killed."""
    memory: int = 512
    """MB; only told to the function, not enforced."""
    environments: int = 4
    """The most processes, each of which takes one request at a time."""
    waiting: int = 0
    """How many requests may wait for a process to become free; those beyond are answered 429 at once."""


def discover(functions_dir: Path, *, environments: int = 4) -> list[FunctionSpec]:
    """The functions below a folder: each folder with a `handler.py`, named after it with hyphens.

    A job type of the same name says timeout, memory and how many requests are taken at once. At most `environments`
    processes share those requests: a desk has fewer processors than AWS.
    """
    return [
        _describe(
            handler.parent.name.replace("_", "-"), f"{functions_dir.name}.{handler.parent.name}.handler", environments
        )
        for handler in sorted(functions_dir.glob("*/handler.py"))
    ]


def _describe(name: str, module: str, environments: int) -> FunctionSpec:
    # The contracts are imported only where functions are looked for: a gateway with given functions needs none.
    from qstash_jobs.errors import UnknownJobType
    from qstash_jobs.job import registry

    try:
        options = registry.get(name).options
    except UnknownJobType:
        return FunctionSpec(name=name, module=module, environments=environments, waiting=CONCURRENCY - environments)
    processes = min(options.concurrency, environments)
    return FunctionSpec(
        name=name,
        module=module,
        timeout=options.timeout,
        memory=options.memory,
        environments=processes,
        waiting=options.concurrency - processes,
    )
