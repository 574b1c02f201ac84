"""Bytecode that Lambda's interpreter takes without looking at the sources.

Archives carry no times, and a layer cannot be written to. So the usual bytecode, which is checked against its source's
time, would be thrown away and made again at every cold start.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from infra.build.errors import BuildRefused


def compile_below(folder: Path, prefix: str) -> None:
    """Compile every module below a folder. Tracebacks will name its files as below `prefix`, where Lambda has them;
    nothing of this machine gets in. Raises `BuildRefused` for a module that Python cannot read."""
    command = [sys.executable, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", prefix, str(folder)]
    # In a process of its own, so that nothing that is loaded here has a part in what comes out.
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise BuildRefused(f"what is to be built is not Python:\n{done.stdout.replace(str(folder), prefix)}")
