"""Enqueue jobs: a row first, in the caller's transaction if there is one, then a message that names it.

A message is sent only once its row is committed. Whatever goes wrong in between, the row is there, and the relay or
`reconcile-jobs` sends the message later: an outage of QStash is a delay.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

from qstash_jobs import relay
from qstash_jobs.callers import Caller, caller_of
from qstash_jobs.database import Runner, database
from qstash_jobs.envelope import Envelope
from qstash_jobs.errors import LONGEST_WAIT, DatabaseUnreachable, InvalidJob, InvalidMove, JobNotFound, JobsError
from qstash_jobs.executions import outbox, store
from qstash_jobs.executions.literals import storable_json
from qstash_jobs.executions.outbox import NewExecution, Publication
from qstash_jobs.executions.state import ENDED, MOVES, Status, Verb
from qstash_jobs.job import Job
from qstash_jobs.qstash import Message
from qstash_jobs.settings import FAILURE_CALLBACK, Settings, settings

T = TypeVar("T")

log = logging.getLogger("qstash_jobs")

instead: ContextVar[Callable[[list[Job], list[str | None], EnqueueOptions], list[Enqueued]] | None] = ContextVar(
    "instead", default=None
)
"""What takes jobs, their idempotency keys and options instead of the database: the testing kit captures them."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SCHEDULE_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")


class EnqueueOptions(TypedDict, total=False):
    """What can be said of a job besides its payload."""

    user_id: int | None
    organization_id: int | None
    delay: timedelta | None
    """Not before this much time has passed."""
    not_before: datetime | None
    """Not before this time (with a time zone)."""
    idempotency_key: str | None
    """The same key for the same job type is the same job: the first one's id is returned, and nothing changes."""
    retries: int | None
    """Instead of the job type's."""
    callback: str | None
    """QStash calls this URL after each attempt."""
    failure_callback: str | None
    """This URL is called once, when the job has failed for good."""
    headers: Mapping[str, str] | None
    """Forwarded to the function with each delivery."""
    publish: Literal["now", "relay"]
    """`relay` leaves the message to the relay, for callers that cannot afford the call to QStash."""
    connection: Any
    """The row joins the transaction of this connection, and is published after its commit."""


@dataclass(frozen=True, kw_only=True)
class Enqueued:
    """One job of `enqueue_many`."""

    job_id: UUID
    new: bool
    """False when its idempotency key was known: the id is the first job's."""
    published: bool
    """Whether QStash has it already; otherwise the relay, or the commit, sends it."""
    error: str | None = None
    """Why QStash did not take it."""


def enqueue(job: Job, **options: Unpack[EnqueueOptions]) -> UUID:
    """Enqueue one job; its id.

    >>> job_id = enqueue(SendEmail(template="welcome", to="ada@example.com", data={...}), user_id=1)

    With `connection`, the row is part of that transaction: a rollback leaves nothing. If QStash is down, the job waits
    in its row and the relay publishes it.

    Raises `InvalidJob`, `ConfigurationError`, `SettingsUnreachable`, and `DatabaseUnreachable` when there is no
    `connection`.
    """
    return _enqueue([job], [options.pop("idempotency_key", None)], options)[0].job_id


async def enqueue_async(job: Job, **options: Unpack[EnqueueOptions]) -> UUID:
    """`enqueue` for asynchronous services: never blocks the event loop. `connection` is an `AsyncConnection` or an
    `AsyncSession` of SQLAlchemy, if any."""
    connection = options.pop("connection", None)
    if connection is None:
        return await asyncio.to_thread(enqueue, job, **options)

    def within(inner: object) -> UUID:
        options["connection"] = inner
        return enqueue(job, **options)

    if not hasattr(connection, "run_sync"):
        raise TypeError(f"connection must be an AsyncConnection or AsyncSession of SQLAlchemy, not {connection!r}")
    found: UUID = await connection.run_sync(within)
    return found


