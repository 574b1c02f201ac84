"""CloudFormation's requests, out of the sample events, and a QStash that a test can let misbehave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect

from infra.local.qstash import QStashServer
from tests.conftest import ROOT, engine_for, forget
from tests.integration.deployment.between import Between
from tests.integration.deployment.revisions import Package


def sample(name: str, *, request: dict[str, str | None] | None = None, **properties: str | None) -> dict[str, Any]:
    """An event of events/deployment with other properties, or without those that are None, and likewise what the
    request itself says."""
    event: dict[str, Any] = json.loads((ROOT / f"events/deployment/{name}.json").read_text())
    for where, changed in ((event["ResourceProperties"], properties), (event, request or {})):
        for key, value in changed.items():
            where[key] = value
            if value is None:
                del where[key]
    return event


LAMBDA = "https://{}.lambda-url.eu-central-1.on.aws"
PLACES = {
    LAMBDA.format("cleanupolddatacleanupolddatacleanu"[:32]): "http://127.0.0.1:9",
    LAMBDA.format("failurecallbackfailurecallbackfa"): "http://127.0.0.1:9",
    "https://old.example": "http://127.0.0.1:9",
}
"""Where the sample events' functions are, as far as the local QStash is concerned: nowhere."""


@pytest.fixture
def qstash(environment: pytest.MonkeyPatch) -> Iterator[QStashServer]:
    """The local QStash, which knows the functions of the sample events."""
    with QStashServer(host_map=PLACES) as server:
        environment.setenv("QSTASH_URL", server.url)
        environment.setenv("QSTASH_TOKEN", server.token)
        forget()
        yield server
        forget()


@pytest.fixture
def between(qstash: QStashServer, environment: pytest.MonkeyPatch) -> Iterator[Between]:
    """Between the handler and QStash."""
    made = Between(qstash.url)
    environment.setenv("QSTASH_URL", made.url)
    forget()
    yield made
    made.close()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """The migrations, with revisions of the test's own."""
    return Package(tmp_path / "migrations", monkeypatch)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """For a test's own questions, and for what stands in a migration's way."""
    made = engine_for(database_url)
    yield made
    made.dispose()


def columns(engine: Engine, table: str = "job_executions") -> set[str]:
    """The names of a table's columns."""
    with engine.connect() as connection:
        return {one["name"] for one in inspect(connection).get_columns(table)}
