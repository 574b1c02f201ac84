"""Nothing stays where nothing will ever move it: expired leases, unsent and lost messages, untold failures.

`reconcile` is what the job `reconcile-jobs` does every few minutes; `message_lost` is what the function
`failure-callback` does when QStash says that it gave a message up. Both only ever use guarded moves, so it does no
harm when they run at the same time, twice, or late.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from qstash_jobs import relay
from qstash_jobs.database import Runner
from qstash_jobs.envelope import Envelope, firing
from qstash_jobs.errors import InvalidMessage, PublishFailed, UnknownJobType
from qstash_jobs.executions import outbox, upkeep
from qstash_jobs.executions.literals import NotStorable
from qstash_jobs.executions.outbox import NewExecution
from qstash_jobs.executions.upkeep import Carrier
from qstash_jobs.job import registry
from qstash_jobs.notify import notify
from qstash_jobs.qstash import DeadLetter
from qstash_jobs.settings import FAILURE_CALLBACK, Settings
from qstash_jobs.telemetry import Telemetry

BATCH = 500
"""Rows of each kind that one pass takes; the next pass takes more."""

QUESTIONS = 100
"""Messages that one pass asks QStash about."""

DEAD_LETTERS_SINCE = timedelta(hours=1)
"""How far back a pass reads the dead letter queue; what is older, asking about the message finds."""

MOST_COUNTED = 1_000
"""Entries of the dead letter queue beyond which a pass stops counting."""

RESERVED = timedelta(seconds=10)
"""The time that is left for what follows, and for the report."""

Remaining = Callable[[], timedelta]


def _endless() -> timedelta:
    return timedelta.max


@dataclass(frozen=True, kw_only=True)
class GivenUp:
    """A message that QStash gave up, as its failure callback or the dead letter queue says."""

    carrier: Carrier
    dlq_id: str | None
    new: NewExecution | None = None
    """The row that it would have made, had it arrived: a firing of a schedule, or a job from outside."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one pass did."""

    freed: int = 0
    """Leases of attempts that never reported."""
    published: int = 0
    lost: int = 0
    """Messages that were found dead, and are replaced."""
    dead_letters: int = 0
    """Entries of the dead letter queue, counted up to `MOST_COUNTED`."""
    told: int = 0
    """Failures that people were told of."""
    troubles: tuple[str, ...] = ()
    """What could not be done in this pass."""


def reconcile(run: Runner, settings: Settings, telemetry: Telemetry, remaining: Remaining = _endless) -> Report:
    """One pass; `remaining` says how much time it has. What QStash's absence, or the time, prevents is left to the
    next. Raises `DatabaseUnreachable`."""
    troubles: list[str] = []
    freed = upkeep.reap(run, settings.lease_grace, BATCH)
    for job in freed:
        telemetry.logger.warning(
            "Lease freed", extra={"job_id": str(job.job_id), "job_type": job.job_type, "status": job.status}
        )
    # In the order of what matters: each part may take all the time there is.
    sent = relay.publish_due(run, BATCH)
    lost = _unless_away(troubles, lambda: _ask_about_overdue(run, settings, remaining))
    sent += relay.publish_due(run, BATCH) if lost else []
    told = tell(run, settings, telemetry, troubles)
    dead = _unless_away(troubles, lambda: _read_dead_letters(run, settings, remaining))
    if dead:
        sent += relay.publish_due(run, BATCH)
        told += tell(run, settings, telemetry, troubles)
    letters = _unless_away(troubles, lambda: _count_dead_letters(remaining))
    troubles.extend(one.error for one in sent if one.error is not None)
    return Report(
        freed=len(freed),
        published=sum(one.error is None for one in sent),
        lost=lost + dead,
        dead_letters=letters,
        told=told,
        troubles=tuple(dict.fromkeys(troubles)),
    )


def message_lost(run: Runner, given_up: GivenUp, settings: Settings) -> bool:
    """A carrier is known dead: give a live job its next publication; True if that, or its failure, was due."""
    known = False
    if given_up.new is not None:
        with contextlib.suppress(NotStorable):  # which its function would have refused
            known = not outbox.insert(run, [given_up.new])  # changes nothing where there is a row
    status = upkeep.lose(
        run,
        # Our own messages carry no payload, so one that does says nothing of a row that another message carries.
        replace(given_up.carrier, certain=known),
        settings.scaled(settings.publication_delay),
        settings.scaled(relay.LONGEST_PAUSE),
        given_up.dlq_id,
    )
    if status is None and given_up.dlq_id is not None:
        upkeep.note_dead_letter(run, given_up.carrier, given_up.dlq_id)
    return status is not None


