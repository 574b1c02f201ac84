"""A stage that is deployed on this machine, once for all tests: the built packages, in the runtime that Lambda has."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import Engine, text

from infra.build.artifacts import Artifacts
from infra.build.lock import locked
from infra.local.postgres import EmbeddedPostgres
from qstash_jobs.dispatch import enqueue
from qstash_jobs.job import Job
from qstash_jobs.settings import Settings
from qstash_jobs.testing import create_test_job, sign, signed_event
from tests.conftest import RUNTIME_TIMES, _admin, forget
from tests.runtime.emulator import emulator
from tests.runtime.environment import Place
from tests.runtime.stage import STAGE, DeployedStage
from tests.runtime.unpacked import Unpacked, write_asset
from tests.schema import engine_of
from tests.waiting import until

DATABASE = "runtime"


@pytest.fixture(scope="session")
def deployed(
    artifacts: Artifacts,
    postgres: EmbeddedPostgres,
    saas_template: str,
    s3_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DeployedStage]:
    """The stage. At the end nothing may have changed in what was deployed."""
    if sys.platform != "linux":
        pytest.skip("Lambda's runtime emulator runs on Linux alone")
    _admin(postgres, f"CREATE DATABASE {DATABASE} TEMPLATE {saas_template} STRATEGY file_copy")
    unpacked = Unpacked(artifacts, tmp_path_factory.mktemp("lambda"))
    before = unpacked.digest()
    binary = emulator(artifacts.architecture)
    place = Place(emulator=binary, task=unpacked.opt, opt=unpacked.opt, runtime=unpacked.runtime)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        stage = DeployedStage(place, unpacked, postgres.url(DATABASE), s3_url)
    odd = write_asset(unpacked.opt.parent / "task" / "odd", Path(__file__).parent / "odd.py")
    stage.environments["odd"] = stage.start("probe", task=odd, handler="odd.handler")
    try:
        yield stage
    finally:
        stage.stop()
        _admin(postgres, f"DROP DATABASE {DATABASE} WITH (FORCE)")
    _record(stage)
    assert before == unpacked.digest(), "a function wrote to what Lambda mounts read-only"


def _record(stage: DeployedStage) -> None:
    """Cold and warm times, in ms, for people: `build/runtime.json`."""
    times = {
        name: {
            "cold": round(statistics.median(cold), 1),
            "warm": round(statistics.median(warm), 2) if warm else None,
            "invocations": len(environment.invocations),
        }
        for name, environment in sorted(stage.environments.items())
        if name.replace("-", "_") in stage.unpacked.tasks
        and (cold := [one.milliseconds for one in environment.invocations if one.cold])
        for warm in [[one.milliseconds for one in environment.invocations if not one.cold]]
    }
    with locked(RUNTIME_TIMES.with_suffix(".lock")):  # tests may run in several processes, each with a stage of its own
        known = json.loads(RUNTIME_TIMES.read_text()) if RUNTIME_TIMES.exists() else {}
        RUNTIME_TIMES.write_text(json.dumps(dict(sorted((known | times).items())), indent=2) + "\n")


@dataclass(frozen=True)
class Answer:
    """What a function's URL answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def outcome(self) -> str:
        """The word for it."""
        return str(json.loads(self.body)["outcome"])


