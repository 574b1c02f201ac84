"""`jobs demo`: one of everything, on a desk of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from infra.cli.reading import transaction
from infra.cli.record import took
from infra.cli.screen import brief, console, show, span, status, table
from infra.local.desk import Desk, Ports
from infra.local.service import ROOT

if TYPE_CHECKING:
    from qstash_jobs.executions.queries import Execution
    from qstash_jobs.job import Job

DEMO_TIME_SCALE = 20.0
DEMO_SECONDS = 60.0


@dataclass(frozen=True)
class Act:
    """One job of the demo, and how it is to end."""

    what: str
    job: Job
    ends: str
    attempts: int
    retries: int | None = None
    redriven: bool = False


def _acts() -> list[Act]:
    from infra.cli.samples import MAILS, work
    from qstash_jobs.jobs.probe import Probe, ProbeMode

    return [
        *(Act(f"mail: {mail.template}", mail, "completed", 1) for mail in MAILS),
        *(Act(what, job, "completed", 1) for what, job in work(datetime.now(UTC)).items()),
        Act("succeeds", Probe(), "completed", 1),
        Act("fails once", Probe(mode=ProbeMode.FAIL_ONCE), "completed", 2),
        Act("asks for a later attempt", Probe(mode=ProbeMode.RETRY_LATER), "completed", 2),
        Act("continues twice", Probe(mode=ProbeMode.CONTINUE), "completed", 3),
        Act("its process dies once", Probe(mode=ProbeMode.CRASH_ONCE), "completed", 2),
        Act("fails always", Probe(mode=ProbeMode.FAIL_ALWAYS), "failed", 3),
        Act("is not retryable", Probe(mode=ProbeMode.NOT_RETRYABLE), "failed", 1),
        Act("runs out of time", Probe(mode=ProbeMode.TIME_OUT), "failed", 1, retries=0),
        Act("fails, is redriven", Probe(mode=ProbeMode.FAIL_ONCE), "completed", 2, retries=0, redriven=True),
    ]


def demo(
    time_scale: Annotated[float, typer.Option(min=0.001, help="Backoff, delays and cron run so much faster.")] = (
        DEMO_TIME_SCALE
    ),
) -> None:
    """Start everything apart, on made-up data; enqueue one of each mail, exports, reports, clean-ups, an event of Stripe's
    and probes that fail on purpose; and wait until all is settled.

    Exit 0 only if every job ended as it should.

    [dim]jobs demo[/]
    """
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="jobs-demo-"))
    log_path = ROOT / "build" / "demo.log"
    log_path.parent.mkdir(exist_ok=True)
    with log_path.open("w", buffering=1) as log:
        desk = Desk(
            folder,
            ports=Ports(0, 0, 0, 0),
            time_scale=time_scale,
            log=lambda part, line: print(f"{part}: {line}", file=log),
        )
        try:
            with desk, desk.relay():
                os.environ.update(desk.environment)
                _fill()
                well = _play(began)
        finally:
            if desk.postgres is not None:
                desk.postgres.remove()
            shutil.rmtree(folder, ignore_errors=True)
    if not well:
        console.print(f"[bold red]Not every job ended as it should.[/] The functions' logs are in {log_path}")
        raise typer.Exit(1)


def _fill() -> None:
    from infra.seed.load import seed
    from infra.seed.scale import SCALES

    with transaction() as connection:
        for _step in seed(connection, SCALES["small"], datetime.now(UTC).date()):
            pass


def _play(began: float) -> bool:
    from qstash_jobs import dispatch

    acts = _acts()
    ids = [dispatch.enqueue(act.job, retries=act.retries) for act in acts]
    console.print(f"{len(ids)} jobs enqueued after {time.monotonic() - began:.1f} s")
    redriven: set[UUID] = set()
    until = time.monotonic() + DEMO_SECONDS
    while True:
        rows = _rows(ids)
        for act, row in zip(acts, rows, strict=True):
            if act.redriven and row.status == "failed" and row.job_id not in redriven:
                dispatch.requeue(row.job_id, by="the demo")
                redriven.add(row.job_id)
        settled = all(
            row.status in {"completed", "failed", "cancelled"} and (not act.redriven or row.generation > 1)
            for act, row in zip(acts, rows, strict=True)
        )
        if settled or time.monotonic() > until:
            break
        time.sleep(0.1)
    return _curtain(acts, rows, time.monotonic() - began)


def _rows(ids: list[UUID]) -> list[Execution]:
    from qstash_jobs.executions import queries

    with transaction() as connection:
        found = [queries.get(connection, job_id) for job_id in ids]
    return [row for row in found if row is not None]


def _curtain(acts: list[Act], rows: list[Execution], seconds: float) -> bool:
    made = table("", "type", "what it does", "status", "attempts", "took", "error")
    all_well = True
    for act, row in zip(acts, rows, strict=True):
        well = (row.status, row.attempts) == (act.ends, act.attempts)
        all_well = all_well and well
        made.add_row(
            "[green]✓[/]" if well else "[bold red]✗[/]",
            row.job_type,
            act.what,
            status(row.status),
            f"{row.attempts} of {row.max_attempts}",
            span(took(row)),
            brief(row.error, 50),
        )
    show(made)
    console.print(f"{len(rows)} jobs settled after {span(timedelta(seconds=seconds))}")
    return all_well
