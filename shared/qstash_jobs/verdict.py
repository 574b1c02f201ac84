"""How a delivery ends, as pure functions: what happened x attempt x options -> move of the row, and HTTP answer."""

from __future__ import annotations

import json
import math
import traceback
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

from pydantic import BaseModel, JsonValue, ValidationError

from qstash_jobs.errors import (
    ConfigurationError,
    JobCancelled,
    JobTimeout,
    NonRetryable,
    Retry,
    SettingsUnreachable,
    StatementRefused,
)
from qstash_jobs.executions.literals import NotStorable, storable_json
from qstash_jobs.executions.outbox import NewExecution
from qstash_jobs.executions.state import ENDED, Outcome, Status, Verb
from qstash_jobs.executions.store import EARLY, Finish, Standing
from qstash_jobs.expression import retry_delay_seconds
from qstash_jobs.run import Continue, Done

RESULT_LIMIT_BYTES = 256 * 1024
ERROR_LIMIT = 2_000
TRACEBACK_LIMIT = 16_000
"""Characters; of a longer traceback the end is kept, where the cause stands."""

RETRY_AFTER_LIMIT = timedelta(days=1)
"""QStash ignores a longer `Retry-After`: the row waits instead."""


@dataclass(frozen=True)
class Answer:
    """What QStash is told. It keeps answers, so they say little: a reason and nothing of the payload."""

    status: int
    reason: str
    retry_after: timedelta | None = None
    final: bool = False
    """QStash is to stop: 489 and its header."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers that steer QStash."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after.total_seconds())))
        if self.final:
            headers["Upstash-NonRetryable-Error"] = "true"
        return headers


@dataclass(frozen=True)
class Verdict:
    """How an attempt ends: in the row, and towards QStash."""

    finish: Finish
    answer: Answer
    error: BaseException | None = field(default=None, compare=False)


def final(reason: str) -> Answer:
    """QStash must not try again: the message goes to its dead letter queue."""
    return Answer(489, reason, final=True)


METHOD_NOT_ALLOWED = Answer(405, "method_not_allowed")
UNAUTHENTICATED = Answer(401, "unauthenticated")
UNREACHABLE = Answer(503, "database_unreachable", timedelta(seconds=10))
NO_SETTINGS = Answer(503, "settings_unreachable", timedelta(seconds=10))
MISCONFIGURED = Answer(503, "misconfigured")
"""Until people mend it, for which QStash's own backoff leaves them more time than a fixed wait."""
UNKNOWN_JOB = Answer(503, "unknown_job", timedelta(seconds=30))


def without_settings(error: ConfigurationError | SettingsUnreachable) -> Answer:
    """A setting that is needed before the work can begin is not there."""
    return NO_SETTINGS if isinstance(error, SettingsUnreachable) else MISCONFIGURED


def backoff(retried: int, retry_delay: str | None = None) -> timedelta:
    """How long QStash waits before it tries again, when it has tried again `retried` times already."""
    return timedelta(seconds=retry_delay_seconds(retry_delay, retried))


def judge_return(
    value: object,
    *,
    attempt: int,
    max_attempts: int,
    checkpoint: JsonValue,
    wait: timedelta,
    follow_ups: tuple[NewExecution, ...] = (),
) -> Verdict:
    """The handler returned. `wait` is QStash's backoff, `checkpoint` where this attempt began."""
    if isinstance(value, Continue):
        return _continue(value, attempt=attempt, max_attempts=max_attempts, checkpoint=checkpoint, wait=wait)
    result = value.result if isinstance(value, Done) else value
    return Verdict(
        Finish(verb=Verb.COMPLETE, outcome=Outcome.COMPLETED, result=_storable(result), then=follow_ups),
        Answer(200, "completed"),
    )


def judge_error(error: BaseException, *, attempt: int, max_attempts: int, wait: timedelta) -> Verdict:
    """The handler raised. `wait` is QStash's backoff."""
    match error:
        case JobCancelled():
            return Verdict(_ended(Verb.CANCEL, Outcome.CANCELLED, error), Answer(200, "cancelled"), error)
        case NonRetryable():
            return Verdict(_ended(Verb.FAIL, Outcome.FAILED, error), final("failed"), error)
        case _ if attempt >= max_attempts and not (isinstance(error, Retry) and error.free):
            return Verdict(_ended(Verb.FAIL, Outcome.FAILED, error), final("failed"), error)
        case Retry(after=after, free=free) if after > RETRY_AFTER_LIMIT:
            finish = _ended(Verb.RETRY, Outcome.RETRIED, error, wait=after, next_publication=True, free=free)
            return Verdict(finish, Answer(200, "rescheduled"), error)
        case Retry(after=after, free=free):
            finish = replace(_ended(Verb.RETRY, Outcome.RETRIED, error, wait=after, free=free), held=True)
            return Verdict(finish, Answer(503, "retry_later", after), error)
        case _:
            return Verdict(_ended(Verb.RETRY, Outcome.RETRIED, error, wait=wait), Answer(500, "failed_attempt"), error)


