"""From the outbox to QStash: makes messages of rows that are committed, sends them, and notes what became of them.

A publisher in a thread of its own sends what transactions leave behind; `publish_due` sends what nobody else has.
Publishing twice is harmless: QStash knows a message by job, generation and publication, and so does the row.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from qstash_jobs.database import Runner, database
from qstash_jobs.envelope import Envelope, Metadata
from qstash_jobs.errors import DatabaseUnreachable, JobsError, PublishFailed, UnknownJobType
from qstash_jobs.executions import outbox
from qstash_jobs.executions.outbox import Publication
from qstash_jobs.job import JobOptions, registry
from qstash_jobs.qstash import Message, QStash
from qstash_jobs.settings import FAILURE_CALLBACK, Settings, settings

log = logging.getLogger("qstash_jobs")

SPARE_RETRIES = 2
"""What QStash is asked for beyond the job's budget: throttles, deploys and busy leases eat its retries, not ours."""

TIMEOUT_MARGIN = timedelta(seconds=5)
"""QStash waits this much longer than the function may run, so that it sees how the function ended."""

QUIET = timedelta(seconds=2)
"""The relay leaves rows alone that were touched so recently: somebody is publishing them just now."""

REFUSED_FOR_GOOD = frozenset({400, 412, 413, 422})
"""QStash's answers to a message that it would not take later either; what is wrong with the account or the address of
QStash is none of the message's fault."""

LONGEST_PAUSE = timedelta(hours=1)
"""Before a message that was lost, or refused for good, is published again."""

_VISIBLE_WITHIN_SECONDS = 2.0


@functools.cache
def qstash() -> QStash:
    """QStash, as the settings name it. Raises `ConfigurationError` and `SettingsUnreachable`."""
    settings().secret("QSTASH_TOKEN")  # so that one that is missing is found here
    return QStash(lambda: settings().secret("QSTASH_TOKEN"), settings().qstash_url, settings().qstash_timeout)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of one publication."""

    job_id: UUID
    message_id: str | None
    error: str | None


def longest_delay() -> timedelta:
    """The longest wait that a message may carry; what is due later stays in its row until then."""
    return settings().scaled(settings().limits.delay)


def flow_control(options: JobOptions) -> dict[str, str | int]:
    """So that bursts wait at QStash instead of being throttled by Lambda."""
    limits: dict[str, str | int] = {"key": options.name, "parallelism": options.concurrency}
    if options.rate is not None:
        limits |= {"rate": options.rate.limit, "period": f"{round(options.rate.per.total_seconds())}s"}
    return limits


def message_for(publication: Publication, settings: Settings) -> Message:
    """The message that carries a job by reference: no payload, so no personal data rests with QStash.

    Raises `UnknownJobType` and `ConfigurationError`.
    """
    options = registry.get(publication.job_type).options
    envelope = Envelope(
        job_id=publication.job_id,
        type=options.name,
        generation=publication.generation,
        publication=publication.publication,
        metadata=Metadata(
            user_id=publication.user_id,
            organization_id=publication.organization_id,
            created_at=publication.created_at,
            idempotency_key=publication.idempotency_key,
        ),
    )
    return Message(
        url=settings.url(options.name),
        body=envelope.encode().decode(),
        retries=min(settings.limits.retries, publication.attempts_left - 1 + SPARE_RETRIES),
        timeout=options.timeout + TIMEOUT_MARGIN,
        label=options.name,
        flow_control=flow_control(options),
        failure_callback=settings.url(FAILURE_CALLBACK),
        callback=publication.callback,
        deduplication_id=f"{publication.job_id}-{publication.generation}-{publication.publication}",
        retry_delay=options.retry_delay,
        delay=publication.delay * settings.time_scale,
        headers=publication.headers,
    )


def publish_now(run: Runner, publications: Sequence[Publication], *, apart: bool = False) -> list[Sent]:
    """Send messages and note what became of each. Never raises for what QStash or Postgres did not do: the row stays
    in the outbox. Once QStash does not answer, the rest is not tried: the caller has waited long enough. `apart`: find
    out, with more requests, for which of its messages a batch is refused."""
    sent: list[Sent] = []
    size = settings().limits.batch
    outage: PublishFailed | None = None
    for start in range(0, len(publications), size):
        batch = publications[start : start + size]
        answers: list[str | JobsError]
        if outage is None:
            answers, whole = _send(batch, apart=apart)
            _note(run, batch, answers, whole=whole)
            outage = _outage(answers)
        else:
            answers = [outage] * len(batch)
        sent.extend(
            Sent(job_id=publication.job_id, message_id=None, error=str(answer))
            if isinstance(answer, JobsError)
            else Sent(job_id=publication.job_id, message_id=answer, error=None)
            for publication, answer in zip(batch, answers, strict=True)
        )
    return sent


def publish_due(run: Runner, limit: int = 500) -> list[Sent]:
    """Send what waits in the outbox and nobody else is sending, the oldest first.

    Raises `DatabaseUnreachable`.
    """
    return publish_now(run, outbox.due(run, longest_delay(), settings().scaled(QUIET), limit), apart=True)


def _outage(answers: Sequence[str | JobsError]) -> PublishFailed | None:
    """Why QStash took nothing of a batch, if that says that it would take nothing of the next one either."""
    failed = [answer for answer in answers if isinstance(answer, PublishFailed)]
    away = [error for error in failed if error.status is None or error.status == 429 or error.status >= 500]
    return away[0] if away and not any(isinstance(answer, str) for answer in answers) else None


def _is_for_good(error: JobsError, *, whole: bool) -> bool:
    """Whether the same message would be refused again: its contract is gone, or QStash finds fault with it alone. An
    answer to a whole batch does not say which of its messages is at fault."""
    if isinstance(error, PublishFailed):
        return error.status in REFUSED_FOR_GOOD and not whole
    return isinstance(error, UnknownJobType)


def _send(batch: Sequence[Publication], *, apart: bool) -> tuple[list[str | JobsError], bool]:
    """What became of each publication, and whether QStash refused several of them in one answer."""
    answers: list[str | JobsError] = []
    messages: list[Message] = []
    for publication in batch:
        try:
            messages.append(message_for(publication, settings()))
        except JobsError as error:
            answers.append(error)
        else:
            answers.append("")
    whole = False
    try:
        taken = _publish(messages, apart=apart)
    except PublishFailed as error:
        taken, whole = [error] * len(messages), len(messages) > 1
    in_order = iter(taken)
    return [answer if isinstance(answer, JobsError) else next(in_order) for answer in answers], whole


def _publish(messages: Sequence[Message], *, apart: bool) -> list[str | PublishFailed]:
    """Raises `PublishFailed` when none was taken, and with `apart` only for what is no fault of a message."""
    try:
        if len(messages) == 1:
            return [qstash().publish(messages[0])]
        return qstash().publish_batch(messages) if messages else []
    except PublishFailed as error:
        if not apart or error.status not in REFUSED_FOR_GOOD:
            raise
        if len(messages) == 1:
            return [error]
    half = len(messages) // 2
    return [*_publish(messages[:half], apart=True), *_publish(messages[half:], apart=True)]


def _note(run: Runner, batch: Sequence[Publication], answers: Sequence[str | JobsError], *, whole: bool) -> None:
    pairs = list(zip(batch, answers, strict=True))
    refused = [
        (publication, str(answer), _is_for_good(answer, whole=whole))
        for publication, answer in pairs
        if isinstance(answer, JobsError)
    ]
    for publication, error, _ in refused:
        log.warning(
            "Job not published; the relay will do it: %s (jobId: %s): %s",
            publication.job_type,
            publication.job_id,
            error,
        )
    try:
        outbox.confirm(run, [(publication, answer) for publication, answer in pairs if isinstance(answer, str)])
        outbox.refuse(run, refused, settings().scaled(settings().publication_delay), settings().scaled(LONGEST_PAUSE))
    except JobsError as error:
        log.warning("Publication not noted; the relay will repeat it: %s", error)


@dataclass(frozen=True)
class _Commit:
    """What one transaction enqueued. Its rows become visible together, and those that then are not never will."""

    job_ids: frozenset[UUID]
    until: float
    """When, on the monotonic clock, it was rolled back after all, or takes its time: then it is the relay's."""


