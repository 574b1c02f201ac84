"""For the tests of those who use this package. Imports no test library, and fakes nothing: jobs are captured before
they reach the database, or run on a real one, and requests carry real signatures.

>>> with captured_jobs() as jobs:
...     sign_up("ada@example.com")
>>> jobs.assert_enqueued(SendEmail, to="ada@example.com")
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from logging import Logger, getLogger
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import jwt
from pydantic import JsonValue

from qstash_jobs import dispatch
from qstash_jobs.database import database
from qstash_jobs.dispatch import Enqueued, EnqueueOptions, uuid7
from qstash_jobs.envelope import Envelope
from qstash_jobs.executions import store
from qstash_jobs.executions.state import ENDED, Status
from qstash_jobs.job import Job
from qstash_jobs.run import Outcome, Run
from qstash_jobs.serving import LambdaHandler
from qstash_jobs.settings import settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

J = TypeVar("J", bound=Job)


class JobFailed(AssertionError):
    """A job that was to complete ended otherwise."""


@dataclass(frozen=True)
class CapturedJob:
    """A job that would have been enqueued."""

    job_id: UUID
    job: Job
    options: EnqueueOptions


@dataclass
class CapturedJobs:
    """The jobs that a block would have enqueued, in order."""

    jobs: list[CapturedJob] = field(default_factory=list)

    def of(self, job_type: type[J], **fields: object) -> list[J]:
        """Those of a type whose fields have these values. Raises TypeError for a field that the type does not have."""
        if unknown := sorted(fields.keys() - job_type.model_fields.keys()):
            raise TypeError(
                f"{job_type.__name__} has no field {unknown[0]!r}; it has {', '.join(job_type.model_fields)}"
            )
        found = [one.job for one in self.jobs if isinstance(one.job, job_type)]
        return [job for job in found if all(getattr(job, name) == value for name, value in fields.items())]

    def assert_enqueued(self, job_type: type[J], **fields: object) -> J:
        """The one job of that type with these fields. Raises AssertionError when there is none, or more than one."""
        found = self.of(job_type, **fields)
        if len(found) != 1:
            raise AssertionError(
                f"{len(found)} jobs match {job_type.__name__}({_arguments(fields)}); enqueued were: {self._listing()}"
            )
        return found[0]

    def refute_enqueued(self, job_type: type[Job], **fields: object) -> None:
        """Raises AssertionError when there is such a job."""
        found = self.of(job_type, **fields)
        if found:
            raise AssertionError(f"{len(found)} jobs match {job_type.__name__}({_arguments(fields)}): {found[0]!r}")

    def _listing(self) -> str:
        return ", ".join(repr(one.job) for one in self.jobs) or "none"


@contextlib.contextmanager
def captured_jobs() -> Iterator[CapturedJobs]:
    """Within the block, jobs are validated and noted instead of being enqueued: no database, no QStash."""
    captured = CapturedJobs()

    def capture(jobs: list[Job], keys: list[str | None], options: EnqueueOptions) -> list[Enqueued]:
        taken = [_captured(job, key, options) for job, key in zip(jobs, keys, strict=True)]
        captured.jobs.extend(taken)
        return [Enqueued(job_id=one.job_id, new=True, published=False) for one in taken]

    token = dispatch.instead.set(capture)
    try:
        yield captured
    finally:
        dispatch.instead.reset(token)


def run_inline(
    function: Callable[[J, Run], Outcome],
    job: J,
    *,
    attempt: int = 1,
    max_attempts: int | None = None,
    checkpoint: JsonValue = None,
    user_id: int | None = None,
    organization_id: int | None = None,
    timeout: timedelta | None = None,
    progress: Callable[[float, str | None], None] = lambda _fraction, _message: None,
    save: Callable[[JsonValue], None] = lambda _checkpoint: None,
    logger: Logger | None = None,
    job_id: UUID | None = None,
) -> Outcome:
    """Call a handler's function in this thread, without a delivery: what it returns, or raises.

    `run.connection()` is on the database of the settings, and touched only if the function asks for it.
    """
    until = time.monotonic() + (timeout or job.options.timeout).total_seconds()
    run = Run(
        job_id=job_id or uuid7(),
        attempt=attempt,
        max_attempts=max_attempts or job.options.retries + 1,
        checkpoint=checkpoint,
        user_id=user_id,
        organization_id=organization_id,
        logger=logger or getLogger("qstash_jobs.testing"),
        _remaining=lambda: timedelta(seconds=max(0.0, until - time.monotonic())),
        _progress=progress,
        _connection=_transaction,
        _save=lambda checkpoint, _connection: save(checkpoint),
    )
    return function(type(job).arrive(job.wire()), run)


def create_test_job(job: Job, **options: Any) -> UUID:
    """Enqueue a job in the database without telling QStash; its id, to deliver it by hand."""
    return dispatch.enqueue(job, **{**options, "publish": "relay"})


def wait_for_job_completion(job_id: UUID, timeout: timedelta = timedelta(seconds=30)) -> None:
    """Wait until the job has completed. Raises `JobFailed` when it ended otherwise, TimeoutError when it did not end."""
    until = time.monotonic() + timeout.total_seconds()
    pause_seconds = 0.01
    while (standing := store.look(database().run_pooled, job_id)) is None or standing.status not in ENDED:
        if time.monotonic() > until:
            where = "unknown" if standing is None else f"{standing.status} after {standing.attempts} attempts"
            raise TimeoutError(f"job {job_id} is {where}, {timeout} later")
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, 0.5)
    if standing.status is not Status.COMPLETED:
        rows = database().run_pooled(f"SELECT error FROM job_executions WHERE job_id = '{job_id}'")  # noqa: S608
        raise JobFailed(f"job {job_id} is {standing.status}: {rows[0][0]}")


def sign(body: bytes, url: str, key: str, /, **claims: object) -> str:
    """The `Upstash-Signature` that QStash would send; `claims` replace, or with None remove, what it would claim."""
    now = int(time.time())
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode()
    genuine = {
        "iss": "Upstash",
        "sub": url,
        "exp": now + 300,
        "nbf": now,
        "iat": now,
        "jti": "jwt_test",
        "body": digest,
    }
    return jwt.encode({k: v for k, v in (genuine | claims).items() if v is not None}, key, algorithm="HS256")


def signed_event(
    job: Job | bytes,
    *,
    job_id: UUID | None = None,
    generation: int = 1,
    publication: int = 1,
    by_reference: bool = False,
    url: str | None = None,
    key: str | None = None,
    message_id: str | None = None,
    retried: int = 0,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The function URL event of QStash delivering this job (or this raw body), signed with the current key.

    With `by_reference` the payload stays in the database, as our dispatcher does it.
    """
    if isinstance(job, bytes):
        body = job
        if url is None:
            raise ValueError("a raw body needs the url of its function")
    else:
        url = url or settings().url(job.options.name)
        body = Envelope(
            job_id=job_id,
            type=job.options.name,
            generation=generation,
            publication=publication,
            payload=None if by_reference else job.wire(),
        ).encode()
    signature = sign(body, url, key or settings().signing_keys[0])
    sent = {
        "content-type": "application/json",
        "upstash-message-id": message_id or f"msg_{uuid4().hex}",
        "upstash-retried": str(retried),
        "upstash-signature": signature,
        "user-agent": "Upstash-QStash",
        **(headers or {}),
    }
    return function_url_event(url, body, sent)


