"""Which settings a command works with: those of the environment, else those of the desk that runs in this checkout."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(".local")
"""Where the desk keeps its state."""


def load() -> None:
    """Fill in what the environment does not say from the desk that runs, if one does.

    Only when neither a database nor QStash is named: the parts of two systems are never mixed.
    """
    from infra.local.desk import read_state

    if "DATABASE_URL" not in os.environ and "QSTASH_URL" not in os.environ:
        for name, value in read_state(FOLDER).items():
            os.environ.setdefault(name, value)
