"""What can be said of a deployment: `-c name=value` on the command line, or `context` in cdk.json.

CDK gives values of the command line as text and those of cdk.json as JSON; both are taken. A name of ours that is not
known here is refused, since a misspelt one would be ignored silently otherwise.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic import BeforeValidator as Before

from infra.aws.errors import CannotDeploy
from infra.aws.limits import (
    LOG_RETENTION,
    MOST_ACU,
    MOST_SETTINGS,
    MOST_TAGS,
    OTHER_PARTITIONS,
    WITHOUT_FUNCTION_URLS,
)
from infra.stage import Stage, secret_of
from qstash_jobs.errors import ConfigurationError
from qstash_jobs.settings import Settings

StageName = Literal["staging", "prod"]

OF_THE_STACK = frozenset(
    {
        "JOBS_BASE_URL", "JOBS_BUCKET", "JOBS_METRICS_NAMESPACE", "JOBS_NOTIFY_TOPIC", "JOBS_SCHEDULE_PREFIX", "JOBS_URLS",
        "JOBS_URLS_PATH", "JOBS_DATABASE_CA", "JOBS_DATABASE_HOST", "QSTASH_PLAN", "QSTASH_URL",
    }
)  # fmt: skip
"""Settings whose values the stack itself knows, or that have a name of their own here."""

OWN_TAGS = ("app", "stage")

OF_THE_DESK = frozenset({"JOBS_PROBE", "JOBS_TIME_SCALE"})
"""Settings for the desk and for tests."""


def usable_region(value: str) -> str:
    """Raises ValueError for what is no region, or none in which functions have addresses."""
    if value.startswith(OTHER_PARTITIONS):
        raise ValueError(f"{value} is in a partition of AWS that these stacks were not made for. Take another region")
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", value):
        raise ValueError(f"a region is called like eu-central-1, not {value!r}")
    if value in WITHOUT_FUNCTION_URLS:
        raise ValueError(
            f"Lambda functions have no addresses in {value}, and QStash calls them at these; nor have they in "
            f"{', '.join(sorted(WITHOUT_FUNCTION_URLS - {value}))}. Take another region"
        )
    return value


def _address(value: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
        raise ValueError(f"an address is like ops@example.com, not {value!r}")
    return value


def _retention(value: int) -> int:
    if value not in LOG_RETENTION:
        raise ValueError(f"CloudWatch keeps logs for {', '.join(map(str, LOG_RETENTION))} days, not for {value}")
    return value


def _capacity(value: float) -> float:
    if not 0 <= value <= MOST_ACU or value * 2 != int(value * 2):
        raise ValueError(f"Aurora's capacity goes from 0 to {MOST_ACU} units in steps of a half, not to {value:g}")
    return value


def _name(value: str) -> str:
    Stage(value, "prod")
    return value


def _object(value: object) -> object:
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error})") from None
    if not isinstance(found, dict) or not all(isinstance(one, str | int | float | bool) for one in found.values()):
        raise ValueError("it is an object of names and plain values")
    return {name: one if isinstance(one, str) else json.dumps(one) for name, one in found.items()}


def _plain_settings(value: dict[str, str]) -> dict[str, str]:
    allowed = sorted(
        name
        for field in Settings.model_fields.values()
        if secret_of(name := str(field.alias)) is None and name not in OF_THE_STACK | OF_THE_DESK
    )
    for name in value:
        if (secret := secret_of(name)) is not None:
            raise ValueError(
                f"{name} is a secret, which would be readable in the template and in each function; it belongs into "
                f"Secrets Manager, under {secret!r}: jobs secrets put"
            )
        if name in OF_THE_DESK:
            raise ValueError(f"{name} is for the desk, never for where jobs are real")
        if name in OF_THE_STACK:
            raise ValueError(f"{name} is set by the stack itself. Allowed are {', '.join(allowed)}")
        if name not in allowed:
            raise ValueError(f"there is no setting {name!r}{_nearest(name, allowed)} Allowed are {', '.join(allowed)}")
    if (size := len(json.dumps(value, ensure_ascii=False).encode())) > MOST_SETTINGS:
        raise ValueError(
            f"they are {size:,} bytes long, and a function's variables may be 4 KB, of which {MOST_SETTINGS:,} bytes are "
            "left for these. Longer texts belong into the package"
        )
    try:
        Settings.read(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return value


def _tags(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MOST_TAGS - len(OWN_TAGS):
        raise ValueError(f"AWS takes {MOST_TAGS} tags, {len(OWN_TAGS)} of which are ours, and these are {len(value)}")
    lowered = [*OWN_TAGS, *(name.lower() for name in value)]
    if twice := sorted({name for name in value if lowered.count(name.lower()) > 1}):
        raise ValueError(
            f"IAM takes tags that differ in more than capitals, and app and stage are ours: rename {', '.join(twice)}"
        )
    for name, text in value.items():
        if not re.fullmatch(r"(?!aws:)[\w .:/=+@-]{1,128}", name) or not re.fullmatch(r"[\w .:/=+@-]{0,256}", text):
            raise ValueError(f"AWS takes no tag {name}={text}: letters, digits, blanks and . : / = + @ - _ only")
    return value


class Context(BaseModel):
    """One deployment, checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=False)

    stage: StageName
    """Which deployment: `staging` or `prod`. Each has secrets, schedules and metrics of its own."""
    app: Annotated[str, AfterValidator(_name)] = "jobs"
    """Begins all names, so that several apps can share an account: lower-case letters, digits and hyphens, at most 30; not
    aws or ssm at the beginning."""
    account: Annotated[str, Field(pattern=r"^\d{12}$")] | None = None
    """The AWS account, 12 digits; by default the one whose credentials the shell has."""
    region: Annotated[str, AfterValidator(usable_region)] | None = None
    """The AWS region, e.g. `eu-central-1`; by default the shell's. Take one near the database."""
    architecture: Literal["arm64", "x86_64"] = "arm64"
    """What the functions run on: `arm64`, which costs less, or `x86_64`. `make deploy` builds for it."""
    database: Literal["dsn", "aurora"] = "dsn"
    """`dsn` is any Postgres whose address the secret `database` holds; `aurora` makes an Aurora Serverless v2 in a VPC,
    and puts the functions there."""
    database_proxy: bool = False
    """Whether an RDS Proxy stands before Aurora: `true` or `false`. When it is taken away again, deliveries are answered 503
    and come again, for the minutes until the functions know the cluster's own address."""
    aurora_min_acu: Annotated[float, AfterValidator(_capacity)] = 0.5
    """The least capacity of Aurora, in units of about 2 GiB, in steps of a half. 0 lets it sleep when nobody asks, but
    `reconcile-jobs` asks every five minutes."""
    aurora_max_acu: Annotated[float, AfterValidator(_capacity)] = 8
    """The most capacity of Aurora, up to 256 units, which decides how many connections it takes."""
    reserved_concurrency: Literal["none", "options"] = "none"
    """`options` reserves for each function what its `concurrency` says, so that nothing else in the account can starve it,
    nor it the database; `none` reserves nothing, for a fresh account has nothing to spare."""
    log_retention_days: Annotated[int, AfterValidator(_retention)] | None = None
    """For how long logs are kept; by default 90 days in `prod` and 14 in others. CloudWatch knows 1, 3, 5, 7, 14, 30, 60, 90,
    120, 150, 180 and 365 days, and some longer times."""
    alarm_email: Annotated[str, AfterValidator(_address)] | None = None
    """Who is told of alarms; AWS sends a mail that must be confirmed first."""
    qstash_url: str = "https://qstash.upstash.io"
    """Where QStash answers, as the Upstash console shows it beside the token: each region has an address of its own."""
    qstash_plan: Literal["free", "payg"] = "free"
    """The plan at Upstash, `free` or `payg`, for its limits."""
    adopt_schedules: bool = False
    """Take over schedules that have our ids and were made by something else, e.g. by `jobs schedules apply`: `true` or `false`."""
    resync: str = ""
    """Any text; a new one lets QStash's schedules be compared and put right once more, and migrations run that a database
    lacks which is another, or was restored."""
    canary: bool = True
    """Whether each deployment ends with a job that must go the whole way: `true` or `false`."""
    starter: bool = False
    """Whether the migrations bring the SaaS starter's tables too: `true`, or `false` where the app has tables of its own."""
    termination_protection: bool | None = None
    """Whether CloudFormation refuses to delete the stacks, `true` or `false`; by default in `prod` only."""
    docs_url: Annotated[str, Field(pattern=r"^\S{1,499}[^/\s]$")] = "docs"
    """Where the docs are, for the links in alarms, without a slash at its end, at most 500 characters; by default their path
    in the repository."""
    settings: Annotated[dict[str, str], Before(_object), AfterValidator(_plain_settings)] = Field(default_factory=dict)
    """Plain settings of the functions, as JSON: `{"EMAIL_FROM": "Acme <mail@acme.example>"}`."""
    tags: Annotated[dict[str, str], Before(_object), AfterValidator(_tags)] = Field(default_factory=dict)
    """Tags of everything, as JSON, besides `app` and `stage`: `{"cost-centre": "42"}`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.database_proxy and self.database != "aurora":
            raise ValueError(
                "database_proxy: an RDS Proxy stands before Aurora only: add -c database=aurora, or leave it out"
            )
        if self.database != "aurora" and (
            unused := sorted(self.model_fields_set & {"aurora_min_acu", "aurora_max_acu"})
        ):
            raise ValueError(f"{unused[0]}: it is of Aurora: add -c database=aurora, or leave it out")
        if self.aurora_max_acu < max(1, self.aurora_min_acu):
            raise ValueError("aurora_max_acu: it must be at least 1, and no less than aurora_min_acu")
        try:
            Settings.read({"QSTASH_URL": self.qstash_url})
        except ConfigurationError:
            raise ValueError(
                f"qstash_url: it is the address alone, like https://qstash-eu-central-1.upstash.io, not {self.qstash_url!r}"
            ) from None
        if not self.qstash_url.startswith("https://"):
            raise ValueError(f"qstash_url: tokens go there, so it begins with https://, unlike {self.qstash_url!r}")
        return self

    @classmethod
    def read(cls, given: Mapping[str, object], shell_region: str | None = None) -> Self:
        """The context out of all that CDK has, whose own names have a colon, a slash or an @. `shell_region` is where CDK
        would deploy if no region is named. Raises `CannotDeploy`."""
        ours = {name: value for name, value in given.items() if not re.search(r"[:/@]", name)}
        for name in ours:
            if name not in cls.model_fields:
                allowed = sorted(cls.model_fields)
                raise CannotDeploy(
                    f"There is no context {name!r}{_nearest(name, allowed)} Allowed are {', '.join(allowed)}."
                )
        try:
            made = cls.model_validate(ours)
            if made.region is None and shell_region is not None:
                usable_region(shell_region)
        except ValidationError as error:
            raise CannotDeploy(_sentence(error)) from None
        except ValueError as error:
            raise CannotDeploy(f"The region of your shell: {error}, e.g.: -c region=eu-central-1") from None
        return made

    @property
    def names(self) -> Stage:
        """What things of the stage are called."""
        return Stage(self.app, self.stage)

    @property
    def log_days(self) -> int:
        """For how long logs are kept."""
        return self.log_retention_days or (90 if self.is_prod else 14)

    @property
    def is_prod(self) -> bool:
        """Whether losing something would hurt."""
        return self.stage == "prod"

    @property
    def is_protected(self) -> bool:
        """Whether CloudFormation is to refuse deleting the stacks."""
        return self.is_prod if self.termination_protection is None else self.termination_protection


def allowed(name: str) -> str:
    """What a context may be, in words; empty where its description says it."""
    annotation = Context.model_fields[name].annotation
    values = get_args(annotation)
    if values and all(isinstance(one, str) for one in values):
        return " or ".join(values)
    return "true or false (on or off)" if annotation is bool or bool in values else ""


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_input=True, include_url=False)[0]
    text = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:  # of several together, and it names them
        return f"Context {text}."
    name = str(first["loc"][0])
    description = " ".join((Context.model_fields[name].description or "").split())
    if first["type"] == "missing":
        return f"Context {name} is missing; say -c {name}=… with {allowed(name)}. {description}"
    choices = allowed(name)
    if choices:
        text = f"it is {choices}, not {first['input']!r}"
    return f"Context {name}: {text}. {description}"


def _nearest(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {found[0]!r}?" if found else "."
