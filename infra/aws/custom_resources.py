"""The steps of a deployment that CloudFormation has no words for: migrations, QStash's schedules, the canary.

Each is a custom resource, so its failure fails the deployment and is undone with it. The handlers are in
`infra.deployment`; what they are given here is described there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal

from aws_cdk import Aws, CfnResource, CustomResource, Duration, custom_resources
from constructs import Construct

from infra.aws import plain_function
from infra.aws.context import Context
from infra.aws.errors import CannotDeploy
from infra.aws.functions import RESERVED
from infra.aws.limits import SCHEDULES as LIMIT
from infra.aws.served_function import construct_id
from infra.aws.surroundings import Surroundings, read_secrets, read_urls, secret_arn, write_logs
from infra.migrations import heads
from qstash_jobs.schedule_changes import Wanted, wanted_schedules
from qstash_jobs.schedules import Schedule
from qstash_jobs.settings import Settings

_HERE = Path(__file__).parent

_MIGRATION = timedelta(minutes=14)
"""For one part of the migrations. Lambda ends a function after 15 minutes, and the framework's own must outlive it."""


class Step(Construct):
    """A handler of `infra.deployment` behind CDK's Provider framework, which answers CloudFormation for it."""

    def __init__(
        self,
        scope: Construct,
        name: Literal["migrate", "schedule", "canary"],
        surroundings: Surroundings,
        *,
        description: str,
        settings: tuple[str, ...],
        timeout: timedelta,
        finds_functions: bool = False,
    ) -> None:
        super().__init__(scope, construct_id(name))
        self._timeout = timeout
        stage = surroundings.context.names
        needs_database = "DATABASE_URL" in settings
        may = [read_secrets(surroundings.context, settings), *([read_urls(stage)] if finds_functions else [])]
        self.function, _ = plain_function.function(
            self,
            surroundings,
            name=f"{RESERVED}{name}",
            description=description,
            code=surroundings.built.deployment,
            handler=f"infra.deployment.{name}.handler",
            environment={**surroundings.settings(), **{one: secret_arn(surroundings.context, one) for one in settings}},
            statements=may,
            timeout=timeout,
            in_network=needs_database,
        )
        framework = Construct(self, "Framework")
        group = plain_function.log_group(framework, surroundings.context)
        self._provider = custom_resources.Provider(
            framework,
            "Provider",
            on_event_handler=self.function,
            framework_on_event_role=plain_function.role(
                framework,
                "Role",
                f"Answers CloudFormation for {stage.prefix}-deployment-{name}",
                [write_logs(group.log_group_arn)],
            ),
            log_group=group,
        )
        self._resources = Construct(self, "Resources")  # a schedule may be called like anything else here

    def resource(self, id_: str, type_: str, properties: Mapping[str, str | None]) -> CfnResource:
        """One resource that the handler looks after."""
        made = CustomResource(
            self._resources,
            id_,
            service_token=self._provider.service_token,
            service_timeout=Duration.seconds(round(self._timeout.total_seconds()) + 45),
            resource_type=f"Custom::{type_}",
            properties={name: value for name, value in properties.items() if value is not None},
        )
        child = made.node.default_child
        assert isinstance(child, CfnResource)
        # Nothing of the resource names the handler itself, whose new code must be there before it is asked.
        handler = self.function.node.default_child
        assert isinstance(handler, CfnResource)
        child.add_resource_dependency(handler)
        return child


def migrations(scope: Construct, surroundings: Surroundings) -> tuple[CfnResource, CfnResource]:
    """What runs before the functions change, and what only once all have."""
    step = Step(
        scope,
        "migrate",
        surroundings,
        description="Migrates the database as a step of the deployment",
        settings=("DATABASE_URL",),
        timeout=_MIGRATION,
    )
    context = surroundings.context
    shared = {
        "Head": ", ".join(heads(saas=context.starter)),
        "Starter": _word(context.starter),
        "Database": context.database,
        "Resync": context.resync,
    }
    before = step.resource("Before", "Migration", {"Part": "before", **shared})
    after = step.resource("After", "Migration", {"Part": "after", **shared})
    return before, after


