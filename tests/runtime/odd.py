"""A function that misbehaves, by the path of the request. It is put into an asset of its own, and imports like any other."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from qstash_jobs.errors import Retry
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.serving import serve


def stuck(_payload, run):  # type: ignore[no-untyped-def]
    """In its first attempt deaf to all that should end it, as code in C can be."""
    if run.attempt == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(600)
    return {"attempt": run.attempt}


def far(_payload, _run):  # type: ignore[no-untyped-def]
    """Asks for an attempt in three days, which is beyond what QStash waits for."""
    raise Retry(timedelta(days=3))


SERVED = {"/stuck": serve(Probe, stuck), "/far": serve(Probe, far)}


def raises():  # type: ignore[no-untyped-def]
    raise RuntimeError("the printer is on fire")


def exits():  # type: ignore[no-untyped-def]
    os._exit(3)


def writes():  # type: ignore[no-untyped-def]
    """What becomes of a file in each of the places where one could be put."""
    import qstash_jobs

    places = {"task": Path(__file__).parent, "opt": Path(qstash_jobs.__file__).parent, "tmp": Path("/tmp")}
    return {name: _written(folder / f"scribble-{os.getpid()}") for name, folder in places.items()}


def _written(path):  # type: ignore[no-untyped-def]
    try:
        path.write_text("x")
    except OSError as error:
        return type(error).__name__
    path.unlink()
    return "written"


RAW = {
    "/raises": raises,
    "/exits": exits,
    "/writes": writes,
    "/unserialisable": lambda: {"statusCode": 200, "body": object()},
    "/large": lambda: {"statusCode": 200, "body": "x" * 7_000_000},
    "/no-status": lambda: {"some": "value"},
    "/strange-status": lambda: {"statusCode": "fine"},
    "/waits": lambda: time.sleep(1),
    "/path": lambda: {"path": sys.path, "variables": dict(os.environ)},
}


def handler(event, context):  # type: ignore[no-untyped-def]
    """Each path is a way to misbehave."""
    path = event["rawPath"]
    return SERVED[path](event, context) if path in SERVED else RAW[path]()
