"""The handlers with what CDK gives them: ARNs of secrets, and the path of the functions' addresses."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from infra.deployment import canary, migrate, schedule
from infra.deployment.custom_resource import DeploymentStopped
from infra.local.qstash import QStashServer
from qstash_jobs import relay
from qstash_jobs.testing import Context
from tests.integration.conftest import Aws
from tests.integration.deployment.conftest import sample

MINUTE = timedelta(minutes=1)


def make_empty(aws: Aws, secret: str) -> str:
    """A secret as the secrets stack makes it, without a value; its ARN."""
    return str(aws.client("secretsmanager").create_secret(Name=secret)["ARN"])


def ask(handler: Any, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(json.dumps(handler(sample(name), Context(MINUTE))))
    return answer


@pytest.mark.parametrize(
    ("handler", "event", "setting", "secret"),
    [
        (schedule.handler, "schedule-create", "QSTASH_TOKEN", "jobs/prod/qstash-token"),
        (schedule.handler, "schedule-delete", "QSTASH_TOKEN", "jobs/prod/qstash-token"),
        (migrate.handler, "migration-before-create", "DATABASE_URL", "jobs/prod/database"),
        (canary.handler, "canary-create", "QSTASH_TOKEN", "jobs/prod/qstash-token"),
    ],
    ids=["schedule", "delete", "migration", "canary"],
)
def test_a_secret_that_is_still_empty(aws: Aws, handler: Any, event: str, setting: str, secret: str) -> None:
    """The first deployment of all: which secret, how to fill it, and that the deployment is to be repeated."""
    aws.set(**{setting: make_empty(aws, secret)})
    with pytest.raises(DeploymentStopped) as caught:
        ask(handler, event)
    assert f"the secret {secret}" in str(caught.value)
    assert "is empty, or not there; fill it with: jobs secrets put --stage prod" in str(caught.value)
    assert "deploy again." in str(caught.value)


def test_a_secret_that_is_filled_between_two_deployments(aws: Aws, qstash: QStashServer) -> None:
    """The environment is still warm from the first: what it has read of the secret is not used again."""
    arn = aws.keep("jobs/prod/qstash-token", {"QSTASH_TOKEN": "mistyped"})
    aws.set(QSTASH_TOKEN=arn, QSTASH_URL=qstash.url)
    with pytest.raises(DeploymentStopped, match="does not know the token"):
        ask(schedule.handler, "schedule-create")
    aws.keep("jobs/prod/qstash-token", {"QSTASH_TOKEN": qstash.token})
    assert ask(schedule.handler, "schedule-create")["PhysicalResourceId"] == "jobs-prod.cleanup-old-sessions"


def test_a_token_with_a_line_break(aws: Aws, qstash: QStashServer) -> None:
    """One at its end, as a file has it, does no harm; one within is named by its setting, and CloudFormation shows
    nothing of the token."""
    arn = aws.keep("jobs/prod/qstash-token", f"{qstash.token}\n")
    aws.set(QSTASH_TOKEN=arn, QSTASH_URL=qstash.url)
    assert ask(schedule.handler, "schedule-create")["PhysicalResourceId"] == "jobs-prod.cleanup-old-sessions"
    aws.keep("jobs/prod/qstash-token", {"QSTASH_TOKEN": "hush\nhush"})
    with pytest.raises(DeploymentStopped, match="QSTASH_TOKEN: it is one word") as caught:
        ask(schedule.handler, "schedule-delete")
    assert "hush" not in str(caught.value)


def test_a_migration_with_the_dsn_in_a_secret(aws: Aws, database_url: str) -> None:
    """As in Lambda, down to the tables."""
    aws.set(DATABASE_URL=aws.keep("jobs/prod/database", {"DATABASE_URL": database_url}))
    assert ask(migrate.handler, "migration-before-create")["Data"]["Said"] == "1 migration ran: saas_0001"


def test_a_canary_looks_up_the_addresses_anew(aws: Aws, qstash: QStashServer) -> None:
    """A deployment may have given the function another one, and this environment knows the old one from before."""
    aws.set(
        QSTASH_TOKEN=aws.keep("jobs/prod/qstash-token", {"QSTASH_TOKEN": qstash.token}),
        QSTASH_URL=qstash.url,
        JOBS_URLS_PATH="/jobs/prod/urls/",
    )
    aws.environment.delenv("JOBS_BASE_URL")
    aws.publish("/jobs/prod/urls/failure-callback", "http://127.0.0.1:9/failure-callback/")
    for place in ("old", "new"):
        aws.publish("/jobs/prod/urls/probe", f"http://127.0.0.1:9/{place}/")
        with pytest.raises(DeploymentStopped, match=f"to http://127.0.0.1:9/{place}, and got no answer"):
            canary.handler(sample("canary-create", request={"RequestId": place}), Context(timedelta(seconds=18)))


def test_an_outage_of_secrets_manager(aws: Aws) -> None:
    """A sentence, and no token of the call that failed."""
    arn = aws.keep("jobs/prod/qstash-token", {"QSTASH_TOKEN": "t"})
    aws.set(QSTASH_TOKEN=arn)
    aws.leave()
    with pytest.raises(DeploymentStopped, match="AWS did not say what a setting is: "):
        schedule.handler(sample("schedule-create"), Context(timedelta(seconds=13)))
    assert relay.qstash.cache_info().currsize == 0