def enqueue_many(
    jobs: Iterable[Job],
    *,
    idempotency_keys: Sequence[str | None] | None = None,
    **options: Unpack[EnqueueOptions],
) -> list[Enqueued]:
    """Enqueue many jobs with one statement, and publish them a hundred at a time; what became of each, in order.

    The options hold for all; `idempotency_keys` are one for each job. Raises like `enqueue`, before anything is stored.
    """
    jobs = list(jobs)
    if options.get("idempotency_key") is not None:
        raise InvalidJob("idempotency_key is for one job; give enqueue_many a list of idempotency_keys")
    keys = list(idempotency_keys) if idempotency_keys is not None else [None] * len(jobs)
    if len(keys) != len(jobs):
        raise InvalidJob(f"there are {len(jobs)} jobs, and {len(keys)} idempotency keys")
    return _enqueue(jobs, keys, options) if jobs else []


def publish(job_ids: Iterable[UUID]) -> None:
    """Publish jobs whose transaction was just committed, soon and in the background.

    Only for plain DBAPI connections, whose commit nobody can see; the relay would send them a little later.
    """
    relay.publisher.wake(list(job_ids))


def cancel(job_id: UUID, by: str = "the app") -> Status:
    """Stop a job. The answer is `cancelled`, or `processing` when an attempt runs: it ends at its next report of
    progress. `by` says who asked, for the audit.

    Raises `JobNotFound`, and `InvalidMove` when the job has completed or failed.
    """
    cancelled = _twice(lambda run: store.cancel(run, job_id, by))
    while cancelled is not None and not cancelled.changed and cancelled.status not in ENDED:
        # An attempt's report came in between, and the statement had seen the status before it.
        cancelled = _twice(lambda run: store.cancel(run, job_id, by))
    if cancelled is None:
        raise JobNotFound(job_id)
    if not cancelled.changed and cancelled.status is not Status.CANCELLED:
        raise InvalidMove(Verb.CANCEL, job_id, cancelled.status)
    if cancelled.status in ENDED and cancelled.message_id is not None:
        try:
            relay.qstash().cancel(cancelled.message_id)
        except JobsError as error:  # its delivery will find the job cancelled
            log.warning("Message of a cancelled job not cancelled (jobId: %s): %s", job_id, error)
    return cancelled.status


def requeue(job_id: UUID, by: str = "the app") -> None:
    """Send a failed or cancelled job round again, with a fresh budget. `by` says who asked, for the audit.

    Raises `JobNotFound`, and `InvalidMove` when the job is neither failed nor cancelled.
    """
    found = requeue_many([job_id], by)
    if job_id not in found:
        raise JobNotFound(job_id)
    if found[job_id] not in MOVES[Verb.REQUEUE].sources:
        raise InvalidMove(Verb.REQUEUE, job_id, found[job_id])


def requeue_many(job_ids: Sequence[UUID], by: str) -> dict[UUID, Status]:
    """Requeue those that can be; in which status each was found. Unknown ids are missing.

    Raises `ConfigurationError` when nothing could be published, before anything is changed.
    """
    relay.qstash()
    run = database().run_pooled
    try:
        found = store.requeue(run, job_ids, by)
    except DatabaseUnreachable:
        # Perhaps only the reply was lost: those that the repetition finds pending are what was asked for.
        again = store.requeue(run, job_ids, by)
        found = {job_id: Status.FAILED if status is Status.PENDING else status for job_id, status in again.items()}
    moved = [job_id for job_id, status in found.items() if status in MOVES[Verb.REQUEUE].sources]
    relay.publish_now(run, outbox.unpublished(run, moved, relay.longest_delay()))
    return found


def schedule(job: Job, cron: str, *, id: str | None = None, timezone: str = "UTC") -> str:  # noqa: A002
    """Let QStash create a job of this payload at the times of `cron` (five fields, in that time zone); the schedule's
    id. The same id replaces the schedule; without one, the same job at the same times is the same schedule.

    Raises `InvalidJob` for a zone or an id that is none, and `PublishFailed` when QStash refuses.
    """
    when = zoned(cron, timezone)
    payload = storable_json(job.wire())
    schedule_id = id or f"{job.options.name}-{hashlib.sha256(f'{when} {payload}'.encode()).hexdigest()[:12]}"
    if not _SCHEDULE_ID.fullmatch(schedule_id):
        raise InvalidJob(f"a schedule's id has letters, digits, `.`, `_` and `-`, not {schedule_id!r}")
    return relay.qstash().put_schedule(schedule_id, when, scheduled_message(job))


