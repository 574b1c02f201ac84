"""Which functions a folder holds, and what the contracts say of them."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

from infra.local.gateway import FunctionSpec, discover


def test_a_folder_with_a_handler_is_a_function(tmp_path):
    """Functions are named after their folders; one without a job type gets the defaults and AWS's concurrency."""
    folder = tmp_path / "functions"
    for name in ("take_orders", "not_a_function", "__pycache__"):
        (folder / name).mkdir(parents=True)
    (folder / "take_orders" / "handler.py").touch()

    assert [
        FunctionSpec(
            name="take-orders",
            module="functions.take_orders.handler",
            timeout=timedelta(seconds=30),
            memory=512,
            environments=3,
            waiting=997,
        )
    ] == discover(folder, environments=3)


def test_a_job_type_says_how_its_function_runs(tmp_path):
    """Timeout, memory and concurrency come from the contract; requests beyond the processes wait for one."""
    for name in ("make_tea", "make_coffee"):
        (tmp_path / "functions" / name).mkdir(parents=True)
        (tmp_path / "functions" / name / "handler.py").touch()
    # In a process of its own, since a job type once declared stays in the registry.
    script = """
import pathlib, sys
from datetime import timedelta
from infra.local.gateway import discover
assert "qstash_jobs" not in sys.modules
from qstash_jobs.job import Job, JobOptions
class MakeTea(Job):
    options = JobOptions(name="make-tea", timeout=timedelta(seconds=180), memory=2048, concurrency=7)
class MakeCoffee(Job):
    options = JobOptions(name="make-coffee", concurrency=1)
for spec in discover(pathlib.Path(sys.argv[1])):
    print(spec.name, spec.timeout.total_seconds(), spec.memory, spec.environments, spec.waiting)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "functions"], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == ["make-coffee 30.0 512 1 0", "make-tea 180.0 2048 4 3"]
