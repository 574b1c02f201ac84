"""The server as a command: its options, and what it says when it starts."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.local.qstash.errors import DatabaseUnusable
from infra.local.qstash.settings import DEVELOPMENT_TOKEN, LIMITS, Settings

if TYPE_CHECKING:
    from infra.local.qstash.message import Json
    from infra.local.web import Runner

DEFAULT_PORT = 8080
DEFAULT_DATABASE = Path(".local/qstash.db")
MEMORY = ":memory:"


def run(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where to listen on loopback; 0 takes a free port.")
    ] = DEFAULT_PORT,
    database: Annotated[Path, typer.Option(help="The file that survives a restart.")] = DEFAULT_DATABASE,
    memory: Annotated[bool, typer.Option("--memory", help="Keep nothing; the same as --database :memory:.")] = False,
    time_scale: Annotated[float, typer.Option(help="How many times faster delays, backoff and cron run.")] = 1.0,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="PUBLISHED=LOCAL", help="Deliver what is published to one address to another."),
    ] = None,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Deliver to other machines too.")] = False,
    limits: Annotated[str, typer.Option(help=f"The plan whose limits apply: {' or '.join(LIMITS)}.")] = "payg",
    burst_limit: Annotated[int | None, typer.Option(help="Management requests in a second, if limited.")] = None,
    token: Annotated[str, typer.Option(help="The token that clients must send.")] = DEVELOPMENT_TOKEN,
    read_only_token: Annotated[str | None, typer.Option(help="Another token, which may only look.")] = None,
    events: Annotated[bool, typer.Option("--events", help="Print what happens to messages.")] = False,
) -> None:
    """Run a QStash on this machine: point an SDK of any language at it, and it delivers to this machine.

    Its page, at the same address, shows messages, schedules, queues and dead letters.

    [dim]jobs qstash[/]   ·   [dim]jobs qstash --memory --time-scale 60[/]   retries take seconds

    [dim]jobs qstash --map https://api.example.com=http://127.0.0.1:3000[/]
    """
    if limits not in LIMITS:
        raise typer.BadParameter(f"there are {' and '.join(LIMITS)}", param_hint="--limits")
    try:
        settings = Settings(
            database=None if memory or str(database) == MEMORY else database,
            token=token,
            read_only_token=read_only_token,
            time_scale=time_scale,
            host_map=_read_map(map_ or []),
            allow_remote=allow_remote,
            limits=LIMITS[limits],
            burst_limit=burst_limit,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    # Only who runs a server pays for it: other commands of the same program begin by importing this module.
    from infra.local.qstash.store import check_database
    from infra.local.web import PortTaken, listen

    try:
        check_database(settings.database)
        listener = listen(port)
    except (DatabaseUnusable, PortTaken) as error:
        typer.echo(f"{str(error)[0].upper()}{str(error)[1:]}.", err=True)
        raise typer.Exit(1) from error
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(_serve(settings, listener, print_events=events))


def _read_map(pairs: list[str]) -> dict[str, str]:
    mapped = {}
    for pair in pairs:
        published, separator, local = pair.partition("=")
        if not separator or "://" not in published or "://" not in local:
            raise typer.BadParameter(
                f"{pair!r} is not like https://api.example.com=http://127.0.0.1:9000", param_hint="--map"
            )
        mapped[published] = local
    return mapped


async def _serve(settings: Settings, listener: socket.socket, *, print_events: bool) -> None:
    from infra.local.qstash.app import create_app
    from infra.local.web import runner

    app = create_app(settings, _print_event if print_events else None)
    server = runner(app)
    server.on_started = lambda: _announce(settings, listener.getsockname()[1], app.state.service.keys.as_json())
    _stop_on_signals(server)
    await server.serve(sockets=[listener])


def _stop_on_signals(server: Runner) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)


def _announce(settings: Settings, port: int, keys: dict[str, str]) -> None:
    kept = f"kept in {settings.database}" if settings.database else "kept in memory only"
    speed = f"; time runs {settings.time_scale:g} times faster" if settings.time_scale != 1 else ""
    url = f"http://127.0.0.1:{port}"
    # The first line is what a program that starts the server waits for, such as the JavaScript SDK with QSTASH_DEV.
    typer.echo(f"""
QStash is running at {url}
A development tool, reachable from this machine only; messages are {kept}{speed}.
Open the address in a browser to see them. Ctrl-C stops.

Shell
  export QSTASH_URL="{url}"
  export QSTASH_TOKEN="{settings.token}"
  export QSTASH_CURRENT_SIGNING_KEY="{keys["current"]}"
  export QSTASH_NEXT_SIGNING_KEY="{keys["next"]}"

Python
  client = QStash("{settings.token}", base_url="{url}")

TypeScript
  const client = new Client({{ baseUrl: "{url}", token: "{settings.token}" }})
  {_dev_mode(settings, port)}
""")


def _dev_mode(settings: Settings, port: int) -> str:
    if settings.token != DEVELOPMENT_TOKEN:
        return "// QSTASH_DEV=true works with the default token only"
    variables = "QSTASH_DEV=true" if port == DEFAULT_PORT else f"QSTASH_DEV=true QSTASH_DEV_PORT={port}"
    return f"// or set {variables}, and the SDK finds it by itself"


def _print_event(event: Json) -> None:
    time = datetime.fromtimestamp(event["time"] / 1_000).astimezone().strftime("%H:%M:%S.%f")[:-3]
    typer.echo(f"{time}  {event['state']:<16}  {event['messageId']}  {event['label'] or '-'}  {event['url']}")
