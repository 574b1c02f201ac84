"""Check that everything that jobs need is there, and say what to mend."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import typer
from rich.markup import escape

from infra.cli import environment
from infra.cli.reading import transaction
from infra.cli.screen import console, plain
from qstash_jobs.errors import DatabaseUnreachable, JobsError, PublishFailed

THROTTLED = 429
PATIENCE = timedelta(minutes=10)
"""A job that could run and waits for longer than two passes of reconcile-jobs is in trouble."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    ok: bool
    text: str


@dataclass(frozen=True)
class Check:
    """One thing to look at, of no use while another is not well."""

    name: str
    look: Callable[[], Finding]
    after: str | None = None


def doctor() -> None:
    """Check settings, database, QStash, signing keys, the functions' URLs and the bucket, and say what to mend.

    [dim]jobs doctor[/]
    """
    environment.load()
    checks = [
        Check("settings", _settings),
        Check("database", _database),
        Check("tables", _tables, after="database"),
        Check("QStash", _qstash),
        Check("signing keys", _keys, after="QStash"),
        Check("functions", _functions),
        Check("files", _files),
        Check("queue", _queue, after="tables"),
    ]
    sick: set[str] = set()
    for check in checks:
        if check.after in sick:
            sick.add(check.name)
            console.print(f"– [bold]{check.name:<13}[/] not looked at: mend the {check.after} first")
            continue
        finding = _examine(check)
        if not finding.ok:
            sick.add(check.name)
        mark = "[green]✓[/]" if finding.ok else "[bold red]✗[/]"
        console.print(f"{mark} [bold]{check.name:<13}[/] {escape(plain(finding.text))}")
    if sick:
        raise typer.Exit(1)


def _examine(check: Check) -> Finding:
    try:
        return check.look()
    except Exception as error:  # noqa: BLE001  # whatever is wrong is what the doctor is here to say
        known = isinstance(error, JobsError)
        return Finding(False, str(error) if known else f"{type(error).__name__}: {error}")


def _settings() -> Finding:
    from qstash_jobs.settings import settings

    settings().secret("DATABASE_URL")
    settings().secret("QSTASH_TOKEN")
    return Finding(True, f"QStash at {settings().qstash_url}, plan {settings().qstash_plan}")


def _database() -> Finding:
    from qstash_jobs.database import database

    dsn = database().dsn
    try:
        version, round_trip_ms = _ask_version()
    except DatabaseUnreachable as error:
        return Finding(False, f"no answer at {dsn.host} ({error}): is it running there, and is DATABASE_URL right?")
    if int(version) < 140_000:
        return Finding(False, f"Postgres {version}: 14 or newer is needed")
    return Finding(True, f"Postgres {int(version) // 10_000} at {dsn.host}, {round_trip_ms:.1f} ms away, TLS {dsn.tls}")


def _ask_version() -> tuple[str, float]:
    import time

    from qstash_jobs.database import database

    database().run("SELECT 1")
    began = time.perf_counter()
    version = database().run("SHOW server_version_num")[0][0]
    return str(version), (time.perf_counter() - began) * 1000


def _tables() -> Finding:
    from infra.migrations import has_saas, pending

    with transaction() as connection:
        missing = pending(connection)
        of_the_starter = [one for one in pending(connection, saas=has_saas(connection)) if one not in missing]
    if not missing and not of_the_starter:
        return Finding(True, "up to date")
    mend = "jobs migrate --saas" if of_the_starter else "jobs migrate"
    return Finding(False, f"missing {', '.join(missing + of_the_starter)}; run: {mend}")


def _qstash() -> Finding:
    from qstash_jobs.relay import qstash
    from qstash_jobs.schedules import SCHEDULES
    from qstash_jobs.settings import settings

    try:
        known = {one.id for one in qstash().schedules()}
    except PublishFailed as error:
        if error.status in {401, 403}:
            return Finding(False, f"it refuses our token: set QSTASH_TOKEN anew, of the region {settings().qstash_url}")
        return Finding(False, f"{error} (at {settings().qstash_url}): is QSTASH_URL right?")
    if missing := sorted({f"{settings().schedule_prefix}.{one.id}" for one in SCHEDULES} - known):
        return Finding(False, f"it answers, and has no schedule {', '.join(missing)}; run: jobs schedules apply")
    return Finding(True, f"answers, and has the {len(SCHEDULES)} declared schedule{'' if len(SCHEDULES) == 1 else 's'}")


def _keys() -> Finding:
    from qstash_jobs.relay import qstash
    from qstash_jobs.settings import settings

    ours, theirs = set(settings().signing_keys), set(qstash().signing_keys())
    if ours == theirs:
        return Finding(True, "ours are QStash's")
    if ours & theirs:
        return Finding(False, "one of them is old: QStash has rolled its keys; set both anew, and redeploy")
    return Finding(False, "none of ours is QStash's, so every delivery is refused: set both anew, for this region")


def _functions() -> Finding:
    from infra.local.gateway import discover
    from infra.local.service import ROOT
    from qstash_jobs.job import registry
    from qstash_jobs.settings import FAILURE_CALLBACK, settings

    names = sorted({spec.name for spec in discover(ROOT / "functions")} | {FAILURE_CALLBACK})
    signed = {job_type.options.name for job_type in registry} | {FAILURE_CALLBACK}
    silent = [name for name in names if not _answers(settings().url(name), signed=name in signed)]
    if silent:
        return Finding(
            False,
            f"{', '.join(silent)}: not answering as they should, e.g. at {settings().url(silent[0])}: are they deployed, and is JOBS_BASE_URL right?",
        )
    return Finding(True, f"{len(names)} answer, and refuse what is not signed")


def _answers(url: str, *, signed: bool) -> bool:
    """Whether a function refuses what it is to refuse: a delivery without a signature, or a method that it does not know;
    or says that it is at work and takes no more. Anything else that might answer in its place would do otherwise."""
    method, refusal = ("POST", 401) if signed else ("DELETE", 405)
    try:
        urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method=method), timeout=10)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        return error.code in {refusal, THROTTLED}
    except OSError:
        return False
    return False


def _files() -> Finding:
    from botocore.exceptions import BotoCoreError, ClientError

    from qstash_jobs.bucket import bucket
    from qstash_jobs.settings import settings

    if settings().jobs_bucket is None:
        return Finding(True, "no bucket: exports and reports need JOBS_BUCKET and JOBS_LINK_KEY")
    settings().secret("JOBS_LINK_KEY")
    try:
        bucket().client.head_bucket(Bucket=bucket().name)
    except (BotoCoreError, ClientError) as error:
        return Finding(
            False, f"the bucket {bucket().name} does not answer ({error}): is JOBS_BUCKET right, and may we read it?"
        )
    return Finding(True, f"the bucket {bucket().name} answers")


def _queue() -> Finding:
    from infra.cli.screen import span
    from qstash_jobs.executions import queries

    with transaction() as connection:
        health = queries.health(connection)
    text = f"{health.waiting} could run now, the oldest for {span(health.oldest)}; {health.unpublished} not published"
    text += f"; {health.untold} failures to be told" if health.untold else ""
    troubles = []
    if health.expired:
        troubles.append(f"{health.expired} leases ended, which reconcile-jobs frees")
    if health.oldest > PATIENCE:
        troubles.append("the oldest waits for too long: see why with jobs show")
    if troubles:
        text += f"; {'; '.join(troubles)}. Does the schedule reconcile-jobs run?"
    return Finding(not troubles, text)
