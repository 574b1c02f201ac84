"""`jobs invoke`: a function called in this process with a sample event."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from qstash_jobs.database import Database
from tests.conftest import ROOT
from tests.integration.cli.conftest import Jobs, sql

pytestmark = pytest.mark.usefixtures("fresh")

PROBE = (ROOT / "events" / "probe.json").read_text()


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler keeps the database of its first delivery, as in Lambda; here each test has its own."""
    monkeypatch.delitem(sys.modules, "functions.probe.handler", raising=False)


def test_invoke_runs_the_function_and_prints_its_answer(database: Database, jobs: Jobs) -> None:
    """As JSON; the job is in the record."""
    done = jobs("invoke", "probe")
    assert done.code == 0
    answer = json.loads(done.out[done.out.index('{\n  "statusCode"') :])
    assert (answer["statusCode"], json.loads(answer["body"])["outcome"]) == (200, "completed")
    assert sql("SELECT job_type, status FROM job_executions") == [["probe", "completed"]]


def test_invoke_signs_a_body_in_base64(database: Database, jobs: Jobs, tmp_path: Path) -> None:
    """The signature is over the bytes that it stands for."""
    event = json.loads(PROBE)
    event |= {"body": base64.b64encode(event["body"].encode()).decode(), "isBase64Encoded": True}
    (tmp_path / "event.json").write_text(json.dumps(event))
    assert jobs("invoke", "probe", "--event", "event.json").code == 0


def test_invoke_exits_with_1_when_the_job_failed(database: Database, jobs: Jobs, tmp_path: Path) -> None:
    """The answer is printed all the same."""
    (tmp_path / "event.json").write_text(PROBE.replace("succeed", "not-retryable"))
    done = jobs("invoke", "probe", "--event", "event.json")
    assert done.code == 1
    assert '"statusCode": 489' in done.out


@pytest.mark.parametrize(
    ("function", "content", "said"),
    [
        ("nothing-like-it", PROBE, "there is no functions/nothing_like_it"),
        ("probe", "{", "is not JSON"),
        ("probe", "[]", "is no function URL event"),
        ("probe", "{}", "is no function URL event"),
        ("probe", '{"headers": {}}', "is no function URL event"),
    ],
)
def test_invoke_refuses_what_is_no_event(
    nowhere: pytest.MonkeyPatch, jobs: Jobs, tmp_path: Path, function: str, content: str, said: str
) -> None:
    """Or no function."""
    (tmp_path / "event.json").write_text(content)
    done = jobs("invoke", function, "--event", "event.json")
    assert done.code == 2
    assert said in done.sentence


def test_invoke_names_the_events_that_there_are(nowhere: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """When one is not there."""
    done = jobs("invoke", "nothing-like-it")
    assert done.code == 2
    assert "there are cleanup-old-data, download, export-data," in done.sentence


def test_invoke_refuses_a_file_that_cannot_be_read(nowhere: pytest.MonkeyPatch, jobs: Jobs, tmp_path: Path) -> None:
    """A folder, or bytes that are no text."""
    assert "cannot be read: Is a directory" in jobs("invoke", "probe", "--event", ".").sentence
    (tmp_path / "event.json").write_bytes(b"\xff\xfe")
    assert "is not JSON" in jobs("invoke", "probe", "--event", "event.json").sentence


def test_invoke_says_which_setting_is_missing(nowhere: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """Without an address there is nothing to sign for."""
    done = jobs("invoke", "probe")
    assert done.code == 1
    assert done.sentence.startswith("Error: JOBS_BASE_URL: it is not set")
