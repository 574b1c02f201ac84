"""`python -m infra.local.mailbox`: run the mailbox until it is told to stop."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from infra.local.mailbox.server import Mailbox
from infra.local.web import PortTaken

DEFAULT_PORT = 8025
DEFAULT_FOLDER = Path(".local/mailbox")


def run(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where to listen on loopback; 0 takes a free port.")
    ] = DEFAULT_PORT,
    folder: Annotated[Path, typer.Option("--folder", help="Where the mails are kept.")] = DEFAULT_FOLDER,
) -> None:
    """A mailbox for development: it speaks Resend's API and shows every mail instead of sending it."""
    told_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told_to_stop.set())
    try:
        with Mailbox(port=port, folder=folder) as mailbox:
            typer.echo(f"The mailbox is at {mailbox.url}; mails are kept in {folder}.")
            typer.echo(f'\n  export RESEND_API_URL="{mailbox.url}"\n  export RESEND_API_KEY="re_local"\n')
            told_to_stop.wait()
    except PortTaken as error:
        typer.echo(f"{str(error).capitalize()}.", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(run)
