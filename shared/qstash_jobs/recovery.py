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
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from qstash_jobs import relay
from qstash_jobs.database import Runner
from qstash_jobs.envelope import Envelope, firing
from qstash_jobs.errors import InvalidMessage, PublishFailed, UnknownJobType
from qstash_jobs.executions import outbox
from qstash_jobs.executions.literals import NotStorable
from qstash_jobs.executions.outbox import Carrier, NewExecution
from qstash_jobs.job import registry
from qstash_jobs.notify import notify
from qstash_jobs.qstash import DeadLetter
from qstash_jobs.settings import Settings
from qstash_jobs.telemetry import Telemetry

BATCH = 500
"""Rows of each kind that one pass takes; the next pass takes more."""

QUESTIONS = 100
"""Messages that one pass asks QStash about."""

DEAD_LETTERS_SINCE = timedelta(hours=1)
"""How far back a pass reads the dead letter queue; what is older, asking about the message finds."""

LONGEST_DELAY = timedelta(hours=1)
"""Before a lost message is published again."""

FIRST_BACKOFF = timedelta(seconds=12.2)
"""QStash's wait before it delivers again to a function that died."""


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
    """Entries of the dead letter queue that were read."""
    told: int = 0
    """Failures that people were told of."""
    troubles: tuple[str, ...] = ()
    """What could not be done in this pass."""


def reconcile(run: Runner, settings: Settings, telemetry: Telemetry) -> Report:
    """One pass. What QStash's absence prevents is left to the next; raises `DatabaseUnreachable`."""
    troubles: list[str] = []
    freed = outbox.reap(run, settings.lease_grace, settings.scaled(FIRST_BACKOFF), BATCH)
    for job in freed:
        telemetry.logger.warning(
            "Lease freed", extra={"job_id": str(job.job_id), "job_type": job.job_type, "status": job.status}
        )
    sent = relay.publish_due(run, BATCH)  # first: whatever follows may take all the time there is
    lost = 0
    letters = 0
    try:
        for letter in relay.qstash().dead_letters(datetime.now(UTC) - DEAD_LETTERS_SINCE):
            letters += 1
            given_up = from_dead_letter(letter, settings)
            lost += given_up is not None and message_lost(run, given_up, settings)
        lost += _ask_about_overdue(run, settings)
    except PublishFailed as error:
        troubles.append(str(error))
    sent += relay.publish_due(run, BATCH)
    troubles.extend(one.error for one in sent if one.error is not None)
    told = tell(run, settings, telemetry, troubles)
    return Report(
        freed=len(freed),
        published=sum(one.error is None for one in sent),
        lost=lost,
        dead_letters=letters,
        told=told,
        troubles=tuple(dict.fromkeys(troubles)),
    )


def message_lost(run: Runner, given_up: GivenUp, settings: Settings) -> bool:
    """A carrier is known dead: give a live job its next publication; True if that, or its failure, was due."""
    if given_up.new is not None:
        with contextlib.suppress(NotStorable):  # which its function would have refused
            outbox.insert(run, [given_up.new])  # changes nothing where there is a row
    status = outbox.lose(
        run,
        given_up.carrier,
        settings.scaled(settings.publication_delay),
        settings.scaled(LONGEST_DELAY),
        given_up.dlq_id,
    )
    if status is None and given_up.dlq_id is not None:
        outbox.note_dead_letter(run, given_up.carrier, given_up.dlq_id)
    return status is not None


def tell(run: Runner, settings: Settings, telemetry: Telemetry, troubles: list[str], job_id: UUID | None = None) -> int:
    """Tell of the failures (or of this job's) that nobody was told of yet; how many. One that cannot be told is left to
    the next pass, and named in `troubles`."""
    told = 0
    for failure in outbox.unnotified(run, BATCH, job_id):
        try:
            notify(failure, settings, telemetry)
        except Exception as error:  # whichever way of telling failed, the others' turn comes again
            telemetry.logger.error("Failure not told", extra={"job_id": str(failure.job_id)}, exc_info=error)
            troubles.append(f"{type(error).__name__}: {error}")
        else:
            outbox.notified(run, failure)
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
    if letter.url == settings.url(relay.FAILURE_CALLBACK):
        try:
            return from_callback(letter.body)
        except InvalidMessage:
            return None
    if letter.label == relay.FAILURE_CALLBACK:  # what we told a job's own callback names the job, but did not carry it
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


def _ask_about_overdue(run: Runner, settings: Settings) -> int:
    lost = 0
    for carrier in outbox.overdue(run, settings.delivery_grace, QUESTIONS):
        if carrier.message_id is not None and relay.qstash().holds(carrier.message_id):
            outbox.expect(run, carrier, settings.delivery_grace * 2)
        else:
            lost += message_lost(run, GivenUp(carrier=carrier, dlq_id=None), settings)
    return lost
