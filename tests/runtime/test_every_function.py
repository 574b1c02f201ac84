"""Every function that is built answers on Lambda's runtime: forged requests are refused, genuine ones served."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qstash_jobs.job import registry
from tests.conftest import ROOT
from tests.runtime.conftest import World

FUNCTIONS = sorted(path.parent.name.replace("_", "-") for path in (ROOT / "functions").glob("*/handler.py"))
JOB_TYPES = [name for name in FUNCTIONS if name in {one.options.name for one in registry.contracts()}]


def sample(name: str) -> dict[str, Any]:
    """A sample event."""
    event: dict[str, Any] = json.loads((ROOT / "events" / f"{name}.json").read_text())
    return event


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_forged_request_gets_in_nowhere(world: World, function: str) -> None:
    """Each refuses what it is sent unsigned, in the way that its callers expect."""
    failures = list(world.stage.urls.failures)
    answer = world.post(sample(function), function)
    expected = {"download": 404, "webhook-ingress": 400}.get(function, 401)
    assert expected == answer.status, world.log
    assert failures == world.stage.urls.failures


@pytest.mark.parametrize("function", FUNCTIONS)
def test_another_method_is_refused(world: World, function: str) -> None:
    """What is served by POST is not served otherwise, and the other way round."""
    answer = world.send(function, "DELETE")
    assert answer.status == 405


@pytest.mark.parametrize("name", JOB_TYPES)
def test_a_job_type_serves_its_sample_event(world: World, name: str) -> None:
    """Signed for the address that AWS gave the function, with keys that it reads from its secret."""
    event = sample(name)
    event["headers"] |= world.sign(name, event["body"].encode()) | {"upstash-message-id": f"msg_sample_{name}"}
    answer = world.post(event, name)
    assert (answer.status, answer.outcome) == (200, "completed"), world.log
    again = world.post(event, name)
    assert (again.status, again.outcome) == (200, "duplicate")
