"""The verifiers are the security core: nothing of them is untested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("module", ["signature", "webhook_signatures"])
def test_every_branch_of_the_verifier_is_tested(tmp_path: Path, module: str) -> None:
    """Its own tests run through each line and each branch."""
    coverage = [sys.executable, "-m", "coverage"]
    data = f"--data-file={tmp_path / 'coverage'}"
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/unit/test_{module}.py"]
    ran = subprocess.run(
        [*coverage, "run", "--branch", f"--include=*/qstash_jobs/{module}.py", data, *pytest],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = subprocess.run(
        [*coverage, "report", "--fail-under=100", "--show-missing", data],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.returncode == 0, report.stdout + report.stderr
