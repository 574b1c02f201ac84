"""How values come into the form of `jobs secrets put`: typed at a terminal without an echo, or piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from getpass import getpass
from typing import Any

import typer

from infra.cli.aws import AwsFailed
from infra.cli.screen import console, errors, plain
from infra.cli.secret_form import Form, needed_by
from infra.cli.secret_values import KEYS, NotRight
from infra.stage import MADE_BY_AWS, REQUIRED, SECRETS
from qstash_jobs.errors import PublishFailed


def ask(form: Form) -> None:
    """At the terminal, one after the other."""
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
    senders = form.senders()
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


def read(form: Form, *, named: bool) -> None:
    """From standard input; everything is looked at before anything is written. Raises `AwsFailed`."""
    given = _given(sys.stdin.read(), form.secrets if named else list(SECRETS))
    allowed = [setting for name in (form.secrets if named else SECRETS) for setting in SECRETS[name]]
    if unknown := sorted(set(given) - set(allowed)):
        raise AwsFailed(f"{', '.join(map(plain, unknown))}: not to be filled here; expected are {', '.join(allowed)}")
    problems = []
    for setting in (one for one in allowed if given.get(one) not in (None, "")):
        value = given[setting]
        if setting == "CUSTOM_WEBHOOK_SECRETS" and isinstance(value, dict):
            value = _merged(form.senders(), value)
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


def _merged(held: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Senders that are not mentioned stay; null takes one away."""
    merged = {**held, **given}
    return {sender: secret for sender, secret in merged.items() if secret is not None}
