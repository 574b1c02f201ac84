"""The sample events: what `jobs invoke` sends."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from functions.failure_callback import handler as failure_callback
from qstash_jobs.database import Database
from qstash_jobs.job import Job, registry
from qstash_jobs.run import Run
from qstash_jobs.serving import serve
from qstash_jobs.settings import settings
from qstash_jobs.testing import Context, sign
from tests.conftest import ROOT

EVENTS = ROOT / "events"
JOB_TYPES = [one.options.name for one in registry.contracts()]


def sample(name: str) -> dict[str, Any]:
    """A sample event, signed anew."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    url = settings().url(name)
    event["headers"]["upstash-signature"] = sign(event["body"].encode(), url, settings().signing_keys[0])
    return event


@pytest.mark.parametrize("name", JOB_TYPES)
def test_each_job_type_has_an_event_that_its_contract_accepts(name: str) -> None:
    """Strictly, as a payload in the app is checked, and not only as on arrival."""
    body = json.loads(json.loads((EVENTS / f"{name}.json").read_text())["body"])
    assert body["type"] == name
    registry.get(name).model_validate(body["payload"])


@pytest.mark.parametrize("name", JOB_TYPES)
def test_an_event_is_a_job_once(name: str, database: Database) -> None:
    """It is served like any delivery; sent again it is a duplicate, for its message is the same."""
    contract = registry.get(name)
    seen: list[Job] = []

    def take(payload: Job, _run: Run) -> None:
        seen.append(payload)

    handler = serve(contract, take)
    answers = [handler(sample(name), Context(timedelta(seconds=10))) for _ in range(2)]
    assert [json.loads(answer["body"])["outcome"] for answer in answers] == ["completed", "duplicate"]
    assert [contract] == [type(one) for one in seen]


def test_the_failure_callback_is_one(database: Database) -> None:
    """It tells of a job of ours; here the job is unknown, so there is nothing to do."""
    failure_callback.telemetry.cache_clear()
    answer = failure_callback.handler(sample("failure-callback"), Context(timedelta(seconds=10)))
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"outcome": "nothing_to_do"})


@pytest.mark.parametrize("function", ["probe", "failure-callback"])
def test_jobs_invoke_delivers_an_event(function: str, environment: pytest.MonkeyPatch, database: Database) -> None:
    """The command signs the stored event and prints the function's answer."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "invoke", function], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"statusCode": 200' in done.stdout
