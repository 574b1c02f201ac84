"""A Lambda function with a role and a log group of its own: what everything that runs in a stage is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from aws_cdk import Duration, RemovalPolicy, Size
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.aws.context import Context
from infra.aws.surroundings import Surroundings, join_network, write_logs

RUNTIME = lambda_.Runtime.PYTHON_3_13
"""The newest whose bytecode and tests the project's own interpreter makes."""

_PRINCIPAL = "lambda.amazonaws.com"


def kept(context: Context) -> RemovalPolicy:
    """What becomes of data when it leaves the template: in `prod` it stays, unless its creation is rolled back."""
    return RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE if context.is_prod else RemovalPolicy.DESTROY


def log_group(
    scope: Construct,
    context: Context,
    id_: str = "Logs",
    *,
    name: str | None = None,
    removal: RemovalPolicy | None = None,
) -> logs.LogGroup:
    """One that ends its lines after the days of the context. Without a name, CloudFormation gives it one, so that a group
    that stayed is in nobody's way when its function returns."""
    group = logs.LogGroup(scope, id_, log_group_name=name, removal_policy=removal or kept(context))
    child = group.node.default_child
    assert isinstance(child, logs.CfnLogGroup)
    child.retention_in_days = context.log_days  # CDK's own names for the days are words
    return group


def role(scope: Construct, id_: str, description: str, statements: Sequence[iam.PolicyStatement]) -> iam.Role:
    """A function's own: no managed policy, and what it may in one place."""
    return iam.Role(
        scope,
        id_,
        assumed_by=iam.ServicePrincipal(_PRINCIPAL),
        description=description,
        inline_policies={"own": iam.PolicyDocument(statements=list(statements))},
    )


def function(
    scope: Construct,
    surroundings: Surroundings,
    *,
    name: str,
    description: str,
    code: Path,
    handler: str,
    environment: Mapping[str, str],
    statements: Sequence[iam.PolicyStatement],
    timeout: timedelta,
    memory: int = 512,
    ephemeral_storage: int = 512,
    reserved_concurrency: int | None = None,
    in_network: bool = False,
) -> tuple[lambda_.Function, logs.LogGroup]:
    """The function `<app>-<stage>-<name>` with its role and log group. X-Ray stays off: it takes a permission on `*`, and
    logs and metrics say by job what its segments would say by request."""
    context = surroundings.context
    group = log_group(scope, context)
    network = surroundings.network if in_network else None
    may = [write_logs(group.log_group_arn), *statements, *([join_network()] if network is not None else [])]
    full_name = f"{context.names.prefix}-{name}"
    made = lambda_.Function(
        scope,
        "Function",
        function_name=full_name,
        description=description,
        runtime=RUNTIME,
        architecture=lambda_.Architecture.ARM_64 if context.architecture == "arm64" else lambda_.Architecture.X86_64,
        code=lambda_.Code.from_asset(str(code)),
        handler=handler,
        layers=[surroundings.layer],
        role=role(scope, "Role", f"What {full_name} may do", may),
        environment=dict(sorted(environment.items())),
        timeout=Duration.seconds(round(timeout.total_seconds())),
        memory_size=memory,
        ephemeral_storage_size=Size.mebibytes(ephemeral_storage),
        reserved_concurrent_executions=reserved_concurrency,
        log_group=group,
        logging_format=lambda_.LoggingFormat.JSON,
        tracing=lambda_.Tracing.DISABLED,
        vpc=network.vpc if network is not None else None,
        vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS)
        if network is not None
        else None,
        security_groups=[network.security_group] if network is not None else None,
    )
    return made, group
