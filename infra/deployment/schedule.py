"""`Custom::QStashSchedule`: one schedule at QStash, which comes, changes and goes with the stack that declares it.

Each carries three labels: the job type, by which its deliveries are known; the owner, which is the stage, account and
region that deployed it; and the resource of the stack that it is. So nothing of anybody else's is ever overwritten or
deleted, and what is left of a stack that was lost is taken over by the next instead of being doubled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from infra.deployment import custom_resource, refusals
from infra.deployment.custom_resource import Answer, DeploymentStopped, Properties, Request, Time, handle, insist, log
from qstash_jobs.errors import JobsError, PublishFailed

if TYPE_CHECKING:
    from qstash_jobs.qstash import Message, QStash, Scheduled
    from qstash_jobs.request import LambdaContext
    from qstash_jobs.schedule_changes import Wanted

CLEANING = timedelta(seconds=12)
"""Kept back, so that a Create that fails can take away what it made."""

ANSWERING = timedelta(seconds=2)
"""Kept back, so that the function ends by itself."""

PARALLELISM = 10
"""Of a template that says nothing of it; `JobOptions.concurrency` has the same default."""

_SCHEDULE_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")


class Identity(Properties):
    """What is needed in order to know a schedule as ours."""

    schedule_id: str | None = None
    destination: str | None = None
    owner: str | None = None
    """The stage, account and region, e.g. `jobs.prod.123456789012.eu-central-1`; older versions had none."""


class ScheduleProperties(Identity):
    """What the template says of a schedule."""

    schedule_id: str
    destination: str
    cron: str
    body: str
    label: str
    retries: int = 3
    timeout_seconds: int = 30
    retry_delay: str | None = None
    flow_control_key: str | None = None
    flow_control_parallelism: int | None = None
    flow_control_rate: int | None = None
    flow_control_period: str | None = None
    failure_callback: str | None = None
    adopt: bool = False
    """Take over a schedule of this id, whosever it is."""

    @property
    def message(self) -> Message:
        """What each firing sends."""
        from qstash_jobs.qstash import Message

        unlimited = self.flow_control_parallelism is None and self.flow_control_rate is None  # which QStash refuses
        flow: dict[str, Any] = {
            "key": self.flow_control_key or self.label,
            "parallelism": PARALLELISM if unlimited else self.flow_control_parallelism,
            "rate": self.flow_control_rate,
            "period": self.flow_control_period and f"{self.flow_control_period.removesuffix('s')}s",
        }
        return Message(
            url=self.destination,
            body=self.body,
            retries=self.retries,
            timeout=timedelta(seconds=self.timeout_seconds),
            label=self.label,
            flow_control={name: value for name, value in flow.items() if value is not None},
            failure_callback=self.failure_callback,
            retry_delay=self.retry_delay,
        )


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request of CloudFormation's. Raises `DeploymentStopped`."""
    return handle(event, context, _answer)


def _answer(request: Request, time: Time) -> Answer:
    from qstash_jobs import relay

    if request.request_type == "Delete":
        return _delete(request, time.less(ANSWERING))
    properties = request.properties(ScheduleProperties)
    qstash = insist(relay.qstash, time.less(CLEANING))
    wanted = _wanted(request, properties)
    try:
        found = _put(request, properties, wanted, qstash, time)
    except PublishFailed as error:
        raise DeploymentStopped(_sentence(error, f"the schedule {wanted.id}")) from error
    return Answer(wanted.id, {"Next": found.next_at.isoformat() if found.next_at else ""})


def _put(request: Request, properties: ScheduleProperties, wanted: Wanted, qstash: QStash, time: Time) -> Scheduled:
    from qstash_jobs import schedule_changes

    working = time.less(CLEANING)
    found = insist(lambda: qstash.schedule(wanted.id), working)
    if found is not None and not properties.adopt:
        _check_that_it_is_ours(request, wanted, found)
    step = schedule_changes.change(wanted, found)
    try:
        if step is not None:
            log.info("%s %s: %s", step.kind, step.id, dict(step.differences))
            insist(lambda: schedule_changes.apply([step], qstash), working)
        made = insist(lambda: qstash.schedule(wanted.id), working)
    except PublishFailed as error:
        left = ""
        if found is None and request.physical_resource_id != wanted.id:
            left = _clean_up(wanted, qstash, time.less(ANSWERING))
        elif found is not None and found.paused:
            left = ". It was paused; see with `jobs schedules list` whether it still is, else pause it again"
        raise PublishFailed(f"{error}{left}", error.status) from error
    if made is None:
        raise PublishFailed(f"QStash has no schedule {wanted.id} any more: somebody deletes it just now", 200)
    return made


