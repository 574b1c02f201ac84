"""The command `jobs`, in this process, as `python -m infra.cli` runs it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from infra.cli.app import main
from qstash_jobs.database import database
from qstash_jobs.settings import Settings
from tests.conftest import ROOT, forget
from tests.integration.cli.cloud import Cloud


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What it said was wrong: one sentence and perhaps a hint, never a traceback."""
        assert "Traceback" not in self.out + self.err, self.err
        return " ".join(self.err.translate(dict.fromkeys(map(ord, "│╭╮╰╯─"), " ")).split())


class Jobs:
    """`jobs("list", "--status", "failed")` runs that command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, given: str = "") -> Done:
        """Run a command with these words on its standard input."""
        self._monkeypatch.setattr(sys, "argv", ["jobs", *arguments])
        self._monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 400)  # so that no sentence is broken into lines
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, *self._capsys.readouterr())


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Jobs:
    """Away from any desk of this checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "test")
    return Jobs(monkeypatch, capsys)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No settings at all."""
    for setting in Settings.model_fields.values():
        monkeypatch.delenv(str(setting.alias), raising=False)
    forget()
    yield monkeypatch
    forget()


@pytest.fixture
def cloud(s3_url: str, nowhere: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """AWS with empty secrets of the stage `prod`, and a shell that may do everything there; no other settings."""
    before = dict(os.environ)
    made = Cloud(s3_url)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_LAMBDA_FUNCTION_NAME", "JOBS_STAGE", "JOBS_APP"):
        nowhere.delenv(name, raising=False)
    for name, value in made.environment.items():
        nowhere.setenv(name, value)
    forget()
    yield made
    forget()
    os.environ.clear()  # a command has set what the stage says
    os.environ.update(before)


def sql(statement: str) -> list[list[Any]]:
    """One statement on the database of the settings; its rows."""
    return [list(row) for row in database().run_pooled(statement)]


def row(job_id: UUID | str) -> dict[str, Any]:
    """A job's row."""
    found: dict[str, Any] = sql(f"SELECT to_jsonb(e) FROM job_executions e WHERE job_id = '{UUID(str(job_id))}'")[0][0]
    return found


def process_environment(root: Path = ROOT) -> Mapping[str, str]:
    """For a process that runs the code of that checkout, and of no desk."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    return {**kept, "PYTHONPATH": f"{root}{os.pathsep}{root / 'shared'}"}


def run_process(*arguments: str, cwd: Path, root: Path = ROOT, timeout: float = 100) -> Done:
    """The command in a process of its own, without settings."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", *arguments],
        cwd=cwd,
        env=process_environment(root),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
