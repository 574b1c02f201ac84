"""What `jobs secrets put` is about to write: values that were looked at, beside those that are there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from infra.cli import secret_values
from infra.cli.secret_store import SecretStore, Version
from infra.cli.secret_values import KEYS
from infra.stage import SECRETS, Stage, secret_of

PURPOSE = {
    "qstash-token": "publishing: whatever enqueues, schedules",
    "signing-keys": "every delivery",
    "database": "every job",
    "resend": "mail",
    "link-key": "links to files; Secrets Manager makes it",
    "stripe-webhook": "Stripe's webhooks",
    "resend-webhook": "Resend's webhooks",
    "custom-webhooks": "webhooks of senders of your own",
}


@dataclass
class Form:
    """What is to be written, as far as it is known."""

    stage: Stage
    secrets: list[str]
    now: dict[str, Version | None]
    check: bool
    qstash_url: str | None
    values: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    _account: secret_values.Account | None = None

    def held(self, setting: str) -> Any:
        """The value that there will be, or is."""
        name = secret_of(setting)
        version = self.now.get(name or "")
        return self.values.get(setting) or (version.value(setting) if version else None)

    def take(self, setting: str, value: str) -> None:
        """Take a value, once it holds what it promises. Raises `NotRight` and `PublishFailed`."""
        value = secret_values.cleaned(setting, value)
        if self.check and setting == "QSTASH_TOKEN":
            self._account = self._ask_qstash(value)
        if self.check and setting == "DATABASE_URL":
            self.said.append(secret_values.database_says(value))
        self.values[setting] = secret_values.as_kept(setting, value)

    def senders(self) -> dict[str, Any]:
        """The senders of one's own that there are: an object, or its JSON as text."""
        held = self.held("CUSTOM_WEBHOOK_SECRETS")
        if isinstance(held, str):
            try:
                held = json.loads(held)
            except (ValueError, RecursionError):
                held = None
        return dict(held) if isinstance(held, dict) else {}

    def qstash(self) -> secret_values.Account | None:
        """The QStash account of the token, if there is one. Raises `NotRight` and `PublishFailed`."""
        token = self.held("QSTASH_TOKEN")
        if self._account is None and token and self.check:
            self._account = self._ask_qstash(str(token))
        return self._account

    def check_keys(self) -> None:
        """That the keys which there will be are a pair, and QStash's. Raises `NotRight` and `PublishFailed`."""
        secret_values.check_keys({name: self.held(name) for name in KEYS}, self.qstash())

    def write(self, store: SecretStore) -> list[str]:
        """Write what was taken, where it differs; the secrets that were written. Raises `AwsFailed`."""
        written = []
        for name, settings in SECRETS.items():
            values = {setting: self.values[setting] for setting in settings if setting in self.values}
            version = self.now.get(name)
            held = dict(version.held) if version else {}
            held.pop("", None)  # a bare value gives way to the object
            if values and (version is None or {**held, **values} != version.held):
                store.write(name, {**held, **values})
                written.append(name)
        return written

    def _ask_qstash(self, token: str) -> secret_values.Account:
        found = secret_values.qstash_account(token, self.qstash_url, prefix=self.stage.prefix)
        self.said.append(f"QStash at {found.url} takes the token")
        if self.qstash_url is None:
            self.said.append(f"deploy with qstash_url={found.url}, e.g. in the context of cdk.json")
        if found.foreign:
            self.said.append(
                f"the QStash account also has schedules of {', '.join(found.foreign)}; a stage should have an account of "
                "its own, since keys, limits and dead letters are the account's"
            )
        return found


def needed_by(name: str) -> str:
    """In a few words, with the job types that ask for it themselves."""
    from qstash_jobs.job import registry

    types = sorted(one.options.name for one in registry.contracts() if set(one.options.secrets) & set(SECRETS[name]))
    return f"{PURPOSE[name]}: {', '.join(types)}" if types else PURPOSE[name]
