"""Which functions a stage has: a job type's contract and a folder make one, and some folders serve no job type.

Pure: nothing here knows CDK.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from infra.aws.errors import CannotDeploy
from infra.aws.limits import LONGEST_FUNCTION_NAME
from infra.stage import SECRETS, Stage, secret_of
from qstash_jobs.job import JobOptions
from qstash_jobs.settings import DOWNLOAD, FAILURE_CALLBACK

Auth = Literal["NONE", "AWS_IAM"]

SIGNING_KEYS = SECRETS["signing-keys"]
WEBHOOK_SECRETS = ("STRIPE_WEBHOOK_SECRET", "RESEND_WEBHOOK_SECRET", "CUSTOM_WEBHOOK_SECRETS")
GRANTS = ("s3:exports", "s3:reports", "s3:tmp", "s3:read", "sns:notifications")


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function, as it is deployed."""

    name: str
    secrets: tuple[str, ...]
    """The settings that it reads out of Secrets Manager."""
    grants: tuple[str, ...] = ()
    """As `JobOptions.grants`."""
    timeout: timedelta = timedelta(seconds=30)
    memory: int = 512
    """MB."""
    ephemeral_storage: int = 512
    """MB of /tmp."""
    concurrency: int = 10
    """How many requests it takes at once, where that is reserved."""
    auth: Auth = "NONE"
    """Who may call its address: `NONE` is anybody, and the function checks a signature; `AWS_IAM` is who may by IAM."""
    is_job: bool = False
    is_scheduled: bool = False
    """Whether it runs so seldom that a single failure is told, not a rate."""

    @property
    def folder(self) -> str:
        """Below `functions/`."""
        return self.name.replace("-", "_")

    @property
    def handler(self) -> str:
        """As Lambda is told it."""
        return f"functions.{self.folder}.handler.handler"

    @property
    def needs_database(self) -> bool:
        """Whether it talks to Postgres."""
        return "DATABASE_URL" in self.secrets


WEB = (
    Function(
        name=FAILURE_CALLBACK,
        secrets=(*SIGNING_KEYS, "DATABASE_URL", "QSTASH_TOKEN", "RESEND_API_KEY"),
        grants=("sns:notifications",),
        timeout=timedelta(seconds=60),
    ),
    Function(name="webhook-ingress", secrets=("DATABASE_URL", "QSTASH_TOKEN", *WEBHOOK_SECRETS), concurrency=20),
    Function(name=DOWNLOAD, secrets=("JOBS_LINK_KEY",), grants=("s3:read",)),
)
"""The functions that serve no job type, with what each may. A job type says it in its options; these have none, so it is
said here, where a folder that is added without saying it is refused."""


def of_job(options: JobOptions, scheduled: bool = False) -> Function:
    """The function of a job type."""
    secrets = [*SIGNING_KEYS, "DATABASE_URL", *(["QSTASH_TOKEN"] if options.publishes else []), *options.secrets]
    return Function(
        name=options.name,
        secrets=tuple(dict.fromkeys(secrets)),
        grants=options.grants,
        timeout=options.timeout,
        memory=options.memory,
        ephemeral_storage=options.ephemeral_storage,
        concurrency=options.concurrency,
        is_job=True,
        is_scheduled=scheduled,
    )


def functions_of(
    job_types: Iterable[JobOptions],
    folders: Iterable[str],
    scheduled: Iterable[str] = (),
    web: Iterable[Function] = WEB,
) -> list[Function]:
    """The functions, by name. `folders` are those of `functions/` with a handler, `scheduled` the job types that a
    schedule makes. Raises `CannotDeploy` when contracts and folders do not fit, or ask for what there is not."""
    often = set(scheduled)
    found = [*(of_job(options, options.name in often) for options in job_types), *web]
    by_folder = {one.folder: one for one in found}
    there = set(folders)
    for folder in sorted(there - by_folder.keys()):
        name = folder.replace("_", "-")
        raise CannotDeploy(
            f"functions/{folder} has no contract: no job type is called {name!r}. Write "
            f"shared/qstash_jobs/jobs/{folder}.py, or, if it serves no job type, add it to WEB in infra/aws/functions.py."
        )
    for folder in sorted(by_folder.keys() - there):
        one = by_folder[folder]
        what = f"The job type {one.name!r}" if one.is_job else f"{one.name!r} of WEB in infra/aws/functions.py"
        raise CannotDeploy(
            f"{what} has no function: there is no functions/{folder}/handler.py. Write it, or remove the other."
        )
    for one in found:
        _check(one)
    return sorted(found, key=lambda one: one.name)


def folders_of(root: Path) -> list[str]:
    """The folders of `functions/` that have a handler."""
    return sorted(path.parent.name for path in (root / "functions").glob("*/handler.py"))


def _check(one: Function) -> None:
    for setting in one.secrets:
        if secret_of(setting) is None:
            known = sorted(setting for settings in SECRETS.values() for setting in settings)
            raise CannotDeploy(f"{one.name} asks for the secret {setting!r}, and there are {', '.join(known)}.")
    for grant in one.grants:
        if grant not in GRANTS:
            raise CannotDeploy(f"{one.name} asks for the grant {grant!r}, and there are {', '.join(GRANTS)}.")


RESERVED = "deployment-"
"""Begins the names of the functions that the deployment itself runs."""


def check_names(functions: Iterable[Function], stage: Stage) -> None:
    """Raises `CannotDeploy` when a name would be too long for Lambda, or another's."""
    for one in functions:
        if one.name.startswith(RESERVED):
            raise CannotDeploy(
                f"Names with {RESERVED!r} are those of the deployment's own functions: rename {one.name!r}."
            )
        if len(name := f"{stage.prefix}-{one.name}") > LONGEST_FUNCTION_NAME:
            raise CannotDeploy(
                f"{name} is longer than the {LONGEST_FUNCTION_NAME} characters that Lambda takes: shorten -c app=… or the "
                "job type's name."
            )
