"""A stage as a deployment makes it: secrets and addresses at AWS (moto), each function with its own variables, and QStash."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx

from infra.aws.functions import WEB, of_job
from infra.local.mailbox import Mailbox
from infra.local.qstash import QStashServer
from infra.local.s3 import make_bucket
from infra.stage import Stage, secret_of
from qstash_jobs.job import registry
from tests.runtime.environment import Place, RuntimeEnvironment
from tests.runtime.unpacked import Unpacked
from tests.runtime.urls import FunctionUrls, domain
from tests.waiting import until

STAGE = Stage("jobs", "test")

DEPLOYED = {one.name: one for one in (*(of_job(contract.options) for contract in registry.contracts()), *WEB)}
"""What the stack makes of them: so a function that lacks a variable there lacks it here."""

OF_THE_DEPLOYMENT: Mapping[str, tuple[str, ...]] = {
    "deployment-schedule": ("QSTASH_TOKEN",),
    "deployment-migrate": ("DATABASE_URL",),
    "deployment-canary": ("QSTASH_TOKEN", "DATABASE_URL"),
}
"""The secrets of the functions that CloudFormation asks."""

WEBHOOK_SECRETS = {
    "STRIPE_WEBHOOK_SECRET": "whsec_of_a_stage_that_is_tested",
    "RESEND_WEBHOOK_SECRET": "whsec_" + "c2VjcmV0IG9mIGEgc3RhZ2UgdGhhdCBpcyB0ZXN0ZWQ=",
    "CUSTOM_WEBHOOK_SECRETS": {"crm": "whsec_" + "c2VjcmV0IG9mIGEgc3RhZ2UgdGhhdCBpcyB0ZXN0ZWQ="},
}


@dataclass
class DeployedStage:
    """What is deployed, on this machine. Environments start at the first request, and stay."""

    place: Place
    unpacked: Unpacked
    database_url: str
    aws_url: str
    parts: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    environments: dict[str, RuntimeEnvironment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.urls = FunctionUrls(self.environment)
        self.parts.callback(self.urls.stop)
        self.mailbox = self.parts.enter_context(Mailbox())
        self.functions = sorted(name.replace("_", "-") for name in self.unpacked.tasks if name != "deployment")
        self.qstash = self.parts.enter_context(
            QStashServer(host_map={self.address(name): f"{self.urls.url}/{name}" for name in self.functions})
        )
        self.bucket = f"jobs-{secrets.token_hex(4)}"
        make_bucket(self.aws_url, self.bucket)
        self.values: dict[str, Any] = {
            "QSTASH_TOKEN": self.qstash.token,
            "QSTASH_CURRENT_SIGNING_KEY": self.qstash.current_signing_key,
            "QSTASH_NEXT_SIGNING_KEY": self.qstash.next_signing_key,
            "DATABASE_URL": self.database_url,
            "RESEND_API_KEY": "re_test",
            "JOBS_LINK_KEY": secrets.token_hex(32),
            **WEBHOOK_SECRETS,
        }
        self.arns = self._put_secrets()
        self._publish_addresses()

    def address(self, function: str) -> str:
        """Where a function answers, as AWS would have it."""
        return f"https://{domain(function)}"

    def forget_messages(self) -> None:
        """Let QStash hold nothing more of what was enqueued and scheduled, and nothing be on its way."""
        with httpx.Client(base_url=self.qstash.url, headers={"Authorization": f"Bearer {self.qstash.token}"}) as client:
            for schedule in client.get("/v2/schedules").raise_for_status().json():
                client.delete(f"/v2/schedules/{schedule['scheduleId']}").raise_for_status()
            client.delete("/v2/messages").raise_for_status()
        until(lambda: not any(self.urls.busy(name) for name in self.environments))

    def stop(self) -> None:
        """End everything that was started."""
        for environment in self.environments.values():
            environment.stop()
        self.parts.close()

    def environment(self, function: str) -> RuntimeEnvironment:
        """The function's environment."""
        if function not in self.environments:
            self.environments[function] = self.start(function)
        return self.environments[function]

    def start(
        self,
        function: str,
        *,
        task: Path | None = None,
        handler: str | None = None,
        timeout: timedelta | None = None,
        **variables: str,
    ) -> RuntimeEnvironment:
        """A further environment of a function; `variables` replace those that it would have."""
        folder = function.replace("-", "_")
        of = DEPLOYED.get(function)
        place = Place(
            emulator=self.place.emulator,
            task=task or self.unpacked.tasks[folder],
            opt=self.place.opt,
            runtime=self.place.runtime,
        )
        return RuntimeEnvironment(
            place,
            handler or f"functions.{folder}.handler.handler",
            name=f"{STAGE.prefix}-{function}",
            variables={**self.variables(function), **variables},
            timeout=timeout or (of.timeout if of else timedelta(seconds=30)),
            memory=of.memory if of else 512,
        )

    def start_of_deployment(self, name: str, **variables: str) -> RuntimeEnvironment:
        """One of the functions that CloudFormation asks: `schedule`, `migrate` or `canary`."""
        return self.start(
            f"deployment-{name}",
            task=self.unpacked.tasks["deployment"],
            handler=f"infra.deployment.{name}.handler",
            timeout=timedelta(seconds=60),
            **variables,
        )

    def variables(self, function: str) -> dict[str, str]:
        """As the stack sets them: no secret's value, and of the secrets no more than the function needs."""
        of = DEPLOYED.get(function)
        names = of.secrets if of else OF_THE_DEPLOYMENT[function]
        named = {name: self.arns[secret] for name in names if (secret := secret_of(name))}
        if of and any(grant.startswith("s3:") for grant in of.grants):
            named["JOBS_BUCKET"] = self.bucket
        return named | {
            "QSTASH_URL": self.qstash.url,
            "QSTASH_PLAN": "payg",
            "JOBS_URLS_PATH": STAGE.urls_path,
            "JOBS_SCHEDULE_PREFIX": STAGE.prefix,
            "JOBS_METRICS_NAMESPACE": STAGE.metrics_namespace,
            "JOBS_PROBE": "true",
            "RESEND_API_URL": self.mailbox.url,
            "EMAIL_FROM": "Northwind <hello@northwind.example>",
            "PRODUCT_NAME": "Northwind",
            "AWS_ENDPOINT_URL": self.aws_url,
        }

    def _put_secrets(self) -> dict[str, str]:
        """The secrets' ARNs, by their names within the stage."""
        client = self.client("secretsmanager")
        held: dict[str, dict[str, Any]] = {}
        for name, value in self.values.items():
            held.setdefault(secret_of(name) or "", {})[name] = value
        return {secret: self.put_secret(secret, content, client) for secret, content in held.items()}

    def put_secret(self, secret: str, content: Mapping[str, Any], client: Any = None, suffix: str = "") -> str:
        """Create a secret, or fill it anew; its ARN."""
        client = client or self.client("secretsmanager")
        name, text = STAGE.secret(secret) + suffix, json.dumps(content)
        try:
            return str(client.create_secret(Name=name, SecretString=text)["ARN"])
        except client.exceptions.ResourceExistsException:
            return str(client.put_secret_value(SecretId=name, SecretString=text)["ARN"])

    def _publish_addresses(self) -> None:
        client = self.client("ssm")
        for name in self.functions:  # with the slash at the end that AWS's have
            client.put_parameter(
                Name=STAGE.urls_path + name, Value=f"{self.address(name)}/", Type="String", Overwrite=True
            )

    def client(self, service: str) -> Any:
        """boto3's client of moto's server."""
        return boto3.client(
            service,
            endpoint_url=self.aws_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
