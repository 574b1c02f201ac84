"""What can be said of a job when it is enqueued, and what a handler is given."""

from __future__ import annotations

import inspect

from infra.docs import docstrings
from infra.docs.markdown import code, sentence, table
from qstash_jobs.dispatch import EnqueueOptions
from qstash_jobs.run import Run

_PLAIN = {
    "user_id": "Whose job it is: for you, and for `Run`.",
    "organization_id": "Whose job it is: for you, and for `Run`.",
    "job_id": "The job's id; the root of every idempotency key.",
    "max_attempts": "How many attempts the job may have.",
    "logger": "A logger whose lines carry the job's id, type and attempt.",
}
"""Members whose name says it all to who reads the code."""


def enqueue_options() -> str:
    """Each option of `enqueue`."""
    words = docstrings.of_members(EnqueueOptions)
    rows = [[code(name), _words(name, words)] for name in EnqueueOptions.__annotations__]
    return table(["option", "what it says"], rows)


def run_members() -> str:
    """Each attribute and method of a handler's `Run`."""
    words = docstrings.of_members(Run)
    rows = [[code(f"run.{name}"), _words(name, words)] for name in Run.__annotations__ if not name.startswith("_")]
    for name, member in vars(Run).items():
        if name.startswith("_") or name in Run.__annotations__:
            continue
        if isinstance(member, property):
            rows.append([code(f"run.{name}"), sentence(inspect.getdoc(member) or "")])
        elif inspect.isfunction(member):
            parameters = ", ".join(list(inspect.signature(member).parameters)[1:])
            rows.append([code(f"run.{name}({parameters})"), sentence(inspect.getdoc(member) or "")])
    return table(["member", "what it is"], rows)


def _words(name: str, words: dict[str, str]) -> str:
    said = words.get(name) or _PLAIN.get(name)
    if said is None:
        raise LookupError(f"{name} needs a docstring below it, or words in infra/docs/python.py")
    return sentence(said)
