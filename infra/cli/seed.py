"""`jobs seed`: believable data in the starter's tables, to try exports, reports and clean-ups on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from infra.cli import environment
from infra.cli.reading import transaction
from infra.cli.screen import console, span
from infra.seed.refusal import SeedRefused

if TYPE_CHECKING:
    from infra.seed.load import Step

WITHIN = timedelta(hours=1)
"""For one answer of Postgres."""


class Size(StrEnum):
    """How much."""

    SMALL = "small"
    LARGE = "large"


def seed(
    scale: Annotated[Size, typer.Option(help="500 users and 20,000 activity logs, or 1 and 5 million.")] = Size.SMALL,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day on which the 18 months end; else today.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="First delete all rows of the starter's tables.")] = False,
    remote: Annotated[bool, typer.Option("--remote", help="Also in a database that is not on this machine.")] = False,
) -> None:
    """Fill the SaaS starter's tables with believable data: the same for the same scale and day.

    Needs `jobs migrate --saas`, which the desk's own Postgres has had. Nobody's address is real: all end in .example.

    [dim]jobs seed[/]   ·   [dim]jobs seed --scale large --replace[/]   ·   [dim]jobs seed --until 2026-11-01[/]
    """
    environment.load()
    from infra.seed.load import seed as fill
    from infra.seed.scale import SCALES
    from qstash_jobs.database import database

    dsn = database().dsn
    if not dsn.is_local and not remote:
        raise SeedRefused(
            f"DATABASE_URL leads to {dsn.host}, and made-up rows would be written there: unset it, or say --remote if "
            "that is meant"
        )
    began = time.monotonic()
    with transaction(WITHIN) as connection:
        written = _follow(fill(connection, SCALES[scale], (until or datetime.now(UTC)).date(), replace=replace))
    console.print(f"{written:,} rows after {span(timedelta(seconds=time.monotonic() - began))}.")


def _follow(steps: Iterator[Step]) -> int:
    """Take all steps, show each table, and say how many rows were written."""
    written = 0
    with Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        TextColumn("{task.completed:>9,}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        for step in steps:
            if step.begins:
                bar = progress.add_task(step.table, total=step.total)
            progress.update(bar, completed=step.rows, total=step.total)
            if step.ends:
                written += step.rows
                if not console.is_terminal:
                    console.print(f"{step.table}: {step.rows:,} rows")
    return written
