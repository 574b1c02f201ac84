"""What all functions of a stage share, and what a function is told and allowed because of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns

from infra.aws.context import Context
from infra.aws.functions import Function
from infra.stage import AURORA, SECRETS, Stage, secret_of
from qstash_jobs.bucket import EXPORTS, REPORTS, TEMPORARY

FOLDERS = {"s3:exports": EXPORTS, "s3:reports": REPORTS, "s3:tmp": TEMPORARY}
"""The bucket's folders, by the grant that opens them."""


class Built(Protocol):
    """What `make build` has made."""

    @property
    def layer(self) -> Path: ...
    @property
    def functions(self) -> Mapping[str, Path]: ...
    @property
    def deployment(self) -> Path: ...
    @property
    def architecture(self) -> Literal["arm64", "x86_64"]: ...


@dataclass(frozen=True, kw_only=True)
class Network:
    """Where functions run that reach a database in a VPC."""

    vpc: ec2.IVpc
    security_group: ec2.ISecurityGroup


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all functions of a stage share."""

    context: Context
    built: Built
    layer: lambda_.ILayerVersion
    bucket: s3.IBucket
    topic: sns.ITopic
    network: Network | None = None
    database_host: str | None = None
    """Instead of the one that the secret names, which knows nothing of a proxy."""

    def settings(self) -> dict[str, str]:
        """The plain settings that are the same for all."""
        context, stage = self.context, self.context.names
        host = self.database_host
        return {
            **context.settings,
            **({"JOBS_DATABASE_CA": "rds", "JOBS_DATABASE_HOST": host} if host is not None else {}),
            "JOBS_METRICS_NAMESPACE": stage.metrics_namespace,
            "JOBS_SCHEDULE_PREFIX": stage.prefix,
            "JOBS_URLS_PATH": stage.urls_path,
            "QSTASH_PLAN": context.qstash_plan,
            "QSTASH_URL": context.qstash_url,
        }

    def environment(self, function: Function) -> dict[str, str]:
        """A function's environment: for a secret the ARN where it is, never its value."""
        return {
            **self.settings(),
            **{name: secret_arn(self.context, name) for name in function.secrets},
            **(
                {"JOBS_BUCKET": self.bucket.bucket_name}
                if any(one.startswith("s3:") for one in function.grants)
                else {}
            ),
            **({"JOBS_NOTIFY_TOPIC": self.topic.topic_arn} if "sns:notifications" in function.grants else {}),
        }

    def statements(self, function: Function) -> list[iam.PolicyStatement]:
        """What a function may do besides writing its log."""
        stage = self.context.names
        found = [read_urls(stage), read_secrets(self.context, function.secrets)]
        for grant in function.grants:
            found += self._granted(grant)
        return found

    def _granted(self, grant: str) -> list[iam.PolicyStatement]:
        if grant == "sns:notifications":
            return [iam.PolicyStatement(actions=["sns:Publish"], resources=[self.topic.topic_arn])]
        if grant == "s3:read":  # without the list, S3 answers 403 for a file that is not there, and not 404
            return [
                iam.PolicyStatement(actions=["s3:GetObject"], resources=[self.bucket.arn_for_objects("*")]),
                iam.PolicyStatement(actions=["s3:ListBucket"], resources=[self.bucket.bucket_arn]),
            ]
        folder = FOLDERS[grant]
        return [
            iam.PolicyStatement(
                actions=[
                    "s3:AbortMultipartUpload",
                    "s3:DeleteObject",
                    "s3:GetObject",
                    "s3:ListMultipartUploadParts",
                    "s3:PutObject",
                ],
                resources=[self.bucket.arn_for_objects(f"{folder}*")],
            ),
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[self.bucket.bucket_arn],
                conditions={"StringLike": {"s3:prefix": f"{folder}*"}},
            ),
        ]


def secret_arn(context: Context, setting: str) -> str:
    """Where a setting's value is, without the six characters that Secrets Manager adds: so a secret that was made anew is
    found too, and no stack exports anything to another. GetSecretValue takes it, as no name of ours ends like one of
    those additions.
    Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen"""
    secret = AURORA if setting == "DATABASE_URL" and context.database == "aurora" else secret_of(setting)
    assert secret is not None, setting
    return f"arn:{Aws.PARTITION}:secretsmanager:{Aws.REGION}:{Aws.ACCOUNT_ID}:secret:{context.names.secret(secret)}"


def read_secrets(context: Context, settings: tuple[str, ...]) -> iam.PolicyStatement:
    """May read the secrets that hold these settings; IAM needs the six characters that Secrets Manager adds."""
    wanted = {secret_of(setting) for setting in settings}
    arns = [f"{secret_arn(context, SECRETS[name][0])}-??????" for name in SECRETS if name in wanted]
    return iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=arns)


def read_urls(stage: Stage) -> iam.PolicyStatement:
    """May read where the functions of the stage answer."""
    path = parameter_arn(stage.urls_path.rstrip("/"))
    return iam.PolicyStatement(actions=["ssm:GetParametersByPath"], resources=[path, f"{path}/*"])


def parameter_arn(name: str) -> str:
    """Of a parameter, or of a path of them."""
    return f"arn:{Aws.PARTITION}:ssm:{Aws.REGION}:{Aws.ACCOUNT_ID}:parameter{name}"


def write_logs(log_group_arn: str) -> iam.PolicyStatement:
    """May write one log group; it exists, so nothing may create one."""
    return iam.PolicyStatement(actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[log_group_arn])


def join_network() -> iam.PolicyStatement:
    """May have a network interface in a VPC. Lambda asks for it on `*`, for the interface has no name before it exists.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html"""
    return iam.PolicyStatement(
        sid="NetworkInterfaces",
        actions=[
            "ec2:AssignPrivateIpAddresses",
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:UnassignPrivateIpAddresses",
        ],
        resources=["*"],
    )
