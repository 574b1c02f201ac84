"""`jobs secrets …`: fill the secrets of a stage, and see which are filled."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from getpass import getpass
from typing import Annotated, Any

import typer

from infra.cli import secret_values, stages
from infra.cli.aws import Account, AwsFailed, NotThere, account
from infra.cli.environment import written_settings
from infra.cli.screen import ago, console, errors, plain, show, table
from infra.cli.secret_store import SecretStore, Version
from infra.cli.secret_values import KEYS, NotRight
from infra.cli.stages import on_aws
from infra.stage import MADE_BY_AWS, REQUIRED, SECRETS, Stage, secret_of
from qstash_jobs.errors import ConfigurationError, PublishFailed

app = typer.Typer(
    no_args_is_help=True,
    help="The secrets of a deployed stage: fill, look at.",
    epilog="Examples:  [cyan]jobs secrets status --stage prod[/]  ·  [cyan]jobs secrets put --stage prod[/]",
)

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

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help=f"Only these: {', '.join(SECRETS)}; or a setting's name."),
]


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

    def qstash(self) -> secret_values.Account | None:
        """The QStash account of the token, if there is one. Raises `NotRight` and `PublishFailed`."""
        token = self.held("QSTASH_TOKEN")
        if self._account is None and token and self.check:
            self._account = self._ask_qstash(str(token))
        return self._account

    def check_keys(self) -> None:
        """That the keys which there will be are a pair, and QStash's. Raises `NotRight` and `PublishFailed`."""
        secret_values.check_keys({name: self.held(name) for name in KEYS}, self.qstash())

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
            _read(form, named=bool(wanted))
        else:
            _ask(form)
        written = _write(form, store)
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


def needed_by(name: str) -> str:
    """In a few words, with the job types that ask for it themselves."""
    from qstash_jobs.job import registry

    types = sorted(one.options.name for one in registry.contracts() if set(one.options.secrets) & set(SECRETS[name]))
    return f"{PURPOSE[name]}: {', '.join(types)}" if types else PURPOSE[name]


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


def _ask(form: Form) -> None:
    for name in form.secrets:
        if name == MADE_BY_AWS and form.now.get(name) is not None:
            continue
        console.print(f"\n[bold]{name}[/]  [dim]{needed_by(name)}{'' if name in REQUIRED else '; may stay empty'}[/]")
        if name == "signing-keys":
            if not _offer_keys(form):
                _ask_keys(form)
            continue
        if name == "custom-webhooks":
            _ask_senders(form)
            continue
        for setting in SECRETS[name]:
            _ask_one(form, setting)


def _ask_one(form: Form, setting: str) -> None:
    from qstash_jobs.settings import Settings

    words = next(one.description for one in Settings.model_fields.values() if one.alias == setting)
    console.print(f"  [dim]{words}[/]")
    while value := _hidden(f"  {setting} (Enter leaves it as it is)"):
        try:
            form.take(setting, value)
            return
        except (NotRight, PublishFailed) as error:
            _say_wrong(error)


def _ask_keys(form: Form) -> None:
    while True:
        for setting in KEYS:
            _ask_one(form, setting)
        try:
            if set(KEYS) & set(form.values):
                form.check_keys()
            return
        except (NotRight, PublishFailed) as error:
            _say_wrong(error)
            for setting in KEYS:
                form.values.pop(setting, None)


def _say_wrong(error: Exception) -> None:
    errors.print(f"  [bold red]✗[/] {plain(str(error))}", markup=True, soft_wrap=True)


def _ask_senders(form: Form) -> None:
    senders = _senders(form)
    if senders:
        console.print(f"  [dim]there are {', '.join(sorted(senders))}; a name that is there gets the new secret[/]")
    while sender := typer.prompt("  name of a sender (Enter ends)", default="", show_default=False).strip():
        if not (secret := _hidden(f"  whsec_… of {plain(sender)}")):
            continue
        try:
            form.take("CUSTOM_WEBHOOK_SECRETS", json.dumps({**senders, sender: secret.strip()}))
            senders = dict(form.values["CUSTOM_WEBHOOK_SECRETS"])
        except NotRight as error:
            _say_wrong(error)


def _hidden(text: str) -> str:
    # Not Typer's own: it shows the question before it turns the echo off, and what is pasted early would be seen.
    return getpass(f"{text}: ").strip()


