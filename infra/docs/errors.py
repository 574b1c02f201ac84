"""The package's errors, from the module that holds them all."""

from __future__ import annotations

import qstash_jobs
from infra.docs.markdown import code, sentence, table
from qstash_jobs import errors


def reference() -> str:
    """Each error in the order of the module, with its bases and what it means."""
    found = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == errors.__name__
    ]
    rows = [
        [
            code(_address(error)),
            ", ".join(code(base.__name__) for base in error.__bases__),
            sentence(error.__doc__ or ""),
        ]
        for error in found
    ]
    return table(["error", "is a", "meaning"], rows)


def _address(error: type[BaseException]) -> str:
    """As people import it: the package's face where it shows the error, else the module."""
    home = qstash_jobs.__name__ if error.__name__ in qstash_jobs.__all__ else errors.__name__
    return f"{home}.{error.__name__}"
