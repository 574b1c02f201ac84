"""A deployed stage, as far as moto's server has it: secrets, parameters, stacks, alarms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import boto3

from infra.stage import SECRETS, Stage
from tests.moto import clear

REGION = "eu-central-1"
STAGE = Stage("jobs", "prod")


class Cloud:
    """AWS with the secrets' stack of the stage `prod`; all secrets are empty."""

    def __init__(self, url: str) -> None:
        self.url = url
        clear(url, REGION)
        for name in SECRETS:
            self.client("secretsmanager").create_secret(Name=STAGE.secret(name))

    @property
    def environment(self) -> dict[str, str]:
        """What a person's shell has."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def held(self, name: str, label: str = "AWSCURRENT") -> dict[str, Any] | None:
        """What a secret holds."""
        client = self.client("secretsmanager")
        try:
            answer = client.get_secret_value(SecretId=STAGE.secret(name), VersionStage=label)
        except client.exceptions.ResourceNotFoundException:
            return None
        found: dict[str, Any] = json.loads(answer["SecretString"])
        return found

    def fill(self, name: str, value: Mapping[str, Any] | str) -> None:
        """As AWS's console would."""
        text = value if isinstance(value, str) else json.dumps(value)
        self.client("secretsmanager").put_secret_value(SecretId=STAGE.secret(name), SecretString=text)

    def deploy(self, **settings: str) -> None:
        """Write down what the application's stack writes: where secrets are, and these."""
        arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:"
        written = {
            "JOBS_METRICS_NAMESPACE": STAGE.metrics_namespace,
            "JOBS_SCHEDULE_PREFIX": STAGE.prefix,
            "JOBS_URLS_PATH": STAGE.urls_path,
            **{one: f"{arn}{STAGE.secret(name)}" for name, held in SECRETS.items() for one in held},
            **settings,
        }
        self.client("ssm").put_parameter(
            Name=STAGE.settings_parameter, Value=json.dumps(written), Type="String", Overwrite=True
        )

    def publish(self, function: str, url: str) -> None:
        """A function's address."""
        self.client("ssm").put_parameter(Name=f"{STAGE.urls_path}{function}", Value=url, Type="String", Overwrite=True)


def versions(cloud: Cloud, name: str) -> int:
    """How often a secret was written."""
    answer = cloud.client("secretsmanager").list_secret_version_ids(SecretId=STAGE.secret(name), IncludeDeprecated=True)
    return len([one for one in answer["Versions"] if one.get("VersionStages") is not None])
