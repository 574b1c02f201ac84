"""What the pages show that needs a QStash: the local one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.local.qstash import QStashServer
from qstash_jobs import relay
from tests.conftest import ROOT
from tests.docs.conftest import Load
from tests.docs.pages import Snippet, snippets


def naming(page: Path, test: str) -> Snippet:
    """The one snippet of a page that says that this file runs it."""
    (found,) = [part for part in snippets(page, "python") if part.not_run and test in part.not_run]
    return found


@pytest.mark.parametrize(
    ("page", "crons"),
    [
        ("docs/reference/python.md", {"old-sessions": "CRON_TZ=Europe/Berlin 0 2 * * *"}),
        ("docs/schedule-jobs.md", {"trial-ends-42": "CRON_TZ=Europe/Berlin 0 9 * * 1"}),
    ],
)
def test_schedules_are_declared(page: str, crons: dict[str, str], load: Load, qstash: QStashServer) -> None:
    """QStash knows them by their ids, at the times that the page says."""
    load("declares_schedules", [naming(ROOT / page, "test_with_qstash.py")])
    assert {one.id: one.facts["cron"] for one in relay.qstash().schedules()} == crons


def test_curl_publishes(qstash: QStashServer, environment: pytest.MonkeyPatch) -> None:
    """The command for other languages, as it stands, is accepted."""
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    command, *_ = snippets(ROOT / "docs/publish-from-another-language.md", "sh")
    done = subprocess.run(
        ["sh", "-c", f"{command.code.rstrip()} --silent --fail"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"messageId":' in done.stdout.replace(" ", "")
