"""Which settings a command works with: those of the stage that is meant, else those of the environment, else those of
the desk that runs in this checkout. The parts of two systems are never mixed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from infra.cli import stages
from infra.cli.aws import Account, AwsFailed, NotThere, account, spoken
from infra.cli.screen import errors
from infra.stage import Stage

if TYPE_CHECKING:
    from infra.cli.stages import Target

FOLDER = Path(".local")
"""Where the desk keeps its state."""


def load() -> None:
    """Fill in what the environment does not say. Raises `AwsFailed`, and `typer.BadParameter` when the environment names
    a stage and a system of its own."""
    from infra.local.desk import read_state

    if (target := stages.target()) is not None:
        _load_stage(target)
    elif "DATABASE_URL" not in os.environ and "QSTASH_URL" not in os.environ:
        for name, value in read_state(FOLDER).items():
            os.environ.setdefault(name, value)


def confirm(what: str) -> None:
    """Ask for the name of the stage before something that cannot be taken back; nothing is asked on the desk."""
    if (target := stages.target()) is not None:
        name = target.stage.name
        if typer.prompt(f"{what} in {name}. Type the name of the stage to go on") != name:
            raise typer.Abort


def _load_stage(target: Target) -> None:
    names = _setting_names()
    set_here = sorted(name for name in ("DATABASE_URL", "QSTASH_URL") if name in os.environ)
    if target.said_by == stages.VARIABLE and set_here:
        raise typer.BadParameter(
            f"{target}, and {' and '.join(set_here)} are set too: unset these, or {stages.VARIABLE}; with --stage, the "
            "stage's take their place",
            param_hint=stages.VARIABLE,
        )
    with account() as aws:
        region = aws.region
        found = written_settings(target.stage, aws) | {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    for name in names - found.keys():
        os.environ.pop(name, None)
    os.environ.update(found)
    errors.print(f"[dim]{target.stage.app}, stage [bold]{target.stage.name}[/], in {region}[/]")


def written_settings(stage: Stage, aws: Account) -> dict[str, str]:
    """What the deployment wrote down of its settings; addresses, names, and secrets by their ARNs. Raises `AwsFailed`:
    `NotThere` when nothing is deployed."""
    parameter = stage.settings_parameter
    try:
        with spoken(f"read the parameter {parameter}"):
            text = aws.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
    except NotThere:
        raise NotThere(
            f"nothing is deployed as stage {stage.name} of {stage.app} in {aws.region} (no parameter {parameter}). Is "
            f"the region right (--region), and the account (--profile)? To deploy it: make deploy STAGE={stage.name}"
        ) from None
    try:
        written: Any = json.loads(text)
        found = {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in written.items()}
    except (ValueError, AttributeError):
        raise AwsFailed(
            f"the parameter {parameter} is no JSON object, as a deployment writes it: deploy it again with "
            f"make deploy STAGE={stage.name}"
        ) from None
    known = _setting_names()
    return {name: value for name, value in found.items() if name in known}


def _setting_names() -> set[str]:
    from qstash_jobs.settings import Settings

    return {str(field.alias) for field in Settings.model_fields.values()}
