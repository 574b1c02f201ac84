"""Call one function with a sample event, in this process: for a debugger, and for a look at its answer."""

from __future__ import annotations

import base64
import importlib
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli import environment
from infra.cli.screen import console

EVENTS = Path(__file__).parents[2] / "events"


def invoke(
    function: Annotated[str, typer.Argument(help="The function, e.g. send-email.")],
    event: Annotated[Path | None, typer.Option(help="The event to send; by default events/<function>.json.")] = None,
) -> None:
    """Deliver a sample event to a function in this process, signed anew, and print the answer.

    [dim]jobs invoke send-email[/]
    """
    environment.load()
    os.environ.setdefault("AWS_LAMBDA_FUNCTION_NAME", function)
    from qstash_jobs.errors import UnknownJobType
    from qstash_jobs.job import registry
    from qstash_jobs.settings import settings
    from qstash_jobs.testing import Context, sign

    chosen = event or EVENTS / f"{function}.json"
    sample = _read(chosen)
    try:
        module = importlib.import_module(f"functions.{function.replace('-', '_')}.handler")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("functions."):
            raise
        raise typer.BadParameter(f"there is no functions/{function.replace('-', '_')}", param_hint="function") from None
    try:
        timeout = registry.get(function).options.timeout
    except UnknownJobType:
        timeout = timedelta(seconds=30)
    # A signature lives for five minutes and is for one address, so a stored one would be of no use.
    url = settings().url(function)
    body = base64.b64decode(sample["body"]) if sample.get("isBase64Encoded") else sample["body"].encode()
    sample["headers"]["upstash-signature"] = sign(body, url, settings().signing_keys[0])
    answer = module.handler(sample, Context(timeout))
    console.print_json(json.dumps(answer))
    if answer["statusCode"] >= 300:
        raise typer.Exit(1)


def _read(path: Path) -> dict[str, Any]:
    """A function URL event. Raises `typer.BadParameter`."""
    try:
        event = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(path.stem for path in EVENTS.glob("*.json")))
        raise typer.BadParameter(f"there is no {path}; there are {known}", param_hint="--event") from None
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}", param_hint="--event") from None
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}", param_hint="--event") from None
    whole = isinstance(event, dict) and isinstance(event.get("headers"), dict) and isinstance(event.get("body"), str)
    if not whole:
        raise typer.BadParameter(f"{path} is no function URL event: it has headers, and a body", param_hint="--event")
    return dict(event)
