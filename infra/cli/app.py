"""The command `jobs`: its commands, and how it speaks of errors."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from rich.markup import escape

from infra.cli import (
    actions,
    cost,
    demo,
    desk,
    doctor,
    invoke,
    new,
    qstash,
    record,
    rotate_keys,
    schedules,
    secrets,
    seed,
    stages,
    webhook,
)
from infra.cli.aws import AwsFailed
from infra.cli.rotate_keys import RotationStopped
from infra.cli.screen import errors
from infra.cli.stages import AppOption, ProfileOption, RegionOption, StageOption, on_aws, on_desk, on_stage
from infra.local.postgres import PostgresFailed
from infra.local.service import DeskFailed
from infra.seed.refusal import SeedRefused
from qstash_jobs.errors import DatabaseUnreachable, JobsError, StatementRefused

app = typer.Typer(
    name="jobs",
    help="Background jobs: run them here, look at them, move them on.",
    epilog='Examples:  [cyan]jobs dev[/]  ·  [cyan]jobs enqueue probe \'{"mode": "fail-once"}\'[/]  ·  '
    "[cyan]jobs list --status failed[/]  ·  [cyan]jobs requeue --status failed --type send-email[/]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

HINTS = {
    "42P01": "The tables are missing. Make them with: jobs migrate",
    "42P07": "This database has a table of its own by that name. Without --saas, only the record's tables are made.",
}
"""What to do, by SQLSTATE: undefined_table, duplicate_table."""

DESK_HINT = "Is the desk running? Start it with: make dev"

DESK, JOBS, CARE, BUILD = "On the desk", "Jobs", "Care", "Building"

app.command(rich_help_panel=DESK)(on_desk(desk.dev))
app.command(rich_help_panel=DESK)(on_desk(demo.demo))
app.command(rich_help_panel=DESK)(on_desk(desk.clean))
app.command(rich_help_panel=DESK)(on_desk(seed.seed))
app.command("qstash", rich_help_panel=DESK)(qstash.run)
app.command(rich_help_panel=DESK)(on_desk(qstash.advance))
app.command(rich_help_panel=DESK)(on_desk(webhook.webhook))
app.command(rich_help_panel=JOBS)(on_stage(actions.enqueue))
app.command("list", rich_help_panel=JOBS)(on_stage(record.list_jobs))
app.command(rich_help_panel=JOBS)(on_stage(record.show))
app.command(rich_help_panel=JOBS)(on_stage(record.watch))
app.command(rich_help_panel=JOBS)(on_stage(actions.cancel))
app.command(rich_help_panel=JOBS)(on_stage(actions.requeue))
app.command(rich_help_panel=CARE)(on_stage(actions.migrate))
app.command(rich_help_panel=CARE)(on_stage(actions.relay))
app.command(rich_help_panel=CARE)(on_aws(doctor.doctor))
app.add_typer(schedules.app, name="schedules", rich_help_panel=CARE)
app.add_typer(secrets.app, name="secrets", rich_help_panel=CARE)
app.command("rotate-keys", rich_help_panel=CARE)(on_aws(rotate_keys.rotate_keys))
app.command(rich_help_panel=BUILD)(new.new)
app.command(rich_help_panel=BUILD)(cost.cost)
app.command(rich_help_panel=BUILD)(on_desk(invoke.invoke))


@app.callback()
def everywhere(
    stage: StageOption = None, app: AppOption = None, region: RegionOption = None, profile: ProfileOption = None
) -> None:
    """Background jobs: run them here, look at them, move them on."""
    stages.choose(stage=stage, app=app, region=region, profile=profile)


def main() -> NoReturn:
    """Run the command; errors that we know are one sentence, and exit 1."""
    stages.begin()
    try:
        app(prog_name="jobs")
    except DatabaseUnreachable as error:
        fail(f"Postgres cannot be reached: {error}", None if stages.target() else DESK_HINT)
    except StatementRefused as error:
        fail(str(error), HINTS.get(error.sqlstate))
    except (AwsFailed, RotationStopped, JobsError, DeskFailed, PostgresFailed, SeedRefused) as error:
        fail(str(error))
    sys.exit(0)


def fail(message: str, hint: str | None = None) -> NoReturn:
    """Say what is wrong and what to do, and end."""
    errors.print(f"[bold red]Error:[/] {escape(message)}", soft_wrap=True)
    if hint:
        errors.print(escape(hint), soft_wrap=True)
    sys.exit(1)