def tell(run: Runner, settings: Settings, telemetry: Telemetry, troubles: list[str], job_id: UUID | None = None) -> int:
    """Tell of the failures (or of this job's) that nobody was told of yet; how many. One that cannot be told is left to
    the next pass, and named in `troubles`."""
    told = 0
    for failure in upkeep.unnotified(run, BATCH, job_id):
        try:
            notify(failure, settings, telemetry)
        except Exception as error:  # whichever way of telling failed, the others' turn comes again
            telemetry.logger.error("Failure not told", extra={"job_id": str(failure.job_id)}, exc_info=error)
            troubles.append(f"{type(error).__name__}: {error}")
        else:
            upkeep.notified(run, failure)
            told += 1
    return told


def from_callback(body: bytes) -> GivenUp | None:
    """What the body of a failure callback says; None when the message it tells of carried no job of ours.

    Raises `InvalidMessage` when it is no failure callback.
    """
    try:
        document = json.loads(body)
        source = base64.b64decode(document.get("sourceBody") or "", validate=True)
        message_id, dlq_id = document["sourceMessageId"], document.get("dlqId")
        if not isinstance(message_id, str) or not isinstance(dlq_id, str | None):
            raise TypeError("ids are text")
    except (ValueError, KeyError, AttributeError, TypeError, binascii.Error, RecursionError) as error:
        raise InvalidMessage(f"this is no failure callback: {type(error).__name__}: {error}") from None
    return _given_up(source, message_id, dlq_id)


def from_dead_letter(letter: DeadLetter, settings: Settings) -> GivenUp | None:
    """What an entry of the dead letter queue says; one may be a failure callback that did not reach us itself."""
    if letter.url == settings.url(FAILURE_CALLBACK):
        try:
            return from_callback(letter.body)
        except InvalidMessage:
            return None
    if letter.label == FAILURE_CALLBACK:  # what we told a job's own callback names the job, but did not carry it
        return None
    return _given_up(letter.body, letter.message_id, letter.dlq_id)


def _given_up(body: bytes, message_id: str, dlq_id: str | None) -> GivenUp | None:
    try:
        envelope = Envelope.decode(body)
    except InvalidMessage:
        return None
    carrier = Carrier(
        job_id=envelope.job_id or firing(message_id),
        generation=envelope.generation,
        publication=envelope.publication,
        message_id=message_id,
    )
    return GivenUp(carrier=carrier, dlq_id=dlq_id, new=_new(envelope, carrier.job_id))


def _new(envelope: Envelope, job_id: UUID) -> NewExecution | None:
    if envelope.payload is None:
        return None
    try:
        options = registry.get(envelope.type).options
    except UnknownJobType:
        return None
    return envelope.execution(job_id, options)


def _unless_away(troubles: list[str], step: Callable[[], int]) -> int:
    """What the step counts; 0 and a trouble when QStash is away."""
    try:
        return step()
    except PublishFailed as error:
        troubles.append(str(error))
        return 0


def _ask_about_overdue(run: Runner, settings: Settings, remaining: Remaining) -> int:
    lost = 0
    for carrier in upkeep.overdue(run, settings.delivery_grace, QUESTIONS):
        if remaining() < RESERVED:
            break
        if carrier.message_id is not None and relay.qstash().holds(carrier.message_id):
            upkeep.expect(run, carrier, settings.delivery_grace * 2)
        else:
            lost += message_lost(run, GivenUp(carrier=carrier, dlq_id=None), settings)
    return lost


def _read_dead_letters(run: Runner, settings: Settings, remaining: Remaining) -> int:
    lost = 0
    for page in relay.qstash().dead_letters(datetime.now(UTC) - DEAD_LETTERS_SINCE):
        found = [one for letter in page if (one := from_dead_letter(letter, settings)) is not None]
        news = upkeep.news(run, [(one.carrier, one.dlq_id) for one in found])
        for one, is_news in zip(found, news, strict=True):
            if is_news and remaining() >= RESERVED:
                lost += message_lost(run, one, settings)
        if remaining() < RESERVED:
            break
    return lost


def _count_dead_letters(remaining: Remaining) -> int:
    letters = 0
    for page in relay.qstash().dead_letters():
        letters += len(page)
        if letters >= MOST_COUNTED or remaining() < RESERVED:
            break
    return letters
