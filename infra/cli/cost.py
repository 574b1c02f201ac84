"""`jobs cost`: what a month of jobs costs, line by line."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.screen import console, show, table
from infra.cost import prices
from infra.cost.model import DAYS, Item, Workload, alarm_metrics, bill, exceeds_free_plan
from infra.stage import SECRETS

if TYPE_CHECKING:
    from qstash_jobs.job import JobOptions

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "build" / "runtime.json"
"""What `make test-runtime` measured of each function, in milliseconds: {"send-email": {"cold": …, "warm": …}}."""


class Plan(StrEnum):
    """QStash's."""

    FREE = "free"
    PAYG = "payg"


class Architecture(StrEnum):
    """Lambda's."""

    ARM64 = "arm64"
    X86_64 = "x86_64"


def cost(
    jobs: Annotated[float, typer.Option(min=0, help="Jobs in a month.")] = 1_000_000,
    type_: Annotated[
        str | None,
        typer.Option("--type", help="Of this job type: its memory and storage, and its time if it was measured."),
    ] = None,
    duration_ms: Annotated[
        float | None, typer.Option("--duration-ms", min=0, help="Of one attempt; 200, if it was not measured.")
    ] = None,
    memory: Annotated[int | None, typer.Option(min=128, max=10_240, help="Of a function, in MB; else 512.")] = None,
    ephemeral_storage: Annotated[
        int | None, typer.Option(min=512, max=10_240, help="Of a function, in MB of /tmp; else 512.")
    ] = None,
    retry_rate: Annotated[float, typer.Option(min=0, help="Attempts beyond the first, for each job.")] = 0.02,
    failure_rate: Annotated[float, typer.Option(min=0, max=1, help="The share of jobs that fail for good.")] = 0.001,
    cold_rate: Annotated[float, typer.Option(min=0, max=1, help="The share of attempts that start cold.")] = 0.01,
    cold_ms: Annotated[
        float | None, typer.Option("--cold-ms", min=0, help="What a cold start adds; 900, if it was not measured.")
    ] = None,
    plan: Annotated[Plan, typer.Option(help="QStash's plan.")] = Plan.PAYG,
    architecture: Annotated[Architecture, typer.Option(help="Lambda's.")] = Architecture.ARM64,
    log_bytes: Annotated[float | None, typer.Option(min=0, help="That a job logs; else as measured.")] = None,
    types: Annotated[int | None, typer.Option(min=1, help="Job types in use; else all there are.")] = None,
    alarms: Annotated[
        int | None, typer.Option(min=0, help="Metrics that alarms watch; else those of all functions.")
    ] = None,
    environments: Annotated[float, typer.Option(min=0, help="Warm ones, if more than the work needs.")] = 0,
    files: Annotated[float, typer.Option(min=0, help="That jobs write to S3.")] = 0,
    file_mb: Annotated[float, typer.Option("--file-mb", min=0, help="The size of one.")] = 1,
    aurora: Annotated[float, typer.Option(min=0, help="Aurora's capacity on average, and a NAT gateway.")] = 0,
    proxy: Annotated[bool, typer.Option("--proxy", help="An RDS Proxy before Aurora.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show what a month of jobs costs: a million, unless you say otherwise, at list prices of us-east-1.

    Asks nobody: prices are in infra/cost/prices.py, with their sources and the day on which they were read.

    [dim]jobs cost[/]   ·   [dim]jobs cost --jobs 50000 --plan free[/]   ·   [dim]jobs cost --aurora 0.5 --json[/]

    [dim]jobs cost --type send-email --duration-ms 350 --retry-rate 0.1[/]
    """
    measured = _measured(type_) if type_ else {}
    options = _options(type_) if type_ else None
    try:
        work = workload(
            jobs=jobs,
            duration_ms=_first(duration_ms, measured.get("warm")),
            memory_mb=_first(memory, options.memory if options else None),
            ephemeral_mb=_first(ephemeral_storage, options.ephemeral_storage if options else None),
            architecture=architecture.value,
            retry_rate=retry_rate,
            failure_rate=failure_rate,
            cold_rate=cold_rate,
            cold_ms=_first(cold_ms, measured.get("cold")),
            plan=plan.value,
            types=types,
            alarms=alarms,
            environments=environments,
            log_bytes=log_bytes,
            files=files,
            file_mb=file_mb,
            aurora_acu=aurora,
            proxy=proxy,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    items = bill(work)
    if json_:
        typer.echo(json.dumps(_document(work, items), indent=2))
        return
    _show(work, items, type_, measured)


def workload(**said: Any) -> Workload:
    """What was said, and this project's own schedules, job types, alarms and secrets for what was not (or was None).

    Raises `ValueError` for what cannot be.
    """
    from qstash_jobs.job import registry

    types = len(registry.contracts())
    own = {"firings": firings(), "types": types, "alarms": alarms_of(ROOT), "secrets": len(SECRETS)}
    return Workload(**own | {name: value for name, value in said.items() if value is not None})


def _show(work: Workload, items: list[Item], type_: str | None, measured: dict[str, float]) -> None:
    of = f" of {type_}" if type_ else ""
    console.print(
        f"{work.jobs:,.0f} jobs{of} a month, each {work.duration_ms:g} ms at {work.memory_mb} MB on {work.architecture}, "
        f"{work.retry_rate:.1%} retried, {work.failure_rate:.1%} failed, {work.cold_rate:.1%} cold\n"
    )
    made = table("item", "quantity", "unit", "list USD", "due USD")
    for column in made.columns[1:2] + made.columns[3:]:
        column.justify = "right"
    for one in items:
        made.add_row(one.name, _quantity(one), one.price.unit, _usd(one.list_usd), _usd(one.due_usd))
    made.add_section()
    total_list, total = sum(one.list_usd for one in items), sum(one.due_usd for one in items)
    made.add_row("[bold]together[/]", "", "", f"[bold]{_usd(total_list)}[/]", f"[bold]{_usd(total)}[/]")
    show(made)
    console.print("\nHow each is counted:")
    for one in items:
        price = f"{one.price.usd:g}"
        per = f" for {one.price.per:,.0f}" if one.price.per != 1 else ""
        memory = ", price from memory" if one.price.from_memory else ""
        console.print(f"  {one.name}: {one.formula}; {price} USD{per}{memory}", markup=False)
    console.print(
        f"\n[dim]due: after what is free each month in an account with nothing else. Prices of us-east-1, read on "
        f"{prices.READ}, before tax: check before relying on them. Not in it: a Postgres elsewhere, mail, traffic; "
        f"Aurora's I/O ({prices.AURORA_IO.usd:g} USD a million) and its backups of more than a day "
        f"({prices.AURORA_BACKUP.usd:g} USD for each GB and month).[/]"
    )
    if measured:
        console.print("[dim]The duration was measured with Postgres on the same machine: add the way to yours.[/]")
    if work.plan == "free" and exceeds_free_plan(work):
        console.print(
            f"[yellow]QStash's free plan takes {prices.QSTASH_FREE_PER_DAY:,} messages a day, and these are "
            f"{work.invocations / DAYS:,.0f}: it refuses the rest. Look at --plan payg.[/]"
        )


def _document(work: Workload, items: list[Item]) -> dict[str, Any]:
    import dataclasses

    return {
        "workload": dataclasses.asdict(work),
        "items": [
            {
                "item": one.name,
                "quantity": one.quantity,
                "unit": one.price.unit,
                "usd": one.price.usd,
                "per": one.price.per,
                "listUsd": round(one.list_usd, 4),
                "dueUsd": round(one.due_usd, 4),
                "formula": one.formula,
                "source": one.price.source,
                "copy": one.price.copy or None,
                "fromMemory": one.price.from_memory,
                "read": one.price.read.isoformat(),
            }
            for one in items
        ],
        "listUsd": round(sum(one.list_usd for one in items), 4),
        "dueUsd": round(sum(one.due_usd for one in items), 4),
        "withinFreePlan": not exceeds_free_plan(work),
    }


def alarms_of(root: Path) -> int:
    """The metrics that alarms watch in a stage of that checkout."""
    from qstash_jobs.job import registry
    from qstash_jobs.schedules import SCHEDULES

    types = {one.options.folder for one in registry.contracts()}
    web = {path.parent.name for path in (root / "functions").glob("*/handler.py")} - types
    scheduled = {one.job.options.name for one in SCHEDULES}
    return alarm_metrics(len(types), len(scheduled), len(web))


def firings() -> float:
    """Of the declared schedules in a month on average, as counted over the four weeks to come."""
    from infra.local.qstash.cron import parse_cron
    from qstash_jobs.dispatch import zoned
    from qstash_jobs.schedules import SCHEDULES

    start = float(round(time.time()) // 86_400 * 86_400)
    span = 28 * 86_400.0
    total = 0
    for one in SCHEDULES:
        cron = parse_cron(zoned(one.cron, one.timezone), now=start)
        moment = start
        while (moment := cron.after(moment)) <= start + span:
            total += 1
    return round(total / 28 * DAYS)


def _measured(type_: str) -> dict[str, float]:
    """A warm call, and what a cold start adds: the first call was measured as a whole."""
    try:
        found: Any = json.loads(MEASURED.read_text())[type_]
        cold, warm = float(found["cold"]), float(found["warm"])
        return {"cold": max(0.0, cold - warm), "warm": warm}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _options(type_: str) -> JobOptions:
    from qstash_jobs.job import registry

    return registry.get(type_).options


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _quantity(item: Item) -> str:
    return f"{item.quantity:,.0f}" if item.quantity >= 100 else f"{item.quantity:,.2f}".rstrip("0").rstrip(".")


def _usd(amount: float) -> str:
    return f"{amount:,.2f}"