@dataclass
class World:
    """The stage, with this process as an app service of it, and what the record says."""

    stage: DeployedStage
    engine: Engine
    http: httpx.Client

    def send(self, function: str, method: str = "POST", path: str = "/", **request: Any) -> Answer:
        """Any HTTP request to a function's URL."""
        response = self.http.request(method, f"{self.stage.urls.url}/{function}{path}", **request)
        return Answer(response.status_code, response.headers, response.content)

    def deliver(self, job: Job, job_id: UUID, **event: Any) -> Answer:
        """One delivery of a job that was enqueued, by reference, as QStash makes it."""
        row = self.row(job_id)
        numbers = {"generation": row["generation"], "publication": row["publication"], "by_reference": True}
        return self.post(signed_event(job, job_id=job_id, **{**numbers, **event}), job.options.name)

    def sign(self, function: str, body: bytes, /, **claims: object) -> dict[str, str]:
        """The headers of a delivery of any body."""
        signature = sign(body, self.stage.address(function), self.stage.values["QSTASH_CURRENT_SIGNING_KEY"], **claims)
        return {"content-type": "application/json", "upstash-signature": signature, "upstash-message-id": "msg_test"}

    def post(self, event: Mapping[str, Any], function: str) -> Answer:
        """The HTTP request that an event stands for."""
        headers = {name: value for name, value in event["headers"].items() if name not in {"host", "content-length"}}
        method = event["requestContext"]["http"]["method"]
        return self.send(function, method, event["rawPath"], headers=headers, content=event["body"].encode())

    def create(self, job: Job, **options: Any) -> UUID:
        """A job that waits for its delivery by the test."""
        return create_test_job(job, **options)

    def enqueue(self, job: Job, **options: Any) -> UUID:
        """A job that goes by way of QStash."""
        return enqueue(job, **options)

    def row(self, job_id: UUID) -> dict[str, Any]:
        """The execution, as SQL shows it."""
        found: dict[str, Any] = self.ask(f"SELECT to_jsonb(e) FROM job_executions e WHERE job_id = '{job_id}'")[0][0]
        return found

    def outcomes(self, job_id: UUID) -> list[str | None]:
        """How its attempts ended, in order."""
        return [r[0] for r in self.ask(f"SELECT outcome FROM job_attempts WHERE job_id = '{job_id}' ORDER BY attempt")]

    def wait(self, job_id: UUID, *statuses: str) -> dict[str, Any]:
        """The row once it is in one of these statuses."""
        until(
            lambda: self.row(job_id)["status"] in statuses,
            timedelta(seconds=30),
            otherwise=lambda: f"{self.row(job_id)}\n{self.log}",
        )
        return self.row(job_id)

    def ask(self, sql: str) -> list[Any]:
        """The rows of a question of the test's own."""
        with self.engine.begin() as connection:
            found = connection.execute(text(sql.replace(":", "\\:")))
            return list(found) if found.returns_rows else []

    @property
    def log(self) -> str:
        """What all functions wrote last, and why requests were answered 502."""
        lines = [line for one in self.stage.environments.values() for line in one.lines[-30:]]
        return "\n".join([*lines, *self.stage.urls.failures])


@pytest.fixture
def world(deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The stage, and this process's settings leading to it, as those of an app service would."""
    for setting in Settings.model_fields.values():
        monkeypatch.delenv(str(setting.alias), raising=False)
    for name, value in {
        "DATABASE_URL": deployed.database_url,
        "QSTASH_URL": deployed.qstash.url,
        "QSTASH_TOKEN": deployed.values["QSTASH_TOKEN"],
        "QSTASH_CURRENT_SIGNING_KEY": deployed.values["QSTASH_CURRENT_SIGNING_KEY"],
        "QSTASH_NEXT_SIGNING_KEY": deployed.values["QSTASH_NEXT_SIGNING_KEY"],
        "QSTASH_PLAN": "payg",
        "JOBS_LINK_KEY": deployed.values["JOBS_LINK_KEY"],
        "JOBS_URLS_PATH": STAGE.urls_path,
        "AWS_ENDPOINT_URL": deployed.aws_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    forget()
    engine = engine_of(deployed.database_url)
    with httpx.Client(timeout=60, trust_env=False) as client:
        yield World(deployed, engine, client)
    # What a test leaves behind, `reconcile-jobs` would bring into the next one: that is its work.
    deployed.forget_messages()
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE job_executions, job_attempts, job_actions"))
    engine.dispose()
    forget()
