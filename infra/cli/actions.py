"""Commands that move jobs on."""

from __future__ import annotations

import getpass
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from pydantic import ValidationError

from infra.cli import arguments, environment
from infra.cli.reading import transaction
from infra.cli.screen import brief, console, plain, show, status, table

if TYPE_CHECKING:
    from infra.migrations import Part

LONGEST_MIGRATION = timedelta(hours=12)
"""For one statement, such as one that builds an index on a big table."""

WAIT = timedelta(hours=1)
"""For a job to end: the longest attempts take 15 minutes, and there may be several."""


def actor() -> str:
    """Who is at the keyboard, for the audit."""
    return f"{getpass.getuser()} (jobs)"


def enqueue(
    job_type: Annotated[str, typer.Argument(help="The job type, e.g. send-email.")],
    payload: Annotated[str, typer.Argument(help="JSON, @file, or - for standard input.")] = "{}",
    delay: Annotated[str | None, typer.Option(help="Not before this has passed, e.g. 10m.")] = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="The same key is the same job.")] = None,
    user: Annotated[int | None, typer.Option(help="The user it is for.")] = None,
    organization: Annotated[int | None, typer.Option(help="The organization it is for.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit 1 unless it completed.")] = False,
) -> None:
    """Enqueue one job and print its id.

    [dim]jobs enqueue probe '{"mode": "fail-once"}' --wait[/]

    [dim]jobs enqueue send-email @welcome.json --delay 10m[/]
    """
    environment.load()
    from qstash_jobs import dispatch
    from qstash_jobs.job import registry
    from qstash_jobs.testing import JobFailed, wait_for_job_completion

    contract = registry.get(job_type)
    try:
        job = contract.model_validate(arguments.payload(payload))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'payload'}: {one['msg']}" for one in error.errors())
        raise typer.BadParameter(problems, param_hint="payload") from None
    job_id = dispatch.enqueue(
        job,
        delay=arguments.duration(delay) if delay else None,
        idempotency_key=key,
        user_id=user,
        organization_id=organization,
    )
    console.print(str(job_id))
    if wait:
        try:
            wait_for_job_completion(job_id, WAIT)
        except (JobFailed, TimeoutError) as error:
            console.print(plain(str(error)), markup=False)
            raise typer.Exit(1) from None


