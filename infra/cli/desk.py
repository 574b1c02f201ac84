"""`jobs dev`, `jobs demo` and `jobs clean`: the whole system on this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.cli.environment import FOLDER
from infra.cli.reading import transaction
from infra.cli.record import took
from infra.cli.screen import ago, brief, console, least_width, show, span, status, table
from infra.local.desk import Desk, Ports, declare_schedules, only_one
from infra.local.service import DeskFailed
from qstash_jobs.errors import DatabaseUnreachable

if TYPE_CHECKING:
    from qstash_jobs.executions.queries import Execution

LOG = "desk.log"
_COLUMNS = ("job", "type", "status", "attempts", "created", "took", "error")
POLL_SECONDS = 0.5


def dev(
    qstash_port: Annotated[int, typer.Option(help="Where QStash listens.")] = Ports.qstash,
    functions_port: Annotated[int, typer.Option(help="Where the functions listen.")] = Ports.functions,
    mailbox_port: Annotated[int, typer.Option(help="Where the mailbox listens.")] = Ports.mailbox,
    s3_port: Annotated[int, typer.Option(help="Where S3 listens.")] = Ports.s3,
    time_scale: Annotated[float, typer.Option(min=0.001, help="Backoff, delays and cron run so much faster.")] = 1.0,
    reload: Annotated[bool, typer.Option(help="Start functions afresh when a file changes.")] = True,
    remote: Annotated[
        bool, typer.Option("--remote", help="Let the desk use a Postgres or a QStash elsewhere.")
    ] = False,
) -> None:
    """Run everything here: Postgres, QStash, the functions at their URLs, the mailbox, the relay.

    DATABASE_URL or QSTASH_URL in the environment take the place of the part that is run here otherwise.

    [dim]jobs dev[/]   ·   [dim]jobs dev --time-scale 60[/]   retries take seconds
    """
    if not remote:
        _refuse_elsewhere(_given())
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / LOG).open("a", buffering=1) as log, _until_told_to_stop():
        desk = Desk(
            FOLDER.absolute(),  # for parts that run in another folder
            ports=Ports(qstash=qstash_port, functions=functions_port, mailbox=mailbox_port, s3=s3_port),
            given=_given(),
            time_scale=time_scale,
            reload=reload,
            log=lambda part, line: print(f"{part}: {line}", file=log),
        )
        with ExitStack() as running:
            with console.status("Starting Postgres, QStash, S3, functions, mailbox …"):
                running.enter_context(desk)
                os.environ.update(desk.environment)
                declare_schedules()
            running.enter_context(desk.relay())
            _screen(desk)
    console.print("Stopped.")


def _given() -> dict[str, str]:
    from qstash_jobs.settings import Settings

    names = {str(field.alias) for field in Settings.model_fields.values()}
    return {name: value for name, value in os.environ.items() if name in names}


def _refuse_elsewhere(given: dict[str, str]) -> None:
    """A desk makes tables and schedules, and lets probes fail: not by mistake in a place that others use."""
    from qstash_jobs.dsn import Dsn

    if "DATABASE_URL" in given and not (dsn := Dsn.parse(given["DATABASE_URL"])).is_local:
        place, does = f"DATABASE_URL leads to {dsn.host}", "make its tables there"
    elif "QSTASH_URL" in given and not re.match(r"https?://(localhost|127\.|\[::1\])", given["QSTASH_URL"]):
        place, does = f"QSTASH_URL leads to {given['QSTASH_URL']}", "set its schedules there"
    else:
        return
    raise DeskFailed(f"{place}, and the desk would {does}: unset it, or say --remote if that is meant")


@contextmanager
def _until_told_to_stop() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block in order."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell lets what it starts in the background ignore it, and its children inherit that.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _screen(desk: Desk) -> None:
    addresses = _addresses(desk)
    if not console.is_terminal:
        show(addresses)
        sys.stdout.flush()
        _follow()
        return
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            rows = max(3, console.height - addresses.row_count - 8)
            live.update(Group(Panel(addresses, title="jobs dev", title_align="left"), _recent(rows)), refresh=True)
            time.sleep(POLL_SECONDS)


def _addresses(desk: Desk) -> Table:
    environment = desk.environment
    made = table("", "")
    made.show_header = False
    made.add_row("[dim]functions[/]", f"{environment['JOBS_BASE_URL']}/<job-type>")
    made.add_row("[dim]QStash[/]", environment["QSTASH_URL"])
    if desk.mailbox is not None:
        made.add_row("[dim]mailbox[/]", desk.mailbox.url)
    if desk.s3 is not None:
        made.add_row("[dim]S3[/]", f"{desk.s3.url}/{environment['JOBS_BUCKET']}")
    made.add_row("[dim]Postgres[/]", environment["DATABASE_URL"] if desk.postgres else "as DATABASE_URL says")
    made.add_row("[dim]logs[/]", str(FOLDER / LOG))
    made.add_row("[dim]try[/]", 'jobs enqueue probe \'{"mode": "fail-once"}\'   in another terminal; Ctrl-C stops')
    return made


def _recent(rows: int) -> Table:
    found = _newest(rows)
    for columns in (_COLUMNS, _COLUMNS[:4]):  # the latter have room in 80
        made = table(*columns)
        for one in found:
            made.add_row(*_line(one)[: len(columns)])
        if least_width(made) <= console.width:
            break
    return made


def _follow() -> None:
    """A line for each change, for logs and pipes."""
    seen: dict[UUID, tuple[str, int]] = {}
    while True:
        for one in reversed(_newest(100)):
            if seen.get(one.job_id) != (one.status, one.attempts):
                seen[one.job_id] = (one.status, one.attempts)
                print("  ".join(str(cell) for cell in _line(one)), flush=True)  # noqa: T201
        time.sleep(POLL_SECONDS)


def _newest(limit: int) -> list[Execution]:
    from qstash_jobs.executions import queries

    try:
        with transaction() as connection:
            return list(queries.search(connection, limit=limit).executions)
    except DatabaseUnreachable:  # Postgres is being restarted: the screen stays, and fills again
        return []


def _line(one: Execution) -> list[str | Text]:
    return [
        str(one.job_id),
        one.job_type,
        status(one.status),
        f"{one.attempts}/{one.max_attempts}",
        ago(one.created_at),
        span(took(one)),
        brief(one.error, 60),
    ]


def clean() -> None:
    """Remove the desk's state in this checkout: its Postgres, its messages, its mail.

    [dim]jobs clean[/]
    """
    from infra.local.postgres import EmbeddedPostgres

    if not FOLDER.exists():
        return
    with only_one(FOLDER):
        postgres = EmbeddedPostgres(FOLDER / "postgres")
        if postgres.folder.exists():
            postgres.remove()
        shutil.rmtree(FOLDER)
