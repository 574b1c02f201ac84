"""The application stack of a stage: what its parts are, and in which order they change.

migrations (before) -> layer, functions, addresses -> migrations (after) -> schedules -> canary
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aws_cdk import Aws, CfnOutput, CfnResource, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.aws import custom_resources, storage
from infra.aws.alarms import Alarms
from infra.aws.context import Context
from infra.aws.dashboard import dashboard
from infra.aws.functions import Function
from infra.aws.plain_function import RUNTIME
from infra.aws.served_function import JobFunction, ServedFunction, WebFunction
from infra.aws.surroundings import Built, Network, Surroundings, parameter_arn, read_secrets, secret_arn
from infra.stage import SECRETS
from qstash_jobs.schedules import Schedule

DISPATCHER = ("QSTASH_TOKEN", "DATABASE_URL")
"""The secrets of who enqueues."""


class AppStack(Stack):
    """Everything but secrets and database."""

    def __init__(
        self,
        scope: Construct,
        context: Context,
        built: Built,
        functions: Sequence[Function],
        schedules: Sequence[Schedule],
        network: Network | None = None,
        **options: Any,
    ) -> None:
        stage = context.names
        super().__init__(scope, "App", stack_name=stage.stack(), **options)
        topic = storage.topic(self, context)
        around = Surroundings(
            context=context,
            built=built,
            layer=_layer(self, context, built),
            bucket=storage.bucket(self),
            topic=topic,
            network=network,
            database_host=_database_host(self, context),
        )
        alarms = Alarms(context=context, topic=topic)
        scope_of = Construct(self, "Functions")  # a job type may be called like anything else here
        served = [
            JobFunction(scope_of, of, around, alarms) if of.is_job else WebFunction(scope_of, of, around, alarms)
            for of in functions
        ]
        silent = alarms.of_stage(self)
        shown = dashboard(self, alarms, served)
        _for_app_services(self, around)

        steps = Construct(self, "Deployment")
        before, after = custom_resources.migrations(steps, around)
        urls = {one.of.name: one.url.url for one in served}
        made = custom_resources.schedules(steps, around, schedules, urls)
        for one in served:
            _after(resource(one.function), [before])
            _after(after, [*_resources(one.function), resource(one.url_parameter)])
        for schedule in made:
            _after(schedule, [after])
        _after(resource(silent), made)
        _outputs(self, served, after, shown.dashboard_name)
        if context.canary:
            probe = custom_resources.canary(steps, around)
            _after(probe, made or [after])
            CfnOutput(
                self, "CanarySaid", value=probe.get_att("Said").to_string(), description="What the canary job met"
            )


def resource(construct: Construct) -> CfnResource:
    """What CloudFormation knows of a construct."""
    child = construct.node.default_child
    assert isinstance(child, CfnResource)
    return child


def _database_host(scope: Construct, context: Context) -> str | None:
    """By a parameter and not by an export, which CloudFormation would not let change while it is used here."""
    if context.database != "aurora":
        return None
    return ssm.StringParameter.value_for_string_parameter(scope, context.names.database_host_parameter)


def _layer(scope: Construct, context: Context, built: Built) -> lambda_.LayerVersion:
    """The layer; its former versions stay, for app services that run with one of them."""
    layer = lambda_.LayerVersion(
        scope,
        "Layer",
        layer_version_name=context.names.prefix,
        description="qstash_jobs with what it needs",
        code=lambda_.Code.from_asset(str(built.layer)),
        compatible_runtimes=[RUNTIME],
        compatible_architectures=[
            lambda_.Architecture.ARM_64 if built.architecture == "arm64" else lambda_.Architecture.X86_64
        ],
        removal_policy=RemovalPolicy.RETAIN,
    )
    ssm.StringParameter(
        scope,
        "LayerParameter",
        parameter_name=context.names.layer_parameter,
        string_value=layer.layer_version_arn,
        description="The layer, for app services that are Lambda functions",
    )
    return layer


def _for_app_services(scope: Construct, around: Surroundings) -> None:
    """What an app service needs in order to enqueue: the plain settings, and a policy for its role."""
    stage = around.context.names
    settings = {
        **around.settings(),
        "JOBS_BUCKET": around.bucket.bucket_name,
        **{name: secret_arn(around.context, name) for held in SECRETS.values() for name in held},
    }
    ssm.StringParameter(
        scope,
        "SettingsParameter",
        parameter_name=stage.settings_parameter,
        string_value=Stack.of(scope).to_json_string(dict(sorted(settings.items()))),
        description="The settings of the stage, for who looks at it from outside: secrets by their ARNs",
    )
    urls = parameter_arn(stage.urls_path.rstrip("/"))
    iam.ManagedPolicy(
        scope,
        "Enqueue",
        managed_policy_name=f"{stage.prefix}-enqueue-{Aws.REGION}",  # IAM has one list for all regions
        description=f"Enqueue jobs of {stage.prefix}: for the roles of app services",
        statements=[
            iam.PolicyStatement(
                actions=["ssm:GetParameter"],
                resources=[parameter_arn(stage.layer_parameter), parameter_arn(stage.settings_parameter)],
            ),
            iam.PolicyStatement(actions=["ssm:GetParametersByPath"], resources=[urls, f"{urls}/*"]),
            read_secrets(around.context, DISPATCHER),
        ],
    )


def _resources(function: lambda_.Function) -> list[CfnResource]:
    """The function, its address, and the permissions to call that."""
    return [one for one in function.node.find_all() if isinstance(one, CfnResource)]


def _after(later: CfnResource, earlier: Iterable[CfnResource]) -> None:
    for one in earlier:
        later.add_resource_dependency(one)


def _outputs(scope: Construct, served: Sequence[ServedFunction], after: CfnResource, dashboard_name: str) -> None:
    """What a person wants to see at the end, and `build/outputs-<stage>.json` keeps."""
    for one in served:
        if not one.of.is_job:
            CfnOutput(one, "Address", value=one.url.url, description=f"Where {one.of.name} answers")
    CfnOutput(
        scope, "MigrationsSaid", value=after.get_att("Said").to_string(), description="What the last migrations did"
    )
    CfnOutput(scope, "DashboardName", value=dashboard_name, description="In CloudWatch, Dashboards")