def cancel(
    job_id: Annotated[str | None, typer.Argument(help="One job's id; without it, all that match the filter.")] = None,
    status_: Annotated[str, typer.Option("--status", help="pending, retrying or processing.")] = "pending",
    type_: Annotated[str | None, typer.Option("--type", help="Only this job type.")] = None,
    since: Annotated[str | None, typer.Option(help="Only jobs of the last, e.g., 2h.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop jobs: those that wait at once, those that run at their next report of progress.

    [dim]jobs cancel 019a3f1c-…[/]

    [dim]jobs cancel --type send-email --since 2h[/]   shows what matches, and asks
    """
    environment.load()
    from qstash_jobs import dispatch
    from qstash_jobs.errors import InvalidMove

    if job_id is not None:
        ended = dispatch.cancel(arguments.job_id(job_id), by=actor())
        console.print(f"{job_id}: ", status(ended), "" if ended == "cancelled" else " (it was asked to stop)", sep="")
        return
    if status_ not in {"pending", "retrying", "processing"}:
        raise typer.BadParameter("only jobs that wait or run can be cancelled", param_hint="--status")
    stopped = 0
    for one in _chosen("Cancel", _matching(status_, type_, None, since), yes=yes):
        try:
            stopped += dispatch.cancel(one, by=actor()) == "cancelled" or status_ == "processing"
        except InvalidMove:  # it has ended meanwhile
            continue
    console.print(f"{_jobs(stopped)} {'asked to stop' if status_ == 'processing' else 'cancelled'}.")


def requeue(
    job_id: Annotated[str | None, typer.Argument(help="One job's id; without it, all that match the filter.")] = None,
    status_: Annotated[str, typer.Option("--status", help="failed or cancelled.")] = "failed",
    type_: Annotated[str | None, typer.Option("--type", help="Only this job type.")] = None,
    error: Annotated[str | None, typer.Option("--error", help="Only this class of error.")] = None,
    since: Annotated[str | None, typer.Option(help="Only jobs of the last, e.g., 2h.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Send failed or cancelled jobs round again, with a fresh budget.

    [dim]jobs requeue 019a3f1c-…[/]

    [dim]jobs requeue --type send-email --since 2h[/]   shows what matches, and asks
    """
    environment.load()
    from qstash_jobs import dispatch

    if job_id is not None:
        dispatch.requeue(arguments.job_id(job_id), by=actor())
        console.print(f"{job_id}: ", status("pending"), sep="")
        return
    if status_ not in {"failed", "cancelled"}:
        raise typer.BadParameter("only failed and cancelled jobs can be requeued", param_hint="--status")
    matching = _chosen("Requeue", _matching(status_, type_, error, since), yes=yes)
    moved = 0
    for start in range(0, len(matching), 100):
        found = dispatch.requeue_many(matching[start : start + 100], by=actor())
        moved += sum(before in {"failed", "cancelled"} for before in found.values())
    console.print(f"{_jobs(moved)} requeued.")


def _chosen(what: str, matching: list[UUID], *, yes: bool) -> list[UUID]:
    """What matches, once someone has agreed."""
    if not matching:
        console.print("No job matches.")
        raise typer.Exit
    if not yes:
        typer.confirm(f"{what} {_jobs(len(matching))}?", abort=True)
    return matching


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


def _matching(status_: str, type_: str | None, error: str | None, since: str | None) -> list[UUID]:
    from qstash_jobs.executions import queries
    from qstash_jobs.executions.state import Status

    found: list[UUID] = []
    preview = table("job", "type", "error", "created")
    cursor = None
    created = datetime.now(UTC) - arguments.duration(since) if since else None
    with transaction() as connection:
        while True:
            page = queries.search(
                connection,
                status=Status(status_),
                job_type=type_,
                error_type=error,
                since=created,
                cursor=cursor,
                limit=200,
            )
            for one in page.executions:
                if len(found) < 10:
                    preview.add_row(str(one.job_id), one.job_type, brief(one.error, 60), str(one.created_at)[:19])
                found.append(one.job_id)
            cursor = page.cursor
            if cursor is None:
                break
    if found:
        show(preview)
        if len(found) > 10:
            console.print(f"… and {len(found) - 10} more")
    return found


def migrate(
    to: Annotated[str, typer.Option("--to", help="A revision; `base` removes the record with all its data.")] = "head",
    down: Annotated[bool, typer.Option("--down", help="Go back to that revision.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say which revisions are missing.")] = False,
    saas: Annotated[bool, typer.Option("--saas", help="The SaaS starter's tables too: users and so on.")] = False,
    before: Annotated[bool, typer.Option("--before", help="Only what is to run before the code is deployed.")] = False,
    after: Annotated[bool, typer.Option("--after", help="What is left for when the code is deployed.")] = False,
) -> None:
    """Bring the record's tables up to date, and with --saas those of the SaaS starter.

    [dim]jobs migrate[/]   ·   [dim]jobs migrate --saas[/]   ·   [dim]jobs migrate --plan[/]

    [dim]jobs migrate --before[/]   ·   [dim]jobs migrate --after[/]

    [dim]jobs migrate --down --to jobs_0001[/]   ·   [dim]jobs migrate --down --to saas@base[/]
    """
    environment.load()
    from infra import migrations

    newest = to in {"head", "heads"}
    if down and newest:
        raise typer.BadParameter("say which revision to go back to", param_hint="--to")
    if saas and not migrations.is_relative(to):
        raise typer.BadParameter(f"{to} is of one branch, so leave it out", param_hint="--saas")
    if (before or after) and (down or not newest):
        raise typer.BadParameter("a part goes up to the newest revision", param_hint="--before / --after")
    part = migrations.Part.BEFORE if before and not after else None
    with transaction() as connection:
        missing = migrations.pending(connection, saas=saas, part=part)
        ahead = migrations.unknown(connection)
    if ahead:
        console.print(f"The database is ahead: it has {', '.join(ahead)}, which this version does not know.")
    if plan:
        console.print("\n".join(missing) or "Up to date.")
        return
    if down:
        environment.confirm(f"This takes tables back to {to}, with what is in them,")
    applied = _advance(part, saas=saas) if newest else _move(to, saas=saas, down=down)
    console.print(f"Back at {to}." if down else f"Applied {', '.join(applied)}." if applied else "Up to date.")


def _advance(part: Part | None, *, saas: bool) -> list[str]:
    from infra.migrations.advance import advance
    from qstash_jobs.database import Database
    from qstash_jobs.settings import settings

    patient = Database(settings().secret("DATABASE_URL"), LONGEST_MIGRATION)
    try:
        return advance(patient, part=part, saas=saas, within=LONGEST_MIGRATION)
    finally:
        patient.close()


def _move(to: str, *, saas: bool, down: bool) -> list[str]:
    from alembic.util import CommandError

    from infra import migrations

    try:
        with transaction() as connection:
            before = migrations.pending(connection, saas=True)
            (migrations.revert if down else migrations.migrate)(connection, to, saas=saas)
            after = migrations.pending(connection, saas=True)
    except CommandError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    return [revision for revision in before if revision not in after]


def relay(
    once: Annotated[bool, typer.Option("--once", help="One pass, then end.")] = False,
    interval: Annotated[str, typer.Option(help="Between passes.")] = "1s",
) -> None:
    """Publish what waits in the outbox: every second, wherever a process can run all the time.

    [dim]jobs relay[/]   ·   [dim]jobs relay --once[/]
    """
    environment.load()
    from qstash_jobs.database import database
    from qstash_jobs.errors import DatabaseUnreachable
    from qstash_jobs.relay import publish_due

    pause_seconds = arguments.duration(interval).total_seconds()
    while True:
        began = time.monotonic()
        try:
            for sent in publish_due(database().run_pooled):
                console.print(f"{sent.job_id}  {sent.error or sent.message_id}", markup=False)
        except DatabaseUnreachable as error:
            if once:
                raise
            console.print(f"Postgres cannot be reached, trying again: {error}", markup=False)
        if once:
            return
        time.sleep(max(0.0, pause_seconds - (time.monotonic() - began)))
