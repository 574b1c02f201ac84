"""AWS as a function sees it: Secrets Manager and Parameter Store, by moto's server, with an outage at hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from qstash_jobs import secrets
from tests.conftest import forget
from tests.moto import clear

REGION = "eu-central-1"
AWAY = "http://127.0.0.1:9"


@dataclass
class Clock:
    """Time that a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Aws:
    """The services, and the settings that lead to them."""

    url: str
    environment: pytest.MonkeyPatch

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.url, region_name=REGION)

    def keep(self, secret: str, value: object) -> str:
        """Fill a secret; its ARN."""
        text = value if isinstance(value, str) else json.dumps(value)
        client = self.client("secretsmanager")
        try:
            return str(client.create_secret(Name=secret, SecretString=text)["ARN"])
        except client.exceptions.ResourceExistsException:
            return str(client.put_secret_value(SecretId=secret, SecretString=text)["ARN"])

    def publish(self, name: str, value: str) -> None:
        """Write a parameter."""
        self.client("ssm").put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def set(self, **variables: str) -> None:
        """Set variables of the environment, and let the process read them anew."""
        for name, value in variables.items():
            self.environment.setenv(name, value)
        forget()

    def leave(self) -> None:
        """An outage begins."""
        for service in ("SECRETS_MANAGER", "SSM"):
            self.environment.setenv(f"AWS_ENDPOINT_URL_{service}", AWAY)

    def return_(self) -> None:
        """It ends."""
        for service in ("SECRETS_MANAGER", "SSM"):
            self.environment.setenv(f"AWS_ENDPOINT_URL_{service}", self.url)


@pytest.fixture(params=["in Lambda", "elsewhere"])
def aws(request: pytest.FixtureRequest, s3_url: str, environment: pytest.MonkeyPatch) -> Iterator[Aws]:
    """Once as Lambda asks, with requests signed by hand, and once as boto3 does elsewhere."""
    clear(s3_url, REGION)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SESSION_TOKEN": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        environment.setenv(name, value)
    if request.param == "in Lambda":
        environment.setenv("AWS_LAMBDA_FUNCTION_NAME", "jobs-prod-probe")
    else:
        environment.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    found = Aws(s3_url, environment)
    found.return_()
    forget()
    yield found
    forget()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the time of whatever was kept: `clock(300)`."""
    time = Clock()
    kept = secrets.Secrets(time)
    monkeypatch.setattr(secrets, "kept", lambda: kept)
    made: dict[str, secrets.PublishedUrls] = {}
    monkeypatch.setattr(secrets, "published", lambda path: made.setdefault(path, secrets.PublishedUrls(path, time)))

    def move(seconds: float) -> None:
        time.now += seconds

    return move
