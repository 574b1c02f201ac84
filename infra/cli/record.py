"""Commands that look at jobs."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from infra.cli import arguments, environment
from infra.cli.reading import transaction
from infra.cli.screen import ago, brief, console, plain, span, status, table
from infra.cli.screen import show as show_table

if TYPE_CHECKING:
    from qstash_jobs.executions.queries import Execution


def list_jobs(
    status_: Annotated[str | None, typer.Option("--status", help="Only in this status.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only this job type.")] = None,
    error: Annotated[str | None, typer.Option("--error", help="Only this class of error.")] = None,
    user: Annotated[int | None, typer.Option(help="Only for this user.")] = None,
    organization: Annotated[int | None, typer.Option(help="Only for this organization.")] = None,
    since: Annotated[str | None, typer.Option(help="Only jobs of the last, e.g., 2h.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on where the page before ended.")] = None,
) -> None:
    """List jobs, the newest first.

    [dim]jobs list --status failed --since 1d[/]
    """
    environment.load()
    from qstash_jobs.executions import queries
    from qstash_jobs.executions.state import Status

    if status_ is not None and status_ not in set(Status):
        raise typer.BadParameter(f"a status is one of {', '.join(Status)}", param_hint="--status")
    wanted: dict[str, Any] = {
        "status": Status(status_) if status_ else None,
        "job_type": type_,
        "error_type": error,
        "user_id": user,
        "organization_id": organization,
        "since": datetime.now(UTC) - arguments.duration(since) if since else None,
    }
    with transaction() as connection:
        try:
            page = queries.search(connection, **wanted, cursor=cursor, limit=limit)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--cursor") from None
    if not page.executions:
        console.print("No job matches.")
        return
    listing = table("job", "type", "status", "attempts", "created", "took", "error")
    for one in page.executions:
        listing.add_row(
            str(one.job_id),
            one.job_type,
            status(one.status),
            f"{one.attempts}/{one.max_attempts}",
            ago(one.created_at),
            span(took(one)),
            brief(one.error),
        )
    show_table(listing)
    if page.cursor:
        console.print(f"[dim]More: jobs list --cursor {page.cursor}[/]")


def took(execution: Execution) -> timedelta | None:
    """From the first start to the end, or until now."""
    if execution.started_at is None:
        return None
    return (execution.completed_at or datetime.now(UTC)) - execution.started_at


def show(
    job_id: Annotated[str, typer.Argument(help="The job's id.")],
    json_: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show one job: its row, its attempts with their tracebacks, and what people did to it.

    [dim]jobs show 019a3f1c-…[/]   ·   [dim]jobs show 019a3f1c-… --json[/]
    """
    environment.load()
    import dataclasses

    from qstash_jobs.errors import JobNotFound
    from qstash_jobs.executions import queries

    wanted = arguments.job_id(job_id)
    with transaction() as connection:
        execution = queries.get(connection, wanted)
        if execution is None:
            raise JobNotFound(wanted)
        attempts = queries.attempts(connection, wanted)
        actions = queries.actions(connection, wanted)
    if json_:
        document = {
            "execution": dataclasses.asdict(execution),
            "attempts": [dataclasses.asdict(one) for one in attempts],
            "actions": [dataclasses.asdict(one) for one in actions],
        }
        typer.echo(json.dumps(document, default=str, indent=2))
        return
    facts = table("", "")
    facts.show_header = False
    for name, value in _facts(execution):
        facts.add_row(f"[dim]{name}[/]", value)
    console.print(f"[bold]{execution.job_type}[/]  {execution.job_id}")
    show_table(facts)
    history = table("attempt", "outcome", "started", "took", "request", title="\nAttempts")
    for attempt in attempts:
        duration = attempt.finished_at - attempt.started_at if attempt.finished_at else None
        cold = " (cold)" if attempt.cold_start else ""
        history.add_row(
            str(attempt.attempt),
            status(attempt.outcome),
            ago(attempt.started_at),
            span(duration),
            f"{attempt.request_id or '–'}{cold}",
        )
    if attempts:
        show_table(history)
    for attempt in attempts:
        if attempt.error:
            console.print(f"\n[bold]Attempt {attempt.attempt}[/]\n{escape(plain(attempt.error.rstrip()))}")
    if actions:
        done = table("action", "by", "when", title="\nActions")
        for action in actions:
            done.add_row(action.action, brief(action.actor), ago(action.created_at))
        show_table(done)


def _facts(one: Execution) -> list[tuple[str, Text]]:
    progress = one.progress if isinstance(one.progress, dict) else {}
    facts: list[tuple[str, str | Text | int | None]] = [
        ("status", status(one.status)),
        ("attempts", f"{one.attempts} of {one.max_attempts}"),
        ("progress", f"{progress['fraction']:.0%} {plain(str(progress.get('message') or ''))}" if progress else None),
        ("payload", json.dumps(one.payload, ensure_ascii=False)),
        ("result", None if one.result is None else json.dumps(one.result, ensure_ascii=False)),
        ("error", None if one.error is None else plain(f"{one.error_type}: {one.error}")),
        ("user", one.user_id),
        ("organization", one.organization_id),
        ("created", ago(one.created_at)),
        ("available", ago(one.available_at) if one.status in {"pending", "retrying"} else None),
        ("published", ago(one.published_at) if one.published_at else (one.publish_error or "not yet")),
        ("message", f"{one.message_id or '–'} (generation {one.generation}, publication {one.publication})"),
        ("dead letter", one.dlq_id),
        ("ended", ago(one.completed_at) if one.completed_at else None),
    ]
    return [
        (name, value if isinstance(value, Text) else Text(str(value))) for name, value in facts if value is not None
    ]


def watch(
    interval: Annotated[str, typer.Option(help="Between looks.")] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Look once, then end.")] = False,
) -> None:
    """Watch the queue: how much waits, runs and has ended, by job type.

    [dim]jobs watch[/]   ·   [dim]jobs watch --once[/]
    """
    environment.load()
    from rich.live import Live

    pause_seconds = arguments.duration(interval).total_seconds()
    if once or not console.is_terminal:
        show_table(_overview())
        return
    with Live(_overview(), console=console, screen=False, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(pause_seconds)
                live.update(_overview(), refresh=True)
        except KeyboardInterrupt:
            return


def _overview() -> Table:
    from qstash_jobs.executions import queries
    from qstash_jobs.executions.state import Status

    with transaction() as connection:
        counts = queries.counts(connection)
        health = queries.health(connection)
    made = table("type", *Status)
    for job_type, by_status in counts.items():
        made.add_row(job_type, *(str(by_status.get(state, "")) for state in Status))
    made.caption = (
        f"{health.waiting} could run now, the oldest for {span(health.oldest)}; {health.unpublished} not published, "
        f"{health.expired} leases ended, {health.untold} failures untold"
    )
    made.caption_justify = "left"
    return made