def _clean_up(wanted: Wanted, qstash: QStash, until: Time) -> str:
    """Take away what a request made that failed, because nobody else will; what is to be said if that fails too."""
    try:
        insist(lambda: qstash.delete_schedule(wanted.id), until)
    except JobsError as error:
        log.warning("Schedule %s not cleaned up: %s", wanted.id, error)
        return f". The schedule {wanted.id} may have been made all the same; the next deployment takes it over"
    return ""


def _delete(request: Request, time: Time) -> Answer:
    from qstash_jobs import relay

    schedule_id = request.physical_resource_id or ""
    kept = Answer(schedule_id, {})
    properties = request.properties(Identity)
    if not _SCHEDULE_ID.fullmatch(schedule_id):
        log.info("Nothing deleted for %s", schedule_id)
        return kept
    try:
        qstash = insist(relay.qstash, time)
        found = insist(lambda: qstash.schedule(schedule_id), time)
        if found is None:
            return kept
        if not _is_of_this_resource(request, properties, found):
            log.warning("Schedule %s not deleted: it belongs to %s", schedule_id, _owner_of(found))
            return kept
        insist(lambda: qstash.delete_schedule(schedule_id), time)
    except JobsError as error:
        what = f"the schedule {schedule_id}"
        why = _sentence(error, what) if isinstance(error, PublishFailed) else custom_resource.sentence(error)
        raise DeploymentStopped(
            f"{why} To delete the stack without it: aws cloudformation delete-stack --stack-name {_stack_name(request)} "
            f"--retain-resources {request.logical_resource_id}"
        ) from error
    return kept


def _wanted(request: Request, properties: ScheduleProperties) -> Wanted:
    from qstash_jobs.schedule_changes import Wanted

    return Wanted(
        id=properties.schedule_id,
        cron=" ".join(properties.cron.split()),
        message=properties.message,
        owner=(properties.owner, _resource(request)) if properties.owner else (),
    )


def _resource(request: Request) -> str:
    """The resource of the stack, e.g. `51af3dc0.ScheduleReconcileJobs`; a stack that is made anew has another id."""
    return f"{_stack(request)}.{request.logical_resource_id}"


def _stack_name(request: Request) -> str:
    """From its ARN, e.g. `arn:aws:cloudformation:eu-central-1:123456789012:stack/jobs-prod/51af3dc0-…`."""
    return request.stack_id.split("/")[-2] if "/" in request.stack_id else "NAME"


def _stack(request: Request) -> str:
    """The beginning of the stack's own id, which is the last part of its ARN."""
    return request.stack_id.rpartition("/")[2][:8]


def _check_that_it_is_ours(request: Request, wanted: Wanted, found: Scheduled) -> None:
    """Raises `DeploymentStopped`. The resource's own schedule is ours even if somebody made it anew by hand."""
    own = request.physical_resource_id == wanted.id
    if not found.owner or not wanted.owner:
        if own or found.facts["destination"] == wanted.message.url:
            return
        raise DeploymentStopped(
            f"QStash has a schedule {wanted.id} already, which goes to {found.facts['destination']} and carries no "
            "owner: perhaps another deployment made it. If it is to be this one's, deploy with -c adopt_schedules=true; else give "
            "this stage a name of its own."
        )
    if found.owner[0] != wanted.owner[0]:
        raise DeploymentStopped(
            f"QStash has a schedule {wanted.id} already, which belongs to {found.owner[0]}, and this is "
            f"{wanted.owner[0]}. Two deployments with one QStash account need stages, or apps, of different names. If "
            "the other is gone, take it over: deploy with -c adopt_schedules=true."
        )
    resource = found.owner[1] if len(found.owner) > 1 else wanted.owner[1]
    if not own and resource != wanted.owner[1] and resource.startswith(f"{_stack(request)}."):
        raise DeploymentStopped(
            f"the schedule {wanted.id} is made by the resource {resource.partition('.')[2]} of this same stack. Its "
            "construct was renamed or moved: give it its old logical id (override_logical_id), or deploy once without "
            "the schedule and once with it. CloudFormation would delete the schedule with the old resource otherwise."
        )


def _is_of_this_resource(request: Request, properties: Identity, found: Scheduled) -> bool:
    if not found.owner or not properties.owner:
        return found.id == properties.schedule_id and found.facts["destination"] == properties.destination
    return found.owner[0] == properties.owner and found.owner[1:] in ((), (_resource(request),))


def _owner_of(found: Scheduled) -> str:
    return ", ".join(found.owner) or f"nobody, and goes to {found.facts['destination']}"


def _sentence(error: PublishFailed, what: str) -> str:
    from qstash_jobs.settings import settings

    return refusals.sentence(error, what, settings().qstash_url)
