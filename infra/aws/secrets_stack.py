"""The secrets of a stage, in a stack of their own: made empty, filled by `jobs secrets put`, and kept whatever happens.

The application's migrations and schedules need them filled, so this stack comes first; nothing is exported, as names say
where a secret is, and filling one asks for no deployment.
"""

from __future__ import annotations

from typing import Any

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.aws.context import Context
from infra.aws.served_function import construct_id
from infra.stage import AURORA, MADE_BY_AWS, SECRETS

DATABASE_USER = "jobs"

_NO_QUOTES = "\"'@/\\:?#[]%&+ `$<>|;!*(){}~^,="
"""Not in a password, which stands in addresses and in JSON."""


class SecretsStack(Stack):
    """One secret for each concern of `infra.stage.SECRETS`."""

    def __init__(self, scope: Construct, context: Context, **options: Any) -> None:
        stage = context.names
        super().__init__(scope, "Secrets", stack_name=stage.stack("secrets"), **options)
        described = {name: f"{', '.join(settings)}, as JSON by name" for name, settings in SECRETS.items()}
        if context.database == "aurora":
            described[AURORA] = "What Aurora is opened with, as RDS writes it down"
        for name, description in described.items():
            # CDK's own construct would make up a value. Without any, CloudFormation leaves a secret empty:
            # https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html
            made = secretsmanager.CfnSecret(
                self,
                construct_id(name),
                name=stage.secret(name),
                description=description,
                generate_secret_string=_made_up(name),
            )
            made.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)


def _made_up(name: str) -> secretsmanager.CfnSecret.GenerateSecretStringProperty | None:
    if name == MADE_BY_AWS:
        return secretsmanager.CfnSecret.GenerateSecretStringProperty(
            secret_string_template="{}",
            generate_string_key=SECRETS[name][0],
            password_length=64,
            exclude_punctuation=True,
        )
    if name == AURORA:  # the database stack adds where the database is
        return secretsmanager.CfnSecret.GenerateSecretStringProperty(
            secret_string_template=f'{{"username": "{DATABASE_USER}"}}',
            generate_string_key="password",
            password_length=40,
            exclude_characters=_NO_QUOTES,
        )
    return None
