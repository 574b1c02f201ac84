"""`jobs secrets …`: fill the secrets of a stage, and see which are filled."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer

from infra.cli import secret_entry, stages
from infra.cli.aws import Account, AwsFailed, NotThere, account
from infra.cli.environment import written_settings
from infra.cli.screen import ago, console, show, table
from infra.cli.secret_form import Form, needed_by
from infra.cli.secret_store import SecretStore
from infra.cli.stages import on_aws
from infra.stage import REQUIRED, SECRETS, Stage, secret_of
from qstash_jobs.errors import ConfigurationError

app = typer.Typer(
    no_args_is_help=True,
    help="The secrets of a deployed stage: fill, look at.",
    epilog="Examples:  [cyan]jobs secrets status --stage prod[/]  ·  [cyan]jobs secrets put --stage prod[/]",
)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help=f"Only these: {', '.join(SECRETS)}; or a setting's name."),
]


@app.command()
@on_aws
def put(
    names: Names = None,
    from_stdin: Annotated[
        bool, typer.Option("--from-stdin", help="Read JSON by settings' names, or one bare value, from a pipe.")
    ] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Ask QStash and Postgres before writing.")] = True,
    qstash_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the stage will look for QStash; else as it is deployed.")
    ] = None,
) -> None:
    """Fill secrets: each value is asked for without an echo, checked, and written to Secrets Manager.

    Without names, all that are empty. No value is taken from the command line, and none is ever shown. The signing keys
    need not be typed: they are taken from QStash, with the token.

    [dim]jobs secrets put --stage prod[/]   ·   [dim]jobs secrets put --stage prod database[/]

    [dim]vault read -format=json -field=data jobs | jobs secrets put --stage prod --from-stdin[/]
    """
    stage = stages.required()
    wanted = _wanted(names)
    if from_stdin and sys.stdin.isatty():
        raise typer.BadParameter(
            "a terminal would show what is typed: leave it out, or pipe", param_hint="--from-stdin"
        )
    if not from_stdin and not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask at; pipe JSON, and say --from-stdin", param_hint="stdin")
    address = _address(qstash_url) if qstash_url else None
    with account() as aws:
        store = SecretStore(aws, stage)
        now = {name: store.read(name) for name in SECRETS if name in (wanted or SECRETS) or name == "qstash-token"}
        chosen = wanted or [name for name, one in now.items() if store.missing(name, one)]
        form = Form(stage, chosen, now, check, address or _deployed_url(stage, aws))
        if from_stdin:
            secret_entry.read(form, named=bool(wanted))
        else:
            secret_entry.ask(form)
        written = form.write(store)
        for line in form.said:
            console.print(f"  {line}", markup=False)
        console.print(f"Written: {', '.join(written)}." if written else "Nothing was changed.")
        _next(stage, store)


@app.command()
@on_aws
def status(
    json_: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show which secrets are filled, since when, and what needs them; never what is in them.

    Exit 1 while one is empty without which no job runs.

    [dim]jobs secrets status --stage prod[/]
    """
    stage = stages.required()
    with account() as aws:
        store = SecretStore(aws, stage)
        rows = {name: look(store, name) for name in SECRETS}
    if json_:
        typer.echo(json.dumps({name: row.as_json(name) for name, row in rows.items()}, indent=2))
    else:
        made = table("secret", "filled", "changed", "needed by")
        for name, row in rows.items():
            made.add_row(name, row.word(name), ago(row.changed_at) if row.changed_at else "–", needed_by(name))
        show(made)
    if empty := [name for name in REQUIRED if rows[name].missing]:
        if not json_:
            console.print(f"Needed, and empty: fill with  jobs secrets put --stage {stage.name} {' '.join(empty)}")
        raise typer.Exit(1)


@dataclass(frozen=True)
class Look:
    """What can be said of a secret."""

    missing: list[str]
    changed_at: datetime | None
    looked_into: bool

    def word(self, name: str) -> str:
        """Of the table."""
        if not self.missing:
            return "[green]yes[/]" if self.looked_into else "yes, as far as can be seen"
        if set(self.missing) == set(SECRETS[name]):
            return "[bold red]no[/]" if name in REQUIRED else "[dim]no[/]"
        return f"[bold red]not {', '.join(self.missing)}[/]"

    def as_json(self, name: str) -> dict[str, Any]:
        """Of the list for programs."""
        changed = self.changed_at.isoformat() if self.changed_at else None
        return {"missing": self.missing, "changedAt": changed, "required": name in REQUIRED}


def look(store: SecretStore, name: str) -> Look:
    """Whether a secret is filled: by its content where that may be read, else by its description. Raises `AwsFailed`."""
    try:
        version = store.read(name)
    except NotThere:
        raise
    except AwsFailed:
        changed_at = store.changed_at(name)
        return Look([] if changed_at else store.missing(name, None), changed_at, looked_into=False)
    return Look(store.missing(name, version), version.written_at if version else None, looked_into=True)


def _wanted(names: Iterable[str] | None) -> list[str]:
    """Secrets, by their names or by those of the settings in them. Raises `typer.BadParameter`."""
    found = []
    for one in names or ():
        name = one if one in SECRETS else secret_of(one.upper())
        if name is None:
            hint = " Values are asked for, or piped; they are never on the command line." if "=" in one else ""
            known = f"there are {', '.join(SECRETS)}"
            raise typer.BadParameter(f"there is no secret of this name; {known}.{hint}", param_hint="NAME")
        found.append(name)
    return list(dict.fromkeys(found))


def _address(qstash_url: str) -> str:
    """As the setting has it. Raises `typer.BadParameter`."""
    from qstash_jobs.settings import Settings

    try:
        return Settings.read({"QSTASH_URL": qstash_url}).qstash_url
    except ConfigurationError as error:
        raise typer.BadParameter(str(error), param_hint="--qstash-url") from None


def _deployed_url(stage: Stage, aws: Account) -> str | None:
    """Where the stage looks for QStash, if it is deployed already."""
    try:
        return written_settings(stage, aws).get("QSTASH_URL")
    except NotThere:
        return None


def _next(stage: Stage, store: SecretStore) -> None:
    empty = [name for name in REQUIRED if look(store, name).missing]
    if empty:
        console.print(f"Still empty, and needed: {', '.join(empty)}. Next: jobs secrets put --stage {stage.name}")
    else:
        console.print(
            f"What is needed is there. Next: make deploy STAGE={stage.name}; functions that run already read it within "
            "five minutes."
        )
