"""`Custom::Canary`: once all is deployed, one job travels the whole way; if it does not arrive, the deployment stops.

`travel` is that journey, for whoever wants to know whether a stage works: it enqueues a `probe` as an app service does,
and follows it through QStash and the function's address into the record.

The resource is called by the deployment whose canary arrived last. When the canary stops a deployment, CloudFormation
undoes it and asks for the one of before, whose name the resource still has: by that the way back is known, which must not
fail for the same reason, or the stack is stuck between the two.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from infra.deployment import diagnosis
from infra.deployment.custom_resource import Answer, DeploymentStopped, Properties, Request, Time, handle, insist, log
from infra.deployment.record import reading
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

    Raises `ConfigurationError` and `SettingsUnreachable` when it cannot even begin, `DatabaseUnreachable` when the record
    is away, also at the end of that time, and `StatementRefused`.
    """
    from qstash_jobs.dispatch import enqueue
    from qstash_jobs.executions.state import ENDED, Status
    from qstash_jobs.jobs.probe import Probe

    began = time.monotonic()
    until = Time(began + within.total_seconds())

    def send() -> UUID:
        return enqueue(Probe(), idempotency_key=key)

    job_id = insist(send, until) if key else send()
    pause_seconds = _FIRST_PAUSE_SECONDS
    while (job := insist(lambda: _look(job_id), until)) is not None and job.status not in ENDED:
        if job.published_at is None:
            insist(lambda: _publish(job_id), until)
        if until.left.total_seconds() <= pause_seconds:
            _stop(job_id)
            job = _look(job_id)
            break
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, _LONGEST_PAUSE_SECONDS)
    if job is not None and job.status is Status.COMPLETED and job.completed_at is not None:
        took = job.completed_at - job.created_at
        said = f"probe {job_id} went the whole way in {took.total_seconds():.1f} s"
        return Journey(job_id=job_id, arrived=True, took=took, said=said)
    took = timedelta(seconds=time.monotonic() - began)
    return Journey(job_id=job_id, arrived=False, took=took, said=_how_far(job_id, job, took))


def _answer(request: Request, time: Time) -> Answer:
    if request.request_type == "Delete":
        return Answer(request.physical_resource_id or "canary", {"Said": "nothing is sent when a stack goes"})
    of = request.properties(CanaryProperties).of
    physical_id = f"canary-{of}"
    back = request.request_type == "Update" and request.physical_resource_id == physical_id
    try:
        journey = travel(min(LONGEST_JOURNEY, time.less(ANSWERING).left), key=f"canary {of} {request.request_id}")
        if not journey.arrived:
            raise DeploymentStopped(journey.said)
    except (DeploymentStopped, JobsError) as error:
        if not back:
            raise
        log.warning("On the way back the canary did not arrive either: %s", error)
        return Answer(physical_id, {"Said": f"on the way back, and {error}"[:1000]})
    return Answer(physical_id, {"Said": journey.said})


def _look(job_id: UUID) -> Execution | None:
    from qstash_jobs.database import database
    from qstash_jobs.executions import queries

    with reading(database()) as connection:
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