def judge_standing(standing: Standing | None, *, known_names: tuple[str, ...], brings_payload: bool,
                   generation: int, publication: int) -> Answer | Verb:  # fmt: skip
    """The row could not be claimed: what to answer, or the move (`FAIL`, `CANCEL`) that is due first."""
    if standing is None:
        return UNKNOWN_JOB
    if standing.job_type not in known_names or (brings_payload and not standing.same_payload):
        return final("conflict")
    if standing.status is Status.COMPLETED:
        return Answer(200, "duplicate")
    if (generation, publication) < (standing.generation, standing.publication):
        return Answer(200, "stale")
    if standing.status in ENDED:
        return Answer(200, standing.status.value)
    if standing.status is Status.PROCESSING and standing.lease_left > timedelta(0):
        return busy(standing.lease_left)
    if standing.cancel_requested:
        return Verb.CANCEL
    if standing.attempts >= standing.max_attempts:
        return Verb.FAIL
    if standing.status is not Status.PROCESSING and standing.held_for > EARLY:
        return Answer(409, "not_due", standing.held_for)
    return busy(timedelta(0))  # it became free just now: the next delivery claims it


def is_about_data(error: StatementRefused) -> bool:
    """Whether Postgres refused a value (data exceptions, limits), so that the same statement can never succeed."""
    return error.sqlstate.startswith(("22", "54"))


def refused(error: StatementRefused) -> Answer:
    """Postgres refused to create the row. Raises the error when it says nothing of the message."""
    if error.sqlstate == "23505":  # unique_violation: another job has this idempotency key
        return Answer(200, "duplicate")
    if is_about_data(error):
        return final("not_storable")
    raise error


def without_data(finish: Finish, error: StatementRefused) -> Finish:
    """The same end of an attempt without what Postgres refused to store."""
    result: JsonValue = {"omitted": "result_not_storable", "reason": clean(str(error), ERROR_LIMIT)}
    return replace(finish, result=result if finish.verb is Verb.COMPLETE else None, traceback=None, checkpoint=None)


def judge_unmoved(status: Status | None) -> Answer:
    """An attempt reported, but another has taken over or the job has ended meanwhile."""
    if status in ENDED:
        return Answer(200, "duplicate" if status is Status.COMPLETED else str(status))
    return busy(timedelta(0))


def busy(lease_left: timedelta) -> Answer:
    """Another attempt holds the lease: try again when it has ended."""
    return Answer(409, "busy", timedelta(seconds=math.ceil(lease_left.total_seconds()) + 1))


def invalid_payload(error: ValidationError) -> NonRetryable:
    """A stored payload that its contract no longer accepts: which field, and why, without its value."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "payload"
    return NonRetryable(f"the payload is not valid: {place}: {first['msg']}")


def one_line(error: BaseException) -> str:
    """An error as people read it in a list."""
    try:
        said = " ".join(str(error).split())
    except Exception:  # noqa: BLE001  # an error that cannot be printed still has to be recorded
        said = ""
    return clean(said or type(error).__name__, ERROR_LIMIT)


def clean(text: str, limit: int) -> str:
    """Text that Postgres can store: no NUL, no half characters, not too long; the end is kept."""
    kept = text if len(text) <= limit else f"…{text[1 - limit :]}"
    return kept.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode()


def _continue(value: Continue, *, attempt: int, max_attempts: int, checkpoint: JsonValue, wait: timedelta) -> Verdict:
    try:
        progressed = _as_stored(value.checkpoint) != _as_stored(checkpoint)
    except NotStorable as error:
        return judge_error(
            NonRetryable(f"the checkpoint cannot be stored: {error}"),
            attempt=attempt,
            max_attempts=max_attempts,
            wait=wait,
        )
    if not progressed and attempt >= max_attempts:
        stuck = NonRetryable("it continues from the same checkpoint, and the budget is used up")
        return judge_error(stuck, attempt=attempt, max_attempts=max_attempts, wait=wait)
    finish = Finish(
        verb=Verb.RETRY,
        outcome=Outcome.CONTINUED,
        checkpoint=value.checkpoint,
        next_publication=True,
        free=progressed,
    )
    return Verdict(finish, Answer(200, "continued"))


def _as_stored(value: JsonValue) -> object:
    """A checkpoint as jsonb compares it: a tuple is a list, and 1e23 is the integer that Postgres makes of it."""
    return json.loads(storable_json(value), parse_int=Decimal, parse_float=Decimal)


def _ended(
    verb: Verb,
    outcome: Outcome,
    error: BaseException,
    wait: timedelta = timedelta(0),
    *,
    next_publication: bool = False,
    free: bool = False,
) -> Finish:
    return Finish(
        verb=verb,
        outcome=outcome,
        error=one_line(error),
        error_type=type(error).__name__,
        traceback=_traceback(error),
        wait=wait,
        next_publication=next_publication,
        free=free,
    )


def _traceback(error: BaseException) -> str:
    if isinstance(error, NonRetryable | JobCancelled | Retry | JobTimeout) and not error.__cause__:
        return one_line(error)
    return clean("".join(traceback.format_exception(error)), TRACEBACK_LIMIT)


def _storable(result: object) -> JsonValue:
    """The result as it is kept; one that cannot be is replaced by the reason, for the work is done all the same."""
    try:
        value: JsonValue = result.model_dump(mode="json", by_alias=True) if isinstance(result, BaseModel) else result  # type: ignore[assignment]
        size = len(storable_json(value))
    except Exception as error:  # noqa: BLE001  # whatever the handler returned must not undo what it did
        return {"omitted": "result_not_storable", "reason": clean(str(error), ERROR_LIMIT)}
    if size > RESULT_LIMIT_BYTES:
        return {"omitted": "result_too_large", "bytes": size, "limitBytes": RESULT_LIMIT_BYTES}
    return value
