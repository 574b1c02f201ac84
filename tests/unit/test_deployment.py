"""What is packed into the deployment's own functions, and the sample events that they are asked with."""

from __future__ import annotations

import ast
import json
import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from infra.deployment.canary import CanaryProperties
from infra.deployment.custom_resource import Answer, DeploymentStopped, Properties, Request, Time, handle
from infra.deployment.diagnosis import why
from infra.deployment.migrate import MigrationProperties
from infra.deployment.refusals import as_error, sentence
from infra.deployment.schedule import ScheduleProperties
from qstash_jobs.qstash import Delivery
from qstash_jobs.testing import Context
from tests.conftest import ROOT
from tests.unit.executions_sample import waiting
from tests.unit.test_imports import HEAVY, imported_by
from tests.unit.test_repository import pinned

PACKED = [
    *(ROOT / "infra/deployment").rglob("*.py"),
    *(ROOT / "infra/migrations").rglob("*.py"),
    ROOT / "infra/stage.py",
]
THERE = {
    "infra.deployment",
    "infra.migrations",
    "infra.stage",
    "qstash_jobs",
    "saas",
    "pydantic",
    "sqlalchemy",
    "alembic",
}
"""What the package holds, and what the layer has or the package brings."""

EVENTS = sorted((ROOT / "events/deployment").glob("*.json"))
MODELS: dict[str, type[Properties]] = {
    "Custom::QStashSchedule": ScheduleProperties,
    "Custom::Migration": MigrationProperties,
    "Custom::Canary": CanaryProperties,
}


def imports(path: Path) -> set[str]:
    """The modules that a file imports, by their first part, or the first two of `infra`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [f"infra.{alias.name}" for alias in node.names] if node.module == "infra" else [node.module or ""]
            found |= set(names)
    return {".".join(name.split(".")[: 2 if name.startswith("infra.") else 1]) for name in found}


@pytest.mark.parametrize("path", PACKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_packed_imports_only_what_is_there(path: Path) -> None:
    """Anything else would be missing in Lambda, and only found there."""
    assert imports(path) - sys.stdlib_module_names <= THERE


def test_the_deployments_requirements_bring_nothing_that_the_layer_has() -> None:
    """And the versions are those that are tested."""
    path = ROOT / "infra/deployment/requirements.txt"
    assert "alembic" in pinned(path)
    assert pinned(path) & pinned(ROOT / "requirements/layer.txt") == set()
    tested = set(re.findall(r"^\S+==\S+", (ROOT / "requirements/test.txt").read_text(), re.MULTILINE))
    assert set(re.findall(r"^\S+==\S+", path.read_text(), re.MULTILINE)) <= tested


@pytest.mark.parametrize("name", ["schedule", "migrate", "canary"])
def test_importing_a_handler_costs_little_and_needs_no_setting(name: str) -> None:
    """A request that is refused costs nothing, and nothing is kept from before the first one."""
    program = f"import os; os.environ.clear(); from infra.deployment.{name} import handler; assert callable(handler)"
    assert imported_by(program) & HEAVY == set()


def test_each_resource_has_events_for_its_whole_life() -> None:
    """Created, updated, deleted; and a schedule whose id changes."""
    names = {path.stem for path in EVENTS}
    lives = ("schedule", "migration-before", "migration-after", "canary")
    assert names == {f"{life}-{what}" for life in lives for what in ("create", "update", "delete")} | {
        "schedule-rename"
    }


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_events_are_as_the_provider_framework_sends_them(path: Path) -> None:
    """All values of properties are text, and each is one that its handler knows."""
    event = json.loads(path.read_text())
    request = Request.model_validate(event)
    model = MODELS[event["ResourceType"]]
    known = {str(field.alias) for field in model.model_fields.values()}
    # CloudFormation's own; and what only makes it ask again
    unread = {"ServiceToken", "ServiceTimeout", "Resync", "Database"}
    for properties in (request.resource_properties, request.old_resource_properties):
        assert set(map(type, properties.values())) <= {str}
        assert set(properties) <= known | unread
    assert request.properties(model)
    assert (request.physical_resource_id is None) == (request.request_type == "Create")
    assert bool(request.old_resource_properties) == (request.request_type == "Update")
    assert {"ServiceToken", "ResponseURL", "StackId", "RequestId", "LogicalResourceId"} <= set(event)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ('QStash answered 401: {"error":"invalid token"}', "does not know the token"),
        ('QStash answered 404: {"error":"user not found in this region"}', "does not know the token"),
        ("QStash answered 404: no such topic", "its message: QStash answered 404: no such topic. Mend"),
        ("QStash answered 412: quota maxMessageSize exceeded", "plan takes no more"),
        ("QStash answered 429: quota maxMessagesPerDay exceeded, current limit: 1000", "plan takes no more"),
        ("QStash answered 503: no", "also when asked again and again"),
        ("QStash did not answer: ConnectError: refused", "Is QSTASH_URL right?"),
    ],
)
def test_what_the_record_kept_of_a_refusal_is_understood(said: str, means: str) -> None:
    """As if QStash had refused just now."""
    assert means in sentence(as_error(said), "its message", "https://qstash.example")


def test_a_job_that_is_gone() -> None:
    """Somebody deletes rows."""
    assert "its row is gone" in why(None, [], address="https://a.example", qstash_url="https://q.example")


def delivery(**facts: object) -> Delivery:
    return Delivery(**{"state": "ERROR", "status": None, "error": None, "answer": "", **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        ('{"outcome": "settings_unreachable"}', "does not reach Secrets Manager"),
        ('{"outcome": "misconfigured"}', "lacks a setting"),
        ('{"outcome": "busy"}', "answered 503."),
        ("[1]", "answered 503."),
        ("<html>", "answered 503."),
        ("", "answered 503."),
    ],
)
def test_answers_are_read_as_ours_only_if_they_are(answer: str, means: str) -> None:
    """Anything may answer at an address."""
    said = why(waiting(), [delivery(status=503, answer=answer)], address="https://a.example", qstash_url="https://q")
    assert means in f"{said}."


def test_what_nobody_thought_of_is_a_sentence_too(caplog: pytest.LogCaptureFixture) -> None:
    """What it is and what to do; the place is in the log."""

    def do(_request: Request, _time: Time) -> Answer:
        nothing: dict[str, Answer] = {}
        return nothing["Said"]

    event = json.loads(EVENTS[0].read_text())
    with pytest.raises(DeploymentStopped) as caught:
        handle(event, Context(timedelta(seconds=1)), do)
    assert str(caught.value) == (
        "this function went wrong: KeyError: 'Said'. Deploy again; if it stays so, its log says where that comes from."
    )
    assert "in do" in caplog.text
