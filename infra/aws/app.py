"""All stacks of a stage, out of its context, what was built, and what the checkout declares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aws_cdk import App, Environment, Tags

from infra.aws.app_stack import AppStack
from infra.aws.context import OWN_TAGS, Context
from infra.aws.custom_resources import check_schedules
from infra.aws.database_stack import DatabaseStack, check_connections
from infra.aws.errors import CannotDeploy
from infra.aws.functions import check_names, folders_of, functions_of
from infra.aws.secrets_stack import SecretsStack
from infra.aws.surroundings import Built
from qstash_jobs.job import JobOptions, registry
from qstash_jobs.schedules import SCHEDULES, Schedule

FLAGS = {
    "@aws-cdk/aws-iam:minimizePolicies": True,
    "@aws-cdk/aws-rds:databaseProxyUniqueResourceName": True,
    "@aws-cdk/core:defaultCrossStackReferences": "strong",
    "@aws-cdk/core:target-partitions": ["aws"],
    "aws:cdk:enable-asset-metadata": False,
    "aws:cdk:disable-asset-staging": False,
}
"""How CDK itself behaves, the same from the command line and in tests."""

WITHOUT_TAGS = ["AWS::RDS::DBProxyTargetGroup"]
"""What CDK would tag, and CloudFormation takes no tags for."""


def new_app(outdir: Path | None = None, context: dict[str, Any] | None = None) -> App:
    """CDK's app, without stacks."""
    return App(
        analytics_reporting=False,
        outdir=str(outdir) if outdir is not None else None,
        context={**FLAGS, **(context or {})},
    )


def add_stacks(
    app: App,
    context: Context,
    built: Built,
    *,
    root: Path,
    job_types: Iterable[JobOptions] | None = None,
    schedules: Sequence[Schedule] = SCHEDULES,
) -> None:
    """Add what a stage consists of; the job types are those of the registry, if none are given. Raises `CannotDeploy`
    before anything is made."""
    if built.architecture != context.architecture:
        raise CannotDeploy(
            f"What is built is for {built.architecture}, and -c architecture={context.architecture} is asked for: say "
            f"so to make, which builds for it (make build CONTEXT='-c architecture={context.architecture}', and likewise make "
            f"deploy), or say -c architecture={built.architecture}."
        )
    functions = functions_of(
        [job_type.options for job_type in registry.contracts()] if job_types is None else job_types,
        folders_of(root),
        (schedule.job.options.name for schedule in schedules),
    )
    check_names(functions, context.names)
    check_schedules(context, schedules)
    check_connections(context, functions)
    options = {
        "env": Environment(account=context.account, region=context.region),
        "termination_protection": context.is_protected,
    }
    secrets = SecretsStack(app, context, description=f"The secrets of {context.names.prefix}", **options)
    network = None
    if context.database == "aurora":
        database = DatabaseStack(app, context, description=f"The database of {context.names.prefix}", **options)
        database.add_stack_dependency(secrets)
        network = database.network
    stack = AppStack(
        app,
        context,
        built,
        functions,
        schedules,
        network,
        description=f"Background jobs: {context.names.prefix}",
        **options,
    )
    stack.add_stack_dependency(secrets)
    own = dict(zip(OWN_TAGS, (context.app, context.stage), strict=True))
    for name, value in {**own, **context.tags}.items():
        Tags.of(app).add(name, value, exclude_resource_types=WITHOUT_TAGS)