def zoned(cron: str, timezone: str) -> str:
    """A cron expression as QStash takes it. Raises `InvalidJob` for a zone that is none."""
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise InvalidJob(f"{timezone!r} is no time zone; one looks like Europe/Berlin") from None
    return cron.strip() if timezone == "UTC" else f"CRON_TZ={timezone} {cron.strip()}"


def scheduled_message(job: Job, known: Settings | None = None) -> Message:
    """The message of each firing: it brings the payload, and each makes a job of its own. `known` are settings other
    than this process's. Raises `ConfigurationError`."""
    options = job.options
    known = known or settings()
    return Message(
        url=known.url(options.name),
        body=Envelope(type=options.name, payload=job.wire()).encode().decode(),
        retries=min(known.limits.retries, options.retries + relay.SPARE_RETRIES),
        timeout=options.timeout + relay.TIMEOUT_MARGIN,
        label=options.name,
        flow_control=relay.flow_control(options),
        failure_callback=known.url(FAILURE_CALLBACK),
        retry_delay=options.retry_delay,
    )


def new_execution(job: Job, options: EnqueueOptions, idempotency_key: str | None = None) -> NewExecution:
    """The row to be of a job. Raises `InvalidJob`."""
    if not isinstance(job, Job) or not hasattr(type(job), "options"):
        raise InvalidJob(f"a job is an instance of a job type, not {type(job).__name__}")
    retries = options.get("retries")
    retries = job.options.retries if retries is None else retries
    if not 0 <= retries <= 10_000:
        raise InvalidJob(f"retries must be from 0 to 10,000, not {retries}")
    if idempotency_key is not None and not 0 < len(idempotency_key) <= 255:
        raise InvalidJob("an idempotency key has 1 to 255 characters")
    return NewExecution(
        job_id=uuid7(),
        job_type=job.options.name,
        payload=job.wire(),
        budget=retries + 1,
        delay=settings().scaled(_delay(options.get("delay"), options.get("not_before"))),
        idempotency_key=idempotency_key,
        headers=_headers(options.get("headers")),
        callback=_url("callback", options.get("callback")),
        failure_callback=_url("failure_callback", options.get("failure_callback")),
        user_id=options.get("user_id"),
        organization_id=options.get("organization_id"),
    )


