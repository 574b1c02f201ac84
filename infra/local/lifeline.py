"""Processes that end with whoever started them, also when that one is killed and cannot say so.

A watcher of a few lines holds one end of a pipe; when the other end goes away with its process, it ends the watched
one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path


class Lifeline:
    """Ends a process with `how` when this process dies before it lets go."""

    def __init__(self, pid: int, how: signal.Signals = signal.SIGTERM) -> None:
        self._watcher = subprocess.Popen(
            [sys.executable, "-E", "-S", Path(__file__), str(pid), str(how.value)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def let_go(self) -> None:
        """The process has ended, or may live on."""
        self._watcher.kill()
        self._watcher.communicate()


def _watch(pid: int, how: int) -> None:
    sys.stdin.buffer.read()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), int(sys.argv[2]))
