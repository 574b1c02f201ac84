"""`jobs` is a word of the shell as well."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

ACTIVATE = ROOT / ".venv/bin/activate"


@pytest.mark.skipif(not ACTIVATE.exists(), reason="this is not the environment that make has made")
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_an_activated_shell_means_this_projects_command(shell: str, tmp_path: Path) -> None:
    """After activation `jobs` is ours; after deactivation it is the shell's own again."""
    script = f". {ACTIVATE}; jobs --help; deactivate; echo ---; jobs"
    done = subprocess.run([shell, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    ours, _, shells_own = done.stdout.partition("---")
    assert "requeue" in ours
    assert shells_own.strip() == ""
