"""Which stage a command is for: `jobs --stage prod list`, `jobs list --stage prod`, or JOBS_STAGE in the environment.

Each command is marked by one of two decorators where the program is put together: `on_stage` for those that can look at,
or move on, what is deployed, and `on_desk` for those that make things up, throw them away, or run unfinished code: these
refuse to work while a stage is named.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from infra.stage import Stage

Command = Callable[..., Any]

VARIABLE = "JOBS_STAGE"
APP_VARIABLE = "JOBS_APP"
DEFAULT_APP = "jobs"

StageOption = Annotated[
    str | None, typer.Option("--stage", metavar="STAGE", help="The deployment to work on, e.g. prod.")
]
AppOption = Annotated[
    str | None, typer.Option("--app", metavar="APP", help="How the deployed app is called, if not jobs.")
]
RegionOption = Annotated[
    str | None, typer.Option("--region", metavar="REGION", help="The AWS region, if not the shell's.")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", metavar="PROFILE", help="The AWS profile, if not the shell's.")
]

_given: dict[str, str] = {}


@dataclass(frozen=True)
class Target:
    """The stage that is meant, and who says so."""

    stage: Stage
    said_by: str

    def __str__(self) -> str:
        return f"{self.said_by} says {self.stage.name}"


def begin() -> None:
    """Forget what was chosen by a command before, in the same process."""
    _given.clear()


def choose(**chosen: str | None) -> None:
    """Take options, wherever on the line they stand. Raises `typer.BadParameter` when two places disagree."""
    for name, value in chosen.items():
        if value is None:
            continue
        if _given.setdefault(name, value) != value:
            raise typer.BadParameter(f"it is said twice: {_given[name]} and {value}", param_hint=f"--{name}")
    if _given.get("region"):
        os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = _given["region"]
    if _given.get("profile"):
        os.environ["AWS_PROFILE"] = _given["profile"]
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)  # boto3 would prefer them to the profile


def target() -> Target | None:
    """The stage that is meant, if one is. Raises `typer.BadParameter` for a name that no stage can have."""
    name, said_by = _given.get("stage"), "--stage"
    if name is None:
        name, said_by = os.environ.get(VARIABLE) or None, VARIABLE
    if name is None:
        return None
    app = _given.get("app") or os.environ.get(APP_VARIABLE) or DEFAULT_APP
    try:
        return Target(Stage(app, name), said_by)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=said_by) from None


def required() -> Stage:
    """The stage that is meant. Raises `typer.BadParameter` when none is."""
    found = target()
    if found is None:
        raise typer.BadParameter(f"say which stage, e.g. --stage prod, or set {VARIABLE}", param_hint="--stage")
    return found.stage


def on_stage(command: Command) -> Command:
    """The command, with `--stage` as an option of its own too."""
    return _with(command, stage=StageOption)


def on_aws(command: Command) -> Command:
    """The command, with all that says where at AWS a stage is."""
    return _with(command, stage=StageOption, app=AppOption, region=RegionOption, profile=ProfileOption)


def on_desk(command: Command) -> Command:
    """The command, which refuses to work while a stage is named."""

    @functools.wraps(command)
    def here(*arguments: Any, **options: Any) -> Any:
        if (found := target()) is not None:
            mend = f"unset {VARIABLE}" if found.said_by == VARIABLE else "leave it out"
            raise typer.BadParameter(
                f"this command works on the desk only, never on what is deployed, and {found}; {mend}",
                param_hint=found.said_by,
            )
        return command(*arguments, **options)

    return here


def _with(command: Command, **more: Any) -> Command:
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def chosen(*arguments: Any, **options: Any) -> Any:
        choose(**{name: options.pop(f"{name}_", None) for name in more})
        return command(*arguments, **options)

    added = [
        inspect.Parameter(f"{name}_", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in more.items()
    ]
    # Typer reads options from here. They come last: help lists what is the command's own first.
    parameters = [*signature.parameters.values(), *added]
    chosen.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    chosen.__annotations__ = {one.name: one.annotation for one in parameters}
    return chosen
