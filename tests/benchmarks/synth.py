"""What stands between a change and its CloudFormation: CDK's synthesis of a stage, out of what was built."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from infra.aws import node
from infra.build.builder import build
from infra.build.platform import this_machine
from infra.local.desk import Desk
from infra.local.service import ROOT
from tests.benchmarks.measure import Result, at_most


def synth(_desk: Desk) -> Iterator[Result]:
    """By CDK's command line, as `make synth` starts it once all is built."""
    architecture = this_machine()
    folder = ROOT / "build" / "tests" / architecture
    build(ROOT, architecture=architecture, into=folder)
    node.prepare()
    with tempfile.TemporaryDirectory() as output:
        app = f"{sys.executable} -m infra.aws {folder}"
        context = ("-c", "stage=prod", "-c", f"architecture={architecture}")
        began = time.perf_counter()
        subprocess.run(
            node.command("synth", "--quiet", "--app", app, "--output", output, *context),
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        yield at_most("CDK: the templates of a stage", time.perf_counter() - began, 15, "s")
