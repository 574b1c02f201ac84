"""CloudFormation's requests, out of the sample events, and a QStash that a test can let misbehave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.qstash import QStashServer
from tests.conftest import ROOT, forget
from tests.integration.deployment.between import Between


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