def schedules(
    scope: Construct, surroundings: Surroundings, declared: Sequence[Schedule], urls: Mapping[str, str]
) -> list[CfnResource]:
    """QStash's schedules, one resource for each. `urls` says where each function answers. Raises `CannotDeploy`."""
    context = surroundings.context
    check_schedules(context, declared)
    step = Step(
        scope,
        "schedule",
        surroundings,
        description="Makes QStash's schedules what is declared",
        settings=("QSTASH_TOKEN",),
        timeout=timedelta(seconds=90),
    )
    return [
        step.resource(
            construct_id(one.id.partition(".")[2]),
            "QStashSchedule",
            {**_properties(one, urls), **_handling(context)},
        )
        for one in wanted(context, declared, urls)
    ]


def check_schedules(context: Context, declared: Sequence[Schedule]) -> None:
    """Raises `CannotDeploy` for a schedule of a job type twice by one id, or more of them than the plan has."""
    ids = [one.id for one in declared]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise CannotDeploy(
            f"There are two schedules {twice[0]!r} in shared/qstash_jobs/schedules.py; each needs an id of its own."
        )
    most = LIMIT.get(context.qstash_plan)
    if most is not None and len(ids) > most:
        raise CannotDeploy(
            f"{len(ids)} schedules are declared, and QStash's plan {context.qstash_plan!r} has {most}: remove some from "
            "shared/qstash_jobs/schedules.py, or say -c qstash_plan=payg if that is your plan."
        )


def wanted(context: Context, declared: Iterable[Schedule], functions: Iterable[str]) -> list[Wanted]:
    """The schedules as QStash is to have them, with a placeholder for each address."""
    known = Settings(
        qstash_plan=context.qstash_plan,
        schedule_prefix=context.names.prefix,
        jobs_urls={name: _placeholder(name) for name in functions},
    )
    return wanted_schedules(declared, known)


def canary(scope: Construct, surroundings: Surroundings) -> CfnResource:
    """A job that must go the whole way once all is deployed."""
    step = Step(
        scope,
        "canary",
        surroundings,
        description="Sends a probe the whole way after a deployment",
        settings=("QSTASH_TOKEN", "DATABASE_URL"),
        timeout=timedelta(minutes=5),
        finds_functions=True,
    )
    return step.resource("Probe", "Canary", {"Of": _digest(surroundings)})


def _properties(one: Wanted, urls: Mapping[str, str]) -> dict[str, str | None]:
    message = one.message
    flow = message.flow_control
    places = {_placeholder(name): url for name, url in urls.items()}
    return {
        "ScheduleId": one.id,
        "Cron": one.cron,
        "Destination": places[message.url],
        "Body": message.body,
        "Label": message.label,
        "Retries": str(message.retries),
        "TimeoutSeconds": str(message.timeout_seconds),
        "RetryDelay": message.retry_delay,
        "FlowControlKey": str(flow["key"]),
        "FlowControlParallelism": _text(flow.get("parallelism")),
        "FlowControlRate": _text(flow.get("rate")),
        "FlowControlPeriod": _text(flow.get("period")),
        "FailureCallback": places[message.failure_callback or ""],
    }


def _handling(context: Context) -> dict[str, str]:
    stage = context.names
    return {
        "Owner": f"{stage.app}.{stage.name}.{Aws.ACCOUNT_ID}.{Aws.REGION}",
        "Adopt": _word(context.adopt_schedules),
        "Resync": context.resync,
    }


def _placeholder(function: str) -> str:
    return f"https://{function}.invalid"


def _digest(surroundings: Surroundings) -> str:
    """Of what is deployed: the packages, what was said of the deployment, and the code that makes the template."""
    built = surroundings.built
    digest = hashlib.sha256(json.dumps(surroundings.context.model_dump(mode="json"), sort_keys=True).encode())
    for path in (built.layer, built.deployment, *(path for _, path in sorted(built.functions.items()))):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for path in sorted(_HERE.glob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _word(value: bool) -> str:
    return str(value).lower()
