"""What CloudFormation asks of a custom resource, as CDK's Provider framework hands it on, and how it is answered.

An error that is raised here fails the deployment, and its message is what people see of it, in the console and in the
terminal. The framework answers a failure with the physical id that the resource has, so that CloudFormation never
takes it for another resource, and leaves a Delete out that follows a Create which failed. Source:
https://docs.aws.amazon.com/cdk/api/v2/docs/aws-cdk-lib.custom_resources-readme.html
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_pascal

from qstash_jobs.errors import (
    DatabaseUnreachable,
    JobsError,
    PublishFailed,
    SettingsUnreachable,
    StatementRefused,
)

if TYPE_CHECKING:
    from qstash_jobs.request import LambdaContext

T = TypeVar("T")
P = TypeVar("P", bound="Properties")

log = logging.getLogger("qstash_jobs.deployment")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0

LONGEST_REASON_BYTES = 2000
"""CloudFormation refuses an answer of more than 4 kB, and would wait for another one; CDK's framework adds its own stack.
Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html"""

_GONE_FOR_A_MOMENT = frozenset({408, 425, 429})


class DeploymentStopped(Exception):
    """The deployment must not go on; the message says why, and what to do."""


class Properties(BaseModel):
    """What the template says of a resource. CloudFormation makes text of everything; an empty text is nothing.

    Unknown properties are ignored, and what is new has a default: a rollback brings those of an older version.
    """

    model_config = ConfigDict(
        alias_generator=to_pascal, extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True
    )


class Request(BaseModel):
    """One request of CloudFormation's."""

    model_config = ConfigDict(alias_generator=to_pascal, extra="ignore", frozen=True, populate_by_name=True)

    request_type: Literal["Create", "Update", "Delete"]
    request_id: str = ""
    stack_id: str = ""
    logical_resource_id: str = ""
    physical_resource_id: str | None = None
    """Of the resource as it is; None at a Create."""
    resource_properties: dict[str, Any] = {}
    """As they are to be, and at a Delete, as they were."""
    old_resource_properties: dict[str, Any] = {}

    def properties(self, model: type[P]) -> P:
        """Raises `DeploymentStopped`."""
        return _properties(model, self.resource_properties)

    def old_properties(self, model: type[P]) -> P:
        """As they were before an Update. Raises `DeploymentStopped`."""
        return _properties(model, self.old_resource_properties)


@dataclass(frozen=True)
class Answer:
    """What CloudFormation is told."""

    physical_id: str
    data: Mapping[str, str]
    """What the template can ask for; at most 4 kB, and never a secret."""


@dataclass(frozen=True)
class Time:
    """How long a function may still work."""

    until: float
    """Of the monotonic clock, in seconds."""

    @classmethod
    def of(cls, context: LambdaContext) -> Time:
        """Until the function is killed."""
        return cls(time.monotonic() + context.get_remaining_time_in_millis() / 1000)

    def less(self, reserve: timedelta) -> Time:
        """The same without what is needed afterwards."""
        return Time(self.until - reserve.total_seconds())

    def within(self, limit: timedelta) -> Time:
        """The same, or less if that is sooner."""
        return Time(min(self.until, time.monotonic() + limit.total_seconds()))

    @property
    def left(self) -> timedelta:
        """Nothing, at least."""
        return timedelta(seconds=max(0.0, self.until - time.monotonic()))


def handle(event: Mapping[str, Any], context: LambdaContext, do: Callable[[Request, Time], Answer]) -> dict[str, Any]:
    """Let one request be answered, with settings that are read anew: an environment that is still warm from the
    deployment before would go on with the secrets and addresses of that one. Raises `DeploymentStopped`."""
    _begin_anew()
    logging.getLogger("qstash_jobs").setLevel(logging.INFO)
    try:
        request = Request.model_validate(event)
        answer = do(request, Time.of(context))
    except Exception as error:
        said = sentence(error)
        log.error("%s", said, exc_info=not isinstance(error, DeploymentStopped | JobsError))
        raise DeploymentStopped(_cut(said)) from error
    log.info("%s %s: %s", request.request_type, answer.physical_id, dict(answer.data))
    return {"PhysicalResourceId": answer.physical_id, "Data": dict(answer.data)}


def sentence(error: Exception) -> str:
    """Why the deployment stops, and what to do."""
    match error:
        case DeploymentStopped():
            return str(error)
        case SettingsUnreachable():
            return f"AWS did not say what a setting is: {error}. Deploy again."
        case DatabaseUnreachable():
            return (
                f"Postgres cannot be reached: {error}. Is DATABASE_URL right, and may this function connect there? "
                "Then deploy again."
            )
        case StatementRefused():
            return (
                f"Postgres refuses what is asked of it: {error}. Mend that, e.g. what the role of DATABASE_URL may do, and "
                "deploy again."
            )
        case JobsError():
            return f"{str(error).rstrip('.')}. Then deploy again."
    return (
        f"this function went wrong: {type(error).__name__}: {str(error).rstrip('.')}. Deploy again; if it stays so, its log "
        "says where that comes from."
    )


def _cut(said: str) -> str:
    kept = said.encode(errors="replace")[:LONGEST_REASON_BYTES].decode(errors="ignore")
    return said if kept == said else f"{kept} … (all of it is in the log of this function)"


def insist(step: Callable[[], T], until: Time) -> T:
    """Take a step that may be repeated, again and again while what it needs is away, for as long as there is time."""
    pause_seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            return step()
        except (PublishFailed, SettingsUnreachable, DatabaseUnreachable) as error:
            if not is_away(error) or until.left.total_seconds() <= pause_seconds:
                raise
            log.warning("Trying again in %s s: %s", pause_seconds, error)
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)


def is_away(error: Exception) -> bool:
    """Whether the same may well succeed a little later."""
    if isinstance(error, PublishFailed):
        return error.status is None or error.status >= 500 or error.status in _GONE_FOR_A_MOMENT
    return not isinstance(error, StatementRefused)


def _properties(model: type[P], given: Mapping[str, Any]) -> P:
    said = {name: value for name, value in given.items() if value != ""}
    try:
        return model.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise DeploymentStopped(
            f"the property {name} of the template: {first['msg']}. Mend that in the stack, and deploy again."
        ) from None


def _begin_anew() -> None:
    from qstash_jobs import database, relay, secrets
    from qstash_jobs.settings import settings

    if database.database.cache_info().currsize:
        database.database().close()
    if relay.qstash.cache_info().currsize:
        relay.qstash().close()
    for cached in (settings, secrets.kept, secrets.published, database.database, relay.qstash):
        cached.cache_clear()
