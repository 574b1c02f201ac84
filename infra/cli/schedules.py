"""`jobs schedules …`: the declared schedules, and those that QStash has."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli import environment
from infra.cli.screen import ago, console, plain, show, table
from infra.cli.stages import on_stage

if TYPE_CHECKING:
    from qstash_jobs.schedule_changes import Change
    from qstash_jobs.schedules import Schedule

app = typer.Typer(no_args_is_help=True, help="Declared schedules: compare, apply, pause, run.")

FIRINGS = 10

Id = Annotated[str, typer.Argument(metavar="ID", help="A declared schedule, e.g. reconcile-jobs.")]


@app.command("list")
@on_stage
def list_schedules() -> None:
    """List the schedules that QStash has, ours and others.

    [dim]jobs schedules list[/]
    """
    environment.load()
    from qstash_jobs.relay import qstash

    made = table("schedule", "cron", "next", "last", "last run")
    for one in sorted(qstash().schedules(), key=lambda one: one.id):
        made.add_row(
            plain(one.id),
            plain(str(one.facts["cron"])),
            "[yellow]paused[/]" if one.paused else ago(one.next_at),
            ago(one.last_at),
            ", ".join(sorted(set(one.last_states.values()))).lower().replace("_", " ") or "–",
        )
    if made.row_count:
        show(made)
    else:
        console.print("QStash has no schedule. Make the declared ones with: jobs schedules apply")


@app.command()
@on_stage
def diff() -> None:
    """Show what `apply` would change; exit 1 when there is something.

    [dim]jobs schedules diff[/]
    """
    steps = _steps()
    _print(steps)
    if steps:
        raise typer.Exit(1)


@app.command()
@on_stage
def apply() -> None:
    """Make QStash's schedules the declared ones: create, replace, and remove those of our prefix that are declared no
    more. A pause is kept. Doing it again changes nothing.

    [dim]jobs schedules apply[/]
    """
    steps = _steps()
    from qstash_jobs import schedule_changes
    from qstash_jobs.relay import qstash

    schedule_changes.apply(steps, qstash())
    _print(steps)


@app.command()
@on_stage
def pause(schedule_id: Id) -> None:
    """Let a schedule rest: its firings are skipped, and not made up for.

    [dim]jobs schedules pause reconcile-jobs[/]
    """
    _set_paused(schedule_id, paused=True)


@app.command()
@on_stage
def resume(schedule_id: Id) -> None:
    """Let a paused schedule run again.

    [dim]jobs schedules resume reconcile-jobs[/]
    """
    _set_paused(schedule_id, paused=False)


@app.command("run-now")
@on_stage
def run_now(schedule_id: Id) -> None:
    """Enqueue the job of a schedule now, besides its firings, and print its id.

    [dim]jobs schedules run-now reconcile-jobs[/]
    """
    environment.load()
    from qstash_jobs.dispatch import enqueue

    console.print(str(enqueue(_declared(schedule_id).job)))


@app.command("next")
def next_firings(
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many of each.")] = FIRINGS,
) -> None:
    """Show the next firings of each declared schedule, in its own time zone.

    [dim]jobs schedules next[/]   ·   [dim]jobs schedules next --count 3[/]
    """
    from infra.local.qstash.cron import parse_cron
    from qstash_jobs.dispatch import zoned
    from qstash_jobs.schedules import SCHEDULES

    for one in SCHEDULES:
        console.print(f"[bold]{one.id}[/]  {one.cron}  {one.timezone}")
        moment = time.time()
        cron = parse_cron(zoned(one.cron, one.timezone), now=moment)
        for _ in range(count):
            moment = cron.after(moment)
            local = datetime.fromtimestamp(moment, cron.zone)
            console.print(f"  {local:%a %Y-%m-%d %H:%M %Z}  {ago(datetime.fromtimestamp(moment, UTC))}")


def _steps() -> list[Change]:
    environment.load()
    from qstash_jobs import schedule_changes
    from qstash_jobs.relay import qstash
    from qstash_jobs.schedules import SCHEDULES
    from qstash_jobs.settings import settings

    wanted = schedule_changes.wanted_schedules(SCHEDULES)
    return schedule_changes.changes(wanted, qstash().schedules(), settings().schedule_prefix)


def _print(steps: list[Change]) -> None:
    signs = {"create": "[green]+[/]", "replace": "[yellow]~[/]", "remove": "[red]-[/]"}
    for step in steps:
        console.print(f"{signs[step.kind]} {step.kind} {plain(step.id)}", highlight=False)
        for name, (is_, to_be) in step.differences.items():
            console.print(f"    {name}: {_shown(is_)} → {_shown(to_be)}", markup=False)
    if not steps:
        console.print("QStash has the schedules as they are declared.")


def _shown(value: Any) -> str:
    return "nothing" if value is None else plain(str(value))


def _declared(schedule_id: str) -> Schedule:
    from qstash_jobs.schedules import SCHEDULES

    found = {one.id: one for one in SCHEDULES}
    if schedule_id not in found:
        raise typer.BadParameter(f"declared are {', '.join(found)}", param_hint="ID")
    return found[schedule_id]


def _set_paused(schedule_id: str, *, paused: bool) -> None:
    environment.load()
    from qstash_jobs.relay import qstash
    from qstash_jobs.settings import settings

    full = f"{settings().schedule_prefix}.{_declared(schedule_id).id}"
    qstash().pause_schedule(full, paused=paused)
    console.print(f"{full}: {'paused' if paused else 'runs'}")