def uuid7() -> UUID:
    """A UUID that sorts by time: 48 bits of unix milliseconds, the rest random. Source: RFC 9562, section 5.7."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80 | random & (2**80 - 1)
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def _enqueue(jobs: Sequence[Job], keys: Sequence[str | None], options: EnqueueOptions) -> list[Enqueued]:
    if (take := instead.get()) is not None:
        for job, key in zip(jobs, keys, strict=True):
            storable_json(new_execution(job, options, key).payload)
        return take(list(jobs), list(keys), options)
    connection = options.pop("connection", None)
    at_once = options.pop("publish", "now") == "now"
    news = [new_execution(job, options, key) for job, key in zip(jobs, keys, strict=True)]
    if at_once:  # a missing setting is the caller's to hear of, before anything is stored
        _ = (
            relay.qstash(),
            database(),
            [settings().url(name) for name in {new.job_type for new in news} | {FAILURE_CALLBACK}],
        )
    if connection is not None:
        return _insert_with(caller_of(connection), news, at_once=at_once)
    try:
        inserted, known = _insert(database().run_pooled, news)
    except DatabaseUnreachable:  # perhaps only the reply was lost: then our rows are there
        inserted, known = _insert(database().run_pooled, news)
        inserted |= outbox.existing(database().run_pooled, [new.job_id for new in news])
    sent: dict[UUID, relay.Sent] = {}
    if at_once:
        within = relay.longest_delay()
        fresh = [_publication(new) for new in news if new.job_id in inserted and new.delay <= within]
        sent = {one.job_id: one for one in relay.publish_now(database().run_pooled, fresh)}
    return [_enqueued(new, inserted, known, sent.get(new.job_id)) for new in news]


def _insert_with(caller: Caller, news: Sequence[NewExecution], *, at_once: bool) -> list[Enqueued]:
    inserted, known = _insert(caller.run, news)
    within = relay.longest_delay() if at_once else None
    fresh = [new.job_id for new in news if within is not None and new.job_id in inserted and new.delay <= within]
    if fresh:
        caller.after_commit(fresh, publish)
    return [_enqueued(new, inserted, known, None) for new in news]


def _insert(run: Runner, news: Sequence[NewExecution]) -> tuple[set[UUID], dict[tuple[str, str], UUID]]:
    inserted = outbox.insert(run, news)
    known: dict[tuple[str, str], UUID] = {}
    while missing := [new for new in news if new.job_id not in inserted and _key(new) not in known and _key(new)]:
        known |= outbox.by_idempotency_key(run, [key for new in missing if (key := _key(new))])
        # The first job of a key may be deleted between the two statements: then the key is free.
        inserted |= outbox.insert(run, [new for new in missing if _key(new) not in known])
    return inserted, known


def _key(new: NewExecution) -> tuple[str, str] | None:
    return None if new.idempotency_key is None else (new.job_type, new.idempotency_key)


def _enqueued(
    new: NewExecution, inserted: set[UUID], known: dict[tuple[str, str], UUID], sent: relay.Sent | None
) -> Enqueued:
    job_id = new.job_id
    if job_id not in inserted and new.idempotency_key is not None:
        job_id = known.get((new.job_type, new.idempotency_key), job_id)
    if new.job_id in inserted:
        log.info("Job enqueued: %s (jobId: %s)", new.job_type, job_id)
    return Enqueued(
        job_id=job_id,
        new=job_id == new.job_id,
        published=sent is not None and sent.error is None,
        error=sent.error if sent else None,
    )


def _publication(new: NewExecution) -> Publication:
    return Publication(
        job_id=new.job_id,
        job_type=new.job_type,
        generation=1,
        publication=1,
        attempts_left=new.budget,
        delay=new.delay,
        created_at=datetime.now(UTC),
        idempotency_key=new.idempotency_key,
        headers=new.headers,
        callback=new.callback,
        user_id=new.user_id,
        organization_id=new.organization_id,
    )


def _twice(step: Callable[[Runner], T]) -> T:
    """A pooled connection may have died while it was idle: one more try on another. Each step may be repeated."""
    try:
        return step(database().run_pooled)
    except DatabaseUnreachable:
        return step(database().run_pooled)


def _delay(delay: timedelta | None, not_before: datetime | None) -> timedelta:
    if delay is not None and not_before is not None:
        raise InvalidJob("give delay or not_before, not both")
    if not_before is not None:
        if not_before.tzinfo is None:
            raise InvalidJob("not_before needs a time zone, e.g. datetime.now(UTC) + timedelta(hours=1)")
        delay = max(timedelta(0), not_before - datetime.now(UTC))
    if delay is not None and not timedelta(0) <= delay <= LONGEST_WAIT:
        raise InvalidJob(f"delay must be from nothing to {LONGEST_WAIT.days:,} days, not {delay}")
    return delay or timedelta(0)


def _headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    for name, value in (headers or {}).items():
        if not _TOKEN.fullmatch(name) or name.lower().startswith("upstash-") or name.lower() == "content-type":
            raise InvalidJob(f"{name!r} cannot be forwarded as a header")
        if not isinstance(value, str) or not value.isprintable() or not value.isascii() or value != value.strip():
            raise InvalidJob(f"the value of the header {name!r} must be printable ASCII without blanks around it")
    return dict(headers or {})


def _url(name: str, url: str | None) -> str | None:
    if url is not None and not _callable(url):
        raise InvalidJob(f"{name} must be an http(s) address in ASCII, not {url!r}")
    return url


def _callable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return known and url.isascii() and url.isprintable() and " " not in url
