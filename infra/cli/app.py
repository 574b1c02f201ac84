"""The command `jobs`: its commands, and how it speaks of errors."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from rich.markup import escape

from infra.cli import actions, demo, desk, doctor, invoke, new, qstash, record, schedules, seed, webhook
from infra.cli.screen import errors
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

DESK, JOBS, CARE, BUILD = "On the desk", "Jobs", "Care", "Building"

app.command(rich_help_panel=DESK)(desk.dev)
app.command(rich_help_panel=DESK)(demo.demo)
app.command(rich_help_panel=DESK)(desk.clean)
app.command(rich_help_panel=DESK)(seed.seed)
app.command("qstash", rich_help_panel=DESK)(qstash.run)
app.command(rich_help_panel=DESK)(qstash.advance)
app.command(rich_help_panel=DESK)(webhook.webhook)
app.command(rich_help_panel=JOBS)(actions.enqueue)
app.command("list", rich_help_panel=JOBS)(record.list_jobs)
app.command(rich_help_panel=JOBS)(record.show)
app.command(rich_help_panel=JOBS)(record.watch)
app.command(rich_help_panel=JOBS)(actions.cancel)
app.command(rich_help_panel=JOBS)(actions.requeue)
app.command(rich_help_panel=CARE)(actions.migrate)
app.command(rich_help_panel=CARE)(actions.relay)
app.command(rich_help_panel=CARE)(doctor.doctor)
app.add_typer(schedules.app, name="schedules", rich_help_panel=CARE)
app.command(rich_help_panel=BUILD)(new.new)
app.command(rich_help_panel=BUILD)(invoke.invoke)


def main() -> NoReturn:
    """Run the command; errors that we know are one sentence, and exit 1."""
    try:
        app(prog_name="jobs")
    except DatabaseUnreachable as error:
        fail(f"Postgres cannot be reached: {error}", "Is the desk running? Start it with: make dev")
    except StatementRefused as error:
        fail(str(error), HINTS.get(error.sqlstate))
    except (JobsError, DeskFailed, PostgresFailed, SeedRefused) as error:
        fail(str(error))
    sys.exit(0)


def fail(message: str, hint: str | None = None) -> NoReturn:
    """Say what is wrong and what to do, and end."""
    errors.print(f"[bold red]Error:[/] {escape(message)}", soft_wrap=True)
    if hint:
        errors.print(escape(hint), soft_wrap=True)
    sys.exit(1)