class Publisher:
    """Sends what transactions have left in the outbox, in a thread of its own, so that no caller waits or fails."""

    def __init__(self) -> None:
        self._woken: list[_Commit] = []
        self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def wake(self, job_ids: Sequence[UUID]) -> None:
        """The rows of one transaction were, or are just being, committed. Never raises into the caller's commit."""
        if not job_ids:
            return
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="qstash-jobs-publisher", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the interpreter is ending, or the machine has no more threads
                    log.warning("No publisher; the relay will publish %d jobs: %s", len(job_ids), error)
                    return
                self._thread = thread
            self._woken.append(_Commit(frozenset(job_ids), time.monotonic() + _VISIBLE_WITHIN_SECONDS))
            self._changed.notify_all()

    def flush(self, timeout: timedelta) -> bool:
        """Wait until nothing is left to send; False when it took longer than that."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._woken and not self._busy, timeout.total_seconds())

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._woken))
                commits, self._woken = self._woken, []
                self._busy = True
            try:
                self._publish(commits)
            except Exception:  # the thread must outlive whatever goes wrong; the relay does its work meanwhile
                log.exception("Publisher failed; the relay will publish what it was to")
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _publish(self, commits: list[_Commit]) -> None:
        """Send the jobs of each commit as soon as they can be seen; a slow one holds up no other."""
        run = database().run_pooled
        pause_seconds = 0.002
        while commits:
            job_ids = [job_id for commit in commits for job_id in commit.job_ids]
            try:
                visible = outbox.unpublished(run, job_ids, longest_delay())
            except DatabaseUnreachable:  # the connection may have died while Lambda held this environment still
                visible = outbox.unpublished(run, job_ids, longest_delay())
            publish_now(run, visible)
            seen = {publication.job_id for publication in visible}
            now = time.monotonic()
            commits = [commit for commit in commits if seen.isdisjoint(commit.job_ids) and now < commit.until]
            with self._changed:
                # What woke us while its row was already being seen was sent just now, and would not be seen again.
                self._woken = [commit for commit in self._woken if seen.isdisjoint(commit.job_ids)]
                pause = pause_seconds if commits else 0.0
                if self._changed.wait_for(lambda: bool(self._woken), pause):
                    pause_seconds = 0.001
                commits, self._woken = commits + self._woken, []
            pause_seconds = min(pause_seconds * 2, 0.25)


publisher = Publisher()


def _begin_anew() -> None:
    global publisher
    publisher = Publisher()
    if qstash.cache_info().currsize:
        _inherited.append(qstash())  # not closed, not even as garbage: its connections are the parent's
        qstash.cache_clear()


_inherited: list[QStash] = []
os.register_at_fork(after_in_child=_begin_anew)
atexit.register(lambda: publisher.flush(timedelta(seconds=2)))