def _offer_keys(form: Form) -> bool:
    """Whether both keys were taken from QStash."""
    try:
        found = form.qstash()
    except (NotRight, PublishFailed) as error:
        errors.print(f"  [yellow]they cannot be taken from QStash: {plain(str(error))}[/]", soft_wrap=True)
        return False
    if found is None or not typer.confirm(f"  Take both keys from QStash at {found.url}?", default=True):
        return False
    form.values.update(zip(KEYS, found.keys, strict=True))
    return True


def _read(form: Form, *, named: bool) -> None:
    """From standard input; everything is looked at before anything is written. Raises `AwsFailed`."""
    given = _given(sys.stdin.read(), form.secrets if named else list(SECRETS))
    allowed = [setting for name in (form.secrets if named else SECRETS) for setting in SECRETS[name]]
    if unknown := sorted(set(given) - set(allowed)):
        raise AwsFailed(f"{', '.join(map(plain, unknown))}: not to be filled here; expected are {', '.join(allowed)}")
    problems = []
    for setting in (one for one in allowed if given.get(one) not in (None, "")):
        value = given[setting]
        if setting == "CUSTOM_WEBHOOK_SECRETS" and isinstance(value, dict):
            value = _merged(_senders(form), value)
        try:
            form.take(setting, value if isinstance(value, str) else json.dumps(value))
        except (NotRight, PublishFailed) as error:
            problems.append(str(error))
    form.secrets = [
        name for name in SECRETS if set(SECRETS[name]) & set(form.values) or (named and name in form.secrets)
    ]
    try:
        keys = form.now.get("signing-keys")
        wanted = "signing-keys" in form.secrets if named else keys is None or bool(keys.missing("signing-keys"))
        if wanted and not set(KEYS) & set(form.values) and (found := form.qstash()):
            form.values.update(zip(KEYS, found.keys, strict=True))
            form.said.append("the signing keys are QStash's own")
        if set(KEYS) & set(form.values):
            form.check_keys()
    except (NotRight, PublishFailed) as error:
        problems.append(str(error))
    if problems:
        raise AwsFailed("nothing was written. " + "; ".join(dict.fromkeys(problems)))


def _given(text: str, secrets: list[str]) -> dict[str, Any]:
    """JSON by the settings' names; or, where one secret of one setting is named, its bare value. Raises `AwsFailed`."""
    only = SECRETS[secrets[0]] if len(secrets) == 1 else ()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and {"data", "lease_id"} <= set(document):
        raise AwsFailed("this is what Vault says around a secret; let it say the secret alone, with -field=data")
    if isinstance(document, dict) and (len(only) != 1 or set(document) <= set(only)):
        return document
    if len(only) == 1 and text.strip():
        return {only[0]: document if isinstance(document, dict) else text.strip()}
    raise AwsFailed(
        'standard input must be a JSON object by the settings\' names, like {"QSTASH_TOKEN": "…"}; or, with the name of '
        "one secret, its value alone"
    )


def _senders(form: Form) -> dict[str, Any]:
    """The senders of one's own that there are: an object, or its JSON as text."""
    held = form.held("CUSTOM_WEBHOOK_SECRETS")
    if isinstance(held, str):
        try:
            held = json.loads(held)
        except (ValueError, RecursionError):
            held = None
    return dict(held) if isinstance(held, dict) else {}


def _merged(held: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Senders that are not mentioned stay; null takes one away."""
    merged = {**held, **given}
    return {sender: secret for sender, secret in merged.items() if secret is not None}


def _write(form: Form, store: SecretStore) -> list[str]:
    written = []
    for name, settings in SECRETS.items():
        values = {setting: form.values[setting] for setting in settings if setting in form.values}
        version = form.now.get(name)
        held = dict(version.held) if version else {}
        held.pop("", None)  # a bare value gives way to the object
        if values and (version is None or {**held, **values} != version.held):
            store.write(name, {**held, **values})
            written.append(name)
    return written


def _next(stage: Stage, store: SecretStore) -> None:
    empty = [name for name in REQUIRED if look(store, name).missing]
    if empty:
        console.print(f"Still empty, and needed: {', '.join(empty)}. Next: jobs secrets put --stage {stage.name}")
    else:
        console.print(
            f"What is needed is there. Next: make deploy STAGE={stage.name}; functions that run already read it within "
            "five minutes."
        )
