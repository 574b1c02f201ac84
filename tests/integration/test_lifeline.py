"""What a desk starts ends with it, also when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.waiting import until

CHILD = """
import subprocess, sys, time
from infra.local.lifeline import Lifeline
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
lifeline = Lifeline(child.pid)
print(child.pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_a_killed_process_takes_what_it_started_with_it() -> None:
    """SIGKILL leaves no time to say anything; the watcher notices all the same."""
    parent = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    until(lambda: not alive(child))
