"""Everything that can be set, as one frozen object that is read once from the environment.

Nothing else in this package reads `os.environ`, but for what AWS's own libraries read. A setting may name, in the place
of its value, the secret that holds it: `arn:aws:secretsmanager:…`, a JSON object with the value under the setting's name;
it is read when it is needed, and again when it has become old. A setting that is missing or malformed stops the start with a sentence
that names it and says where to get it.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError
from pydantic import BeforeValidator as Before

from qstash_jobs import secrets
from qstash_jobs.errors import ConfigurationError


def _http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s]*)?", value):
        raise ValueError("it must be an address like https://example.com")
    return value.rstrip("/")


def _qstash_url(value: str) -> str:
    if re.search(r"/v\d", value):
        raise ValueError("it is the address alone, without /v2/publish")
    return _http_url(value)


def _word(value: SecretStr) -> SecretStr:
    """A header carries it, and what refuses such a header quotes it."""
    token = value.get_secret_value().strip()
    if not re.fullmatch(r"[!-~]+", token):
        raise ValueError("it is one word of letters, digits and signs, without blanks and line breaks")
    return SecretStr(token)


def _signing_key(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().isprintable() or len(value.get_secret_value()) < 16:
        raise ValueError("a signing key is `sig_` and 28 letters and digits")
    return value


def _dsn(value: SecretStr) -> SecretStr:
    if not re.match(r"postgres(ql)?(\+\w+)?://", value.get_secret_value()):
        raise ValueError("it must begin with postgresql://")
    return value


def _object(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from None


def _seconds(value: object) -> object:
    try:
        return timedelta(seconds=float(value)) if isinstance(value, str) else value
    except (ValueError, OverflowError):
        raise ValueError(f"it is a number of seconds, not {value!r}") from None


def _link_key(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < 32:
        raise ValueError("it must have 32 characters or more")
    return value


def _address(value: str) -> str:
    if "@" not in value or any(ord(character) < 32 for character in value):
        raise ValueError("it must be an address, plain or as `Name <name@example.com>`")
    return value


Url = Annotated[str, AfterValidator(_http_url)]
Address = Annotated[str, AfterValidator(_address)]
Seconds = Annotated[
    timedelta,
    Before(_seconds),
    Field(gt=timedelta(0), le=timedelta(days=24)),  # Postgres counts milliseconds in 32 bits
]
Key = Annotated[SecretStr, AfterValidator(_signing_key)]


@dataclass(frozen=True)
class Limits:
    """What a QStash plan allows. Limits are never constants in the code: QStash changes them, plans differ."""

    retries: int
    """The most that `Upstash-Retries` may say."""
    delay: timedelta
    """The longest delay of a message; longer ones wait in the row."""
    batch: int = 100
    """Messages in one batch call."""


LIMITS = {
    "free": Limits(retries=5, delay=timedelta(days=7)),
    "payg": Limits(retries=5, delay=timedelta(days=365)),
}

FAILURE_CALLBACK = "failure-callback"
"""The function that QStash tells of a message that it gave up; its address is set like those of the job types."""

DOWNLOAD = "download"
"""The function that the links to files lead to; its address is set likewise."""

RDS_CA = Path(__file__).with_name("rds-ca.pem")
"""The certificate authorities of RDS. Source: https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"""

SECRET_ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:.+")

SecretName = Literal[
    "QSTASH_TOKEN",
    "QSTASH_CURRENT_SIGNING_KEY",
    "QSTASH_NEXT_SIGNING_KEY",
    "DATABASE_URL",
    "RESEND_API_KEY",
    "JOBS_LINK_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "RESEND_WEBHOOK_SECRET",
    "CUSTOM_WEBHOOK_SECRETS",
]
"""The settings whose value may be kept in a secret."""

Needed = SecretName | Literal["JOBS_BUCKET"]
"""The settings that not everybody needs, and that those who do cannot do without."""


class Settings(BaseModel):
    """Everything that can be set."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, extra="ignore", populate_by_name=True, defer_build=True
    )

    qstash_url: Annotated[str, AfterValidator(_qstash_url)] = Field("https://qstash.upstash.io", alias="QSTASH_URL")
    """Where QStash answers: the Upstash console shows it beside the token. Each region has its own."""
    qstash_token: Annotated[SecretStr, AfterValidator(_word)] | None = Field(None, alias="QSTASH_TOKEN")
    """The token that publishes: Upstash console, QStash, `QSTASH_TOKEN`."""
    qstash_current_signing_key: Key | None = Field(None, alias="QSTASH_CURRENT_SIGNING_KEY")
    """Verifies what QStash delivers: Upstash console, QStash, Signing Keys."""
    qstash_next_signing_key: Key | None = Field(None, alias="QSTASH_NEXT_SIGNING_KEY")
    """The key that follows at the next rotation: Upstash console, QStash, Signing Keys."""
    qstash_timeout: Seconds = Field(timedelta(seconds=5), alias="QSTASH_TIMEOUT")
    """How long a call that enqueues waits for QStash before it leaves the job to the relay, in seconds."""
    qstash_plan: Literal["free", "payg"] = Field("free", alias="QSTASH_PLAN")
    """The plan, for its limits."""
    database_url: Annotated[SecretStr, AfterValidator(_dsn)] | None = Field(None, alias="DATABASE_URL")
    """Postgres, as its provider prints it: postgresql://user:password@host:5432/name?sslmode=require"""
    database_timeout: Seconds = Field(timedelta(seconds=5), alias="DATABASE_TIMEOUT")
    """How long a statement may take, in seconds; the connection gives up a second later."""
    database_host: str | None = Field(None, alias="JOBS_DATABASE_HOST", min_length=1)
    """Where Postgres is, in the place of the host in a secret that RDS made: an RDS Proxy."""
    database_ca: str = Field("system", alias="JOBS_DATABASE_CA", min_length=1)
    """The certificate authorities of a Postgres whose secret RDS made: `rds`, those of RDS; `system`; or a file."""
    jobs_base_url: Url | None = Field(None, alias="JOBS_BASE_URL")
    """Where the functions answer, each at this address + `/<job-type>`; or set JOBS_URLS."""
    jobs_urls: Annotated[dict[str, Url], Before(_object)] = Field(default_factory=dict, alias="JOBS_URLS")
    """Where each function answers, as JSON: {"send-email": "https://….lambda-url.eu-central-1.on.aws/"}"""
    jobs_urls_path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./-]+/$")] | None = Field(None, alias="JOBS_URLS_PATH")
    """Where each function answers, as the deployment writes it: the path in Parameter Store, e.g. /jobs/prod/urls/"""
    schedule_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,50}$")] = Field(
        "jobs", alias="JOBS_SCHEDULE_PREFIX"
    )
    """Begins the id of each declared schedule, so that `jobs schedules apply` removes its own only: one a stage."""
    metrics_namespace: str = Field("QStashJobs", alias="JOBS_METRICS_NAMESPACE", min_length=1, max_length=255)
    """The CloudWatch namespace of the metrics."""
    probe: bool = Field(False, alias="JOBS_PROBE")
    """Whether the built-in `probe` job may fail on purpose; set on the desk only."""
    time_scale: float = Field(1.0, alias="JOBS_TIME_SCALE", gt=0, allow_inf_nan=False)
    """Divides every wait that the record owns (backoff, grace, publication delay); for the desk and for tests."""
    lease_grace: Seconds = Field(timedelta(seconds=30), alias="JOBS_LEASE_GRACE")
    """How long after a lease has ended `reconcile-jobs` frees it, in seconds."""
    delivery_grace: Seconds = Field(timedelta(minutes=2), alias="JOBS_DELIVERY_GRACE")
    """How long a delivery may be overdue before `reconcile-jobs` asks QStash about its message, in seconds."""
    publication_delay: Seconds = Field(timedelta(seconds=30), alias="JOBS_PUBLICATION_DELAY")
    """The wait before a lost message is published again, in seconds; it doubles with each loss, up to an hour."""
    jobs_bucket: str | None = Field(None, alias="JOBS_BUCKET", min_length=3, max_length=63)
    """The S3 bucket that holds the files which jobs make."""
    jobs_link_key: Annotated[SecretStr, AfterValidator(_link_key)] | None = Field(None, alias="JOBS_LINK_KEY")
    """Signs the links to files: 32 characters or more that nobody can guess, e.g. of `openssl rand -hex 32`."""
    link_life: Seconds = Field(timedelta(days=7), alias="JOBS_LINK_LIFE")
    """How long a link to a file is good for, in seconds."""
    stripe_webhook_secret: SecretStr | None = Field(None, alias="STRIPE_WEBHOOK_SECRET")
    """Verifies Stripe's events: Stripe dashboard, Webhooks, the endpoint's signing secret (`whsec_…`)."""
    resend_webhook_secret: SecretStr | None = Field(None, alias="RESEND_WEBHOOK_SECRET")
    """Verifies Resend's events: Resend dashboard, Webhooks, the webhook's signing secret (`whsec_…`)."""
    custom_webhook_secrets: Annotated[dict[str, SecretStr], Before(_object)] = Field(
        default_factory=dict, alias="CUSTOM_WEBHOOK_SECRETS"
    )
    """Verify the events of senders of one's own, by their names, as JSON: {"crm": "whsec_…"}"""
    notify_email: Address | None = Field(None, alias="JOBS_NOTIFY_EMAIL")
    """Who is told by e-mail when a job has failed for good."""
    notify_topic: str | None = Field(None, alias="JOBS_NOTIFY_TOPIC")
    """The ARN of the SNS topic that is told when a job has failed for good."""
    resend_api_key: Annotated[SecretStr, AfterValidator(_word)] | None = Field(None, alias="RESEND_API_KEY")
    """Sends mail: https://resend.com/api-keys"""
    resend_api_url: Url = Field("https://api.resend.com", alias="RESEND_API_URL")
    """Where Resend answers; the desk's mailbox stands in for it."""
    email_from: Address = Field("Acme <onboarding@resend.dev>", alias="EMAIL_FROM")
    """The sender of every mail; its domain must be verified at Resend."""
    email_reply_to: Address | None = Field(None, alias="EMAIL_REPLY_TO")
    """Where answers to a mail go."""
    product_name: str = Field("Acme", alias="PRODUCT_NAME", min_length=1)
    """The product's name, as mails show it."""
    app_url: Url = Field("https://example.com", alias="APP_URL")
    """The app's address, as mails link to it."""
    support_email: Address = Field("support@example.com", alias="SUPPORT_EMAIL")
    """Where people get help, as mails show it."""

    _kept: dict[str, str] = PrivateAttr(default_factory=dict)
    """The ARNs of the secrets that hold settings, by the settings' names."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Settings from environment variables; an empty one counts as unset. Raises `ConfigurationError`."""
        names = (str(field.alias) for field in cls.model_fields.values())
        given = {name: value for name in names if (value := environment.get(name, "")) != ""}
        kept = {name: value for name, value in given.items() if SECRET_ARN.fullmatch(value)}
        for name in kept.keys() - set(get_args(SecretName)):
            raise ConfigurationError(_sentence(name, "it is needed here, and cannot be kept in a secret"))
        try:
            read = cls.model_validate({name: value for name, value in given.items() if name not in kept})
        except ValidationError as error:
            raise _malformed(error) from None
        read._kept.update(kept)
        return read

    @property
    def limits(self) -> Limits:
        """What the QStash plan allows."""
        return LIMITS[self.qstash_plan]

    def find(self, name: Needed) -> Any:
        """The value of a setting, wherever it is kept: what its field holds, secrets in plain text, or None when it is
        not set. Raises `ConfigurationError` and `SettingsUnreachable`."""
        value = getattr(self if name not in self._kept else self._from_secret(name), _FIELDS[name])
        if isinstance(value, dict):
            return {key: one.get_secret_value() for key, one in value.items()}
        return value.get_secret_value() if isinstance(value, SecretStr) else value

    def secret(self, name: Needed) -> str:
        """The value of a setting that the caller cannot do without. Raises `ConfigurationError`, and
        `SettingsUnreachable` when a secret cannot be read just now."""
        value: str | None = self.find(name)
        if value is None:
            raise ConfigurationError(_sentence(name, "it is not set"))
        return value

    def read_anew(self, name: SecretName) -> bool:
        """Read the secret that holds a setting again, because its value is of no use any more; whether there is another.
        Within a minute of the last reading nothing is read. Raises `ConfigurationError`."""
        return name in self._kept and secrets.kept().read_anew(self._kept[name])

    @property
    def signing_keys(self) -> tuple[str, str]:
        """The current and the next signing key. Raises `ConfigurationError`: without keys nothing is accepted; and
        `SettingsUnreachable`."""
        return self.secret("QSTASH_CURRENT_SIGNING_KEY"), self.secret("QSTASH_NEXT_SIGNING_KEY")

    def _from_secret(self, name: str) -> Settings:
        """Settings with this one alone."""
        held = secrets.kept().read(self._kept[name])
        value = held.get(name, held.get(""))
        if value is None and name == "DATABASE_URL" and "host" in held:
            value = self._dsn_of_rds(held)
        if value in (None, ""):
            raise ConfigurationError(
                _sentence(name, f"the secret {self._kept[name].split(':', 6)[6]} does not hold it")
            )
        try:
            return Settings.model_validate({name: value})
        except ValidationError as error:
            raise _malformed(error) from None

    def _dsn_of_rds(self, held: Mapping[str, object]) -> str:
        """Source of the shape: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html"""
        user, password = (quote(str(held.get(part, "")), safe="") for part in ("username", "password"))
        place = f"{self.database_host or held['host']}:{held.get('port', 5432)}/{held.get('dbname') or 'postgres'}"
        authorities = str(RDS_CA) if self.database_ca == "rds" else self.database_ca
        return f"postgresql://{user}:{password}@{place}?sslmode=verify-full&sslrootcert={quote(authorities, safe='')}"

    def url(self, function: str) -> str:
        """Where a function answers, e.g. `url("send-email")`. Raises `ConfigurationError` and `SettingsUnreachable`."""
        if function in self.jobs_urls:
            return self.jobs_urls[function]
        if self.jobs_base_url is not None:
            return f"{self.jobs_base_url}/{function}"
        if self.jobs_urls_path is not None:
            return _http_url(secrets.published(self.jobs_urls_path).url(function))
        raise ConfigurationError(_sentence("JOBS_BASE_URL", f"it is not set, and JOBS_URLS has no {function!r}"))

    def has_url(self, function: str) -> bool:
        """Whether a function's address was given, so that it need not be looked up."""
        return function in self.jobs_urls or self.jobs_base_url is not None

    def scaled(self, wait: timedelta) -> timedelta:
        """A wait that the record owns, as long as it lasts here."""
        return wait / self.time_scale


_FIELDS = {str(field.alias): name for name, field in Settings.model_fields.items()}


def _malformed(error: ValidationError) -> ConfigurationError:
    first = error.errors(include_input=False, include_url=False)[0]
    return ConfigurationError(_sentence(str(first["loc"][0]), first["msg"].removeprefix("Value error, ")))


def _sentence(name: str, problem: str) -> str:
    return f"{name}: {problem}. {Settings.model_fields[_FIELDS[name]].description}"


@functools.cache
def settings() -> Settings:
    """The settings of this process, read at the first call. Raises `ConfigurationError`."""
    return Settings.read(os.environ)
