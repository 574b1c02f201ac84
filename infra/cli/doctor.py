"""Check that everything that jobs need is there, and say what to mend."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import timedelta
from typing import Annotated

import typer

from infra.cli import environment, stages
from infra.cli.checks import Check, Finding, examine
from infra.cli.reading import transaction
from qstash_jobs.errors import DatabaseUnreachable, PublishFailed

THROTTLED = 429
_ONCE_MORE = 'make deploy STAGE={} CONTEXT="-c resync=$(date +%s)"'
"""CloudFormation sees no difference by itself: what is missing is missing outside of the template."""
PATIENCE = timedelta(minutes=10)
"""A job that could run and waits for longer than two passes of reconcile-jobs is in trouble."""


def doctor(
    canary: Annotated[bool, typer.Option("--canary/--no-canary", help="Of a stage: send a job the whole way.")] = True,
) -> None:
    """Check settings, database, QStash, signing keys, the functions' URLs and the bucket, and say what to mend.

    Of a stage also its stacks, secrets and alarms; and a job of the type probe is published, delivered, run and recorded.
    That apart, nothing is changed, and permission to read is enough.

    [dim]jobs doctor[/]   ·   [dim]jobs doctor --stage prod[/]   ·   [dim]jobs doctor --stage prod --no-canary[/]
    """
    target = stages.target()
    if target is None:
        environment.load()
        well = examine(_checks())
    else:
        from infra.cli import doctor_stage

        with doctor_stage.looking_at(target.stage) as (before, after):
            well = examine([*before, *_checks(after="deployment"), *(one for one in after if canary or not one.acts)])
    if not well:
        raise typer.Exit(1)


def _checks(*, after: str | None = None) -> list[Check]:
    """What there is to look at everywhere."""
    return [
        Check("settings", _settings, after),
        Check("database", _database, after),
        Check("tables", _tables, after="database"),
        Check("QStash", _qstash, after),
        Check("signing keys", _keys, after="QStash"),
        Check("functions", _functions, after),
        Check("files", _files, after),
        Check("queue", _queue, after="tables"),
    ]


def _mend(here: str, deployed: str) -> str:
    """What to do: without a stage, or with one, whose name takes the place of {}."""
    target = stages.target()
    return here if target is None else deployed.format(target.stage.name)


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
    return Finding(False, f"missing {', '.join(missing + of_the_starter)}; run: {_mend(mend, _ONCE_MORE)}")


def _qstash() -> Finding:
    from qstash_jobs.relay import qstash
    from qstash_jobs.schedules import SCHEDULES
    from qstash_jobs.settings import settings

    try:
        known = {one.id for one in qstash().schedules()}
    except PublishFailed as error:
        if error.of_the_token:
            mend = _mend("set QSTASH_TOKEN anew", "run: jobs secrets put --stage {} qstash-token")
            return Finding(False, f"it refuses our token, in the region {settings().qstash_url}; {mend}")
        return Finding(False, f"{error} (at {settings().qstash_url}): is QSTASH_URL right?")
    if missing := sorted({f"{settings().schedule_prefix}.{one.id}" for one in SCHEDULES} - known):
        mend = _mend("jobs schedules apply", _ONCE_MORE)
        return Finding(False, f"it answers, and has no schedule {', '.join(missing)}; run: {mend}")
    return Finding(True, f"answers, and has the {len(SCHEDULES)} declared schedule{'' if len(SCHEDULES) == 1 else 's'}")


def _keys() -> Finding:
    from qstash_jobs.relay import qstash
    from qstash_jobs.settings import settings

    ours, theirs = set(settings().signing_keys), set(qstash().signing_keys())
    if ours == theirs:
        return Finding(True, "ours are QStash's")
    if ours & theirs:
        mend = _mend("set both anew, and redeploy", "run: jobs rotate-keys --stage {}")
        return Finding(False, f"one of them is old: QStash has rolled its keys; {mend}")
    mend = _mend("set both anew, for this region", "run: jobs rotate-keys --stage {}")
    return Finding(False, f"none of ours is QStash's, so every delivery is refused; {mend}")


def _functions() -> Finding:
    from infra.local.gateway import discover
    from infra.local.service import ROOT
    from qstash_jobs.job import registry
    from qstash_jobs.settings import FAILURE_CALLBACK, settings

    names = sorted({spec.name for spec in discover(ROOT / "functions")} | {FAILURE_CALLBACK})
    signed = {job_type.options.name for job_type in registry.contracts()} | {FAILURE_CALLBACK}
    silent = [name for name in names if not _answers(settings().url(name), signed=name in signed)]
    if silent:
        return Finding(
            False,
            f"{', '.join(silent)}: not answering as they should, e.g. at {settings().url(silent[0])}: {_mend('are they deployed, and is JOBS_BASE_URL right?', 'run: make deploy STAGE={}')}",
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
        why = "exports and reports need JOBS_BUCKET and JOBS_LINK_KEY"
        return Finding(
            True, f"no bucket: {_mend(why, 'the deployment does not write down which, so none was looked at')}"
        )
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
