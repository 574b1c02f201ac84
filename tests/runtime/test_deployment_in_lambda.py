"""The functions that CloudFormation asks during a deployment, in Lambda's runtime and out of their own package: they answer
the sample requests as the Provider framework passes them on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import inspect

from infra.local.gateway.environment import HandlerRaised
from infra.migrations import heads
from tests.integration.deployment.conftest import sample
from tests.runtime.conftest import World
from tests.runtime.environment import RuntimeEnvironment
from tests.runtime.stage import DeployedStage
from tests.schema import engine_of


def ask(environment: RuntimeEnvironment, event: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The physical id, and the attributes."""
    answer = json.loads(environment.invoke(json.dumps(event).encode()))
    return answer["PhysicalResourceId"], answer.get("Data", {})


@pytest.fixture
def schedule(deployed: DeployedStage) -> Iterator[RuntimeEnvironment]:
    """`Custom::QStashSchedule`."""
    environment = deployed.start_of_deployment("schedule")
    yield environment
    environment.stop()


def test_a_schedule_comes_changes_and_goes(world: World, schedule: RuntimeEnvironment) -> None:
    """With the token that it reads from its secret; and QStash has what was answered."""
    stage = world.stage
    places = {
        "Destination": f"{stage.address('cleanup-old-data')}/",
        "FailureCallback": f"{stage.address('failure-callback')}/",
    }
    name, data = ask(schedule, sample("schedule-create", **places))
    assert (name, "Next" in data) == ("jobs-prod.cleanup-old-sessions", True)
    assert [(one["scheduleId"], one["cron"]) for one in schedules(world)] == [(name, "0 2 * * *")]
    update = sample("schedule-update", **places)
    assert ask(schedule, update)[0] == name
    assert [one["cron"] for one in schedules(world)] == [update["ResourceProperties"]["Cron"]]
    assert ask(schedule, sample("schedule-delete", **places))[0] == name
    assert schedules(world) == []
    assert ask(schedule, sample("schedule-delete", **places))[0] == name


def schedules(world: World) -> list[dict[str, Any]]:
    """Those that QStash has."""
    headers = {"Authorization": f"Bearer {world.stage.qstash.token}"}
    found: list[dict[str, Any]] = httpx.get(f"{world.stage.qstash.url}/v2/schedules", headers=headers).json()
    return found


def test_an_empty_secret_stops_a_deployment_with_a_sentence(world: World) -> None:
    """Which CloudFormation shows: what to fill, and with which command."""
    empty = "arn:aws:secretsmanager:us-east-1:123456789012:secret:jobs/test/nothing-there-AbCdEf"
    environment = world.stage.start_of_deployment("schedule", QSTASH_TOKEN=empty)
    try:
        with pytest.raises(HandlerRaised, match=r"DeploymentStopped: .*nothing-there.*jobs secrets put --stage test"):
            ask(environment, sample("schedule-create"))
    finally:
        environment.stop()


def test_migrations_run_out_of_the_package(world: World, empty_database_url: str) -> None:
    """All the tables are made, by Alembic and with the revisions that were packed."""
    arn = world.stage.put_secret("database", {"DATABASE_URL": empty_database_url}, suffix="-to-be-migrated")
    environment = world.stage.start_of_deployment("migrate", DATABASE_URL=arn)
    try:
        head = ", ".join(heads())
        assert ask(environment, sample("migration-before-create", Head=head)) == (
            "migrations-before",
            {"Said": f"{len(heads())} migrations ran: {head}"},
        )
        assert ask(environment, sample("migration-after-create", Head=head))[1] == {"Said": "up to date"}
        assert ask(environment, sample("migration-before-delete", Head=head))[0] == "migrations-before"
    finally:
        environment.stop()
    engine = engine_of(empty_database_url)
    assert {"job_executions", "job_attempts", "users"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_the_canary_goes_the_whole_way(world: World) -> None:
    """From one Lambda function through QStash to another, and back through the record."""
    environment = world.stage.start_of_deployment("canary")
    try:
        name, data = ask(environment, sample("canary-create"))
        assert (name, "went the whole way in" in data["Said"]) == ("canary-6f1d0c9b8a7e5432", True), data
    finally:
        environment.stop()
    assert [tuple(row) for row in world.ask("SELECT job_type, status, attempts FROM job_executions")] == [
        ("probe", "completed", 1)
    ]
