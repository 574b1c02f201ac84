"""The secrets of a stage in Secrets Manager, as a person reads and writes them: JSON objects by the names of settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infra.cli.aws import Account, AwsFailed, NotThere, moment_of, spoken
from infra.stage import AURORA, SECRETS, Stage

CURRENT = "AWSCURRENT"
PREVIOUS = "AWSPREVIOUS"
OF_RDS = ("username", "password", "host")
"""What the secret of a database holds that RDS made, in the place of a DSN."""


@dataclass(frozen=True)
class Version:
    """One version of a secret. What it holds is never shown."""

    held: Mapping[str, Any] = field(repr=False)
    id: str
    labels: frozenset[str]
    written_at: datetime
    asked_at: datetime
    """By AWS's clock."""

    def missing(self, name: str) -> list[str]:
        """The settings of a secret that it does not hold."""
        if name == "database" and all(self.held.get(part) for part in OF_RDS):
            return []
        return [setting for setting in SECRETS[name] if not self.value(setting)]

    def value(self, setting: str) -> Any:
        """What is held for a setting. A secret with one setting may be its bare value, typed into AWS's console."""
        alone = (setting,) in SECRETS.values()
        return self.held.get(setting) or (self.held.get("") if alone else None)


class SecretStore:
    """The secrets of one stage."""

    def __init__(self, account: Account, stage: Stage) -> None:
        self._account = account
        self._stage = stage

    def read(self, name: str, label: str = CURRENT) -> Version | None:
        """A version of a secret; None when there is none with this label, as in a secret that is still empty.

        Raises `AwsFailed`: `NotThere` when the secret itself is missing.
        """
        full = self._stage.secret(name)
        try:
            with spoken(f"read the secret {full}"):
                answer = self._client.get_secret_value(SecretId=full, VersionStage=label)
        except NotThere:
            self.changed_at(name)
            return None
        return Version(
            held=_held(answer.get("SecretString", "")),
            id=answer["VersionId"],
            labels=frozenset(answer["VersionStages"]),
            written_at=answer["CreatedDate"],
            asked_at=moment_of(answer),
        )

    def changed_at(self, name: str) -> datetime | None:
        """When the secret was last written, as far as its description says; None for an empty one.

        Raises `AwsFailed`: `NotThere` when the secret itself is missing.
        """
        full = self._stage.secret(name)
        try:
            with spoken(f"look at the secret {full}"):
                answer: dict[str, Any] = self._client.describe_secret(SecretId=full)
        except NotThere:
            raise NotThere(
                f"there is no secret {full} in {self._account.region}. Is the region right (--region), and the account "
                f"(--profile)? The secrets of a stage are made, empty, by: make deploy-secrets STAGE={self._stage.name}"
            ) from None
        if answer.get("DeletedDate"):
            raise AwsFailed(
                f"the secret {full} is to be deleted; keep it with: aws secretsmanager restore-secret --secret-id {full}"
            )
        labels = (answer.get("VersionIdsToStages") or {}).values()
        return answer.get("LastChangedDate") if any(CURRENT in one for one in labels) else None

    def missing(self, name: str, version: Version | None) -> list[str]:
        """The settings that a secret does not hold; none where Aurora is opened with a secret of its own. Raises
        `AwsFailed`."""
        missing = version.missing(name) if version else list(SECRETS[name])
        return [] if missing and name == "database" and self._has_aurora() else missing

    def _has_aurora(self) -> bool:
        try:
            return self.changed_at(AURORA) is not None
        except NotThere:
            return False

    def write(self, name: str, held: Mapping[str, Any], *, label: str | None = None) -> None:
        """A new version, which is the current one from now on; with another label beside that. Raises `AwsFailed`."""
        with spoken(f"write the secret {self._stage.secret(name)}"):
            self._client.put_secret_value(
                SecretId=self._stage.secret(name),
                SecretString=json.dumps(held, ensure_ascii=False),
                VersionStages=[CURRENT, *([label] if label else [])],
            )

    def claim(self, name: str, version_id: str, held: Mapping[str, Any], *, label: str) -> bool:
        """Write a version of this id, which is not the current one; False when there is one of this id with another
        content: of two who claim the same id, one gets it. Raises `AwsFailed`.

        Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
        """
        from botocore.exceptions import ClientError

        with spoken(f"write the secret {self._stage.secret(name)}"):
            try:
                self._client.put_secret_value(
                    SecretId=self._stage.secret(name),
                    SecretString=json.dumps(held),
                    ClientRequestToken=version_id,
                    VersionStages=[label],
                )
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceExistsException":
                    return False
                raise
        return True

    @property
    def _client(self) -> Any:
        return self._account.client("secretsmanager")


def _held(text: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"": value if isinstance(value, str) else text}
