"""What things of one stage are called: secrets, parameters, stacks, schedules, metrics.

Pure: CDK names by it what it deploys, and the command `jobs` and the deployment's functions find by it what is deployed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = re.compile(r"(?!aws|ssm)[a-z](-?[a-z0-9]){0,29}")
"""Parameter Store keeps names that begin with aws or ssm to itself, and RDS takes no hyphen behind another or at the end.
Sources: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html,
https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBCluster.html"""

SECRETS: dict[str, tuple[str, ...]] = {
    "qstash-token": ("QSTASH_TOKEN",),
    "signing-keys": ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"),
    "database": ("DATABASE_URL",),
    "resend": ("RESEND_API_KEY",),
    "link-key": ("JOBS_LINK_KEY",),
    "stripe-webhook": ("STRIPE_WEBHOOK_SECRET",),
    "resend-webhook": ("RESEND_WEBHOOK_SECRET",),
    "custom-webhooks": ("CUSTOM_WEBHOOK_SECRETS",),
}
"""The secrets of a stage, and the settings whose values each holds, as a JSON object by their names. One for each
concern, so that each function is given what it needs and no more."""

REQUIRED = ("qstash-token", "signing-keys", "database")
"""Without these no job runs, so a deployment stops when one is empty."""

AURORA = "aurora"
"""What the database of a stage with Aurora is opened with, in RDS's own shape. Not in the secret `database`, whose DSN
another Postgres is reached by until the functions have changed over, and afterwards if they change back."""

MADE_BY_AWS = "link-key"
"""Nobody else needs to know it, so Secrets Manager makes it up."""


@dataclass(frozen=True)
class Stage:
    """One deployment of the app, e.g. `Stage("jobs", "prod")`. Raises `ValueError` for a name that AWS would refuse."""

    app: str
    name: str

    def __post_init__(self) -> None:
        for word in (self.app, self.name):
            if not _WORD.fullmatch(word) or len(word) > 30:
                raise ValueError(
                    "a name here is lower-case letters, digits and single hyphens between them, at most 30, and does not "
                    f"begin with aws or ssm: not {word!r}"
                )

    @property
    def prefix(self) -> str:
        """Begins the names of functions, alarms and schedules, e.g. `jobs-prod`."""
        return f"{self.app}-{self.name}"

    @property
    def urls_path(self) -> str:
        """The SSM path below which each function's address is, by the function's name."""
        return f"/{self.app}/{self.name}/urls/"

    @property
    def layer_parameter(self) -> str:
        """The SSM parameter with the ARN of the layer, for app services that are Lambda functions themselves."""
        return f"/{self.app}/{self.name}/layer-arn"

    @property
    def settings_parameter(self) -> str:
        """The SSM parameter with the plain settings of the stage, as JSON: addresses and names, no secrets."""
        return f"/{self.app}/{self.name}/settings"

    @property
    def metrics_namespace(self) -> str:
        """CloudWatch's namespace, e.g. `jobs/prod`."""
        return f"{self.app}/{self.name}"

    @property
    def database_host_parameter(self) -> str:
        """The SSM parameter with the host that Aurora is reached at: the cluster's, or its proxy's."""
        return f"/{self.app}/{self.name}/database-host"

    def secret(self, name: str) -> str:
        """The name of a secret in Secrets Manager, e.g. `jobs/prod/database`."""
        if name not in {*SECRETS, AURORA}:
            raise ValueError(f"there is no secret {name!r}; there are {', '.join([*SECRETS, AURORA])}")
        return f"{self.app}/{self.name}/{name}"

    def stack(self, part: str = "") -> str:
        """The name of a CloudFormation stack: `jobs-prod`, `jobs-prod-secrets`, `jobs-prod-database`."""
        return f"{self.prefix}-{part}" if part else self.prefix


def secret_of(setting: str) -> str | None:
    """The secret that holds a setting's value, or None for one that is no secret."""
    return next((name for name, settings in SECRETS.items() if setting in settings), None)
