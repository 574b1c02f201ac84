"""`Custom::Canary`: once all is deployed, one job travels the whole way; if it does not arrive, the deployment stops.

`travel` is that journey, for whoever wants to know whether a stage works: it enqueues a `probe` as an app service does,
and follows it through QStash and the function's address into the record.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from infra.deployment import diagnosis
from infra.deployment.custom_resource import Answer, DeploymentStopped, Properties, Request, Time, handle, log
from qstash_jobs.errors import JobsError

if TYPE_CHECKING:
    from qstash_jobs.executions.queries import Execution
    from qstash_jobs.qstash import Delivery
    from qstash_jobs.request import LambdaContext

LONGEST_JOURNEY = timedelta(seconds=100)
"""Enough for cold starts, for an address that is not yet known everywhere, and for QStash's second try, 12 s later."""

ANSWERING = timedelta(seconds=15)
"""Kept back, to find out how far it came, and to stop it."""

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Journey:
    """How far one job came."""

    job_id: UUID
    arrived: bool
    took: timedelta
    """From the row's making to its completion, by Postgres's clock; or for how long it was waited for."""
    said: str
    """That it arrived, or how far it came and what to do, in a sentence or two."""


class CanaryProperties(Properties):
    """What the template says of it."""

    of: str = ""
    """A digest of what is deployed."""


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request of CloudFormation's. Raises `DeploymentStopped`."""
    return handle(event, context, _answer)


def travel(within: timedelta = LONGEST_JOURNEY, *, key: str | None = None) -> Journey:
    """Send one `probe` the whole way, and wait for it for so long; one that does not arrive is cancelled. The same `key`
    is the same job, also if it has arrived already.

    Raises `ConfigurationError`, `SettingsUnreachable` and `DatabaseUnreachable` when it cannot even begin.
    """
    from qstash_jobs.dispatch import enqueue
    from qstash_jobs.executions.state import ENDED, Status
    from qstash_jobs.jobs.probe import Probe

    began = time.monotonic()
    until = began + within.total_seconds()
    job_id = enqueue(Probe(), idempotency_key=key)
    pause_seconds = _FIRST_PAUSE_SECONDS
    while (job := _look(job_id)) is not None and job.status not in ENDED and time.monotonic() + pause_seconds < until:
        if job.published_at is None:
            _publish(job_id)
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, _LONGEST_PAUSE_SECONDS)
    if job is not None and job.status not in ENDED:
        _stop(job_id)
        job = _look(job_id)
    if job is not None and job.status is Status.COMPLETED and job.completed_at is not None:
        took = job.completed_at - job.created_at
        said = f"probe {job_id} went the whole way in {took.total_seconds():.1f} s"
        return Journey(job_id=job_id, arrived=True, took=took, said=said)
    took = timedelta(seconds=time.monotonic() - began)
    return Journey(job_id=job_id, arrived=False, took=took, said=_how_far(job_id, job, took))


def _answer(request: Request, time: Time) -> Answer:
    physical_id = request.physical_resource_id or "canary"
    if request.request_type == "Delete":
        return Answer(physical_id, {"Said": "nothing is sent when a stack goes"})
    of = request.properties(CanaryProperties).of
    before = request.old_properties(CanaryProperties).of if request.request_type == "Update" else ""
    back = bool(before) and _failed(before)
    within = min(LONGEST_JOURNEY, time.less(ANSWERING).left)
    journey = travel(within, key=f"{'canary back' if back else 'canary'} {of} {request.request_id}")
    if journey.arrived:
        return Answer("canary", {"Said": journey.said})
    if back:
        log.warning("On the way back the canary did not arrive either: %s", journey.said)
        return Answer("canary", {"Said": f"on the way back, and {journey.said}"[:1000]})
    raise DeploymentStopped(journey.said)


def _look(job_id: UUID) -> Execution | None:
    from qstash_jobs.database import database
    from qstash_jobs.executions import queries

    with database().engine.connect() as connection:
        return queries.get(connection, job_id)


def _publish(job_id: UUID) -> None:
    """Once more: when the job was enqueued QStash did not take it, and there may be no relay."""
    from qstash_jobs import relay
    from qstash_jobs.database import database
    from qstash_jobs.executions import outbox

    run = database().run_pooled
    relay.publish_now(run, outbox.unpublished(run, [job_id], relay.longest_delay()))


def _stop(job_id: UUID) -> None:
    """Nobody waits for it any more, and a failure of it is to alarm nobody."""
    from qstash_jobs.dispatch import cancel

    try:
        cancel(job_id, by="the canary")
    except JobsError as error:  # it has ended just now, or the database went away
        log.warning("Canary %s not cancelled: %s", job_id, error)


def _how_far(job_id: UUID, job: Execution | None, waited: timedelta) -> str:
    from qstash_jobs import relay
    from qstash_jobs.settings import settings

    deliveries: list[Delivery] = []
    if job is not None and job.message_id is not None:
        try:
            deliveries = relay.qstash().deliveries(job.message_id)
        except JobsError as error:  # then the record alone has to tell
            log.warning("QStash's log not read: %s", error)
    reason = diagnosis.why(job, deliveries, address=settings().url("probe"), qstash_url=settings().qstash_url)
    return f"probe {job_id} did not go the whole way in {waited.total_seconds():.0f} s: {reason.rstrip('.')}."


def _failed(of: str) -> bool:
    """Whether the canary of a deployment was sent and did not arrive. CloudFormation leaves such a state by undoing it, and
    the way back must not fail for the same reason, or the stack is stuck between the two. (With rollbacks disabled a
    deployment forward leaves it too; then what the canary says stops nothing.)"""
    from sqlalchemy import select

    from qstash_jobs.database import database
    from qstash_jobs.executions.state import Status
    from qstash_jobs.executions.tables import job_executions
    from qstash_jobs.jobs.probe import Probe

    job = job_executions.c
    of_it = job.idempotency_key.startswith(f"canary {of} ", autoescape=True)
    with database().engine.connect() as connection:
        found = connection.execute(select(job.status).where(job.job_type == Probe.options.name, of_it)).scalars().all()
    return bool(found) and Status.COMPLETED not in found