def function_url_event(url: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> dict[str, Any]:
    """A Lambda function URL event, payload format 2.0; the body is base64 where it is not text."""
    parts = urlsplit(url)
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body).decode(), True
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": parts.path or "/",
        "rawQueryString": parts.query,
        "headers": {"host": parts.netloc, **headers},
        "requestContext": {
            "accountId": "anonymous",
            "domainName": parts.netloc,
            "http": {"method": method, "path": parts.path or "/", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
            "requestId": str(uuid4()),
            "stage": "$default",
        },
        "body": text,
        "isBase64Encoded": encoded,
    }


class Context:
    """A Lambda context whose time runs out."""

    def __init__(self, remaining: timedelta) -> None:
        self.aws_request_id = str(uuid4())
        self.function_name = "test"
        self.memory_limit_in_mb = 512
        self.invoked_function_arn = "arn:aws:lambda:eu-central-1:000000000000:function:test"
        self._until = time.monotonic() + remaining.total_seconds()

    def get_remaining_time_in_millis(self) -> int:
        """Until the function would be killed."""
        return max(0, round((self._until - time.monotonic()) * 1000))


def time_out_after(remaining: timedelta) -> Context:
    """A context whose job runs into its deadline that soon."""
    return Context(remaining)


def deliver_twice(handler: LambdaHandler, event: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers to a delivery and to its repetition, which QStash may make at any time."""
    first = handler(event, Context(timedelta(seconds=30)))
    return first, handler(event, Context(timedelta(seconds=30)))


def _captured(job: Job, key: str | None, options: EnqueueOptions) -> CapturedJob:
    seen: EnqueueOptions = {**options, "idempotency_key": key} if key is not None else {**options}
    return CapturedJob(uuid7(), job, seen)


def _transaction() -> AbstractContextManager[Connection]:
    return database().transaction()


def _arguments(fields: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())
