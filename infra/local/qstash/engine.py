"""The heart: takes messages in, lets each go out when it may, and settles it.

A message passes these stages in order, and each may make it wait: its queue's gate, its due time, its flow-control
key's gate, and the gate of the plan's parallelism. After a failed attempt it waits for its due time again, without
leaving its queue's gate.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from dataclasses import dataclass
from functools import partial

from infra.local.qstash import callbacks
from infra.local.qstash.clock import Agenda, Clock
from infra.local.qstash.deduplication import Deduplication, deduplication_key
from infra.local.qstash.delivery import Courier
from infra.local.qstash.faults import Faults
from infra.local.qstash.flow_control import FlowKeys
from infra.local.qstash.gates import Gate
from infra.local.qstash.ledger import Ledger, response_content
from infra.local.qstash.message import Message, Place, header_map, milliseconds, new_id
from infra.local.qstash.options import OptionReader
from infra.local.qstash.publication import Publication
from infra.local.qstash.queues import Queue, Queues
from infra.local.qstash.quota import DailyQuota
from infra.local.qstash.settings import Settings
from infra.local.qstash.state import EventKind, State, Verb
from infra.local.qstash.store import Store
from infra.local.qstash.verdict import Delivered, Outcome, Postponed, judge

SHUTDOWN_SECONDS = 1.0
"""How long a stop waits for attempts that are on their way; the others will go out again."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a publication; of a repeat, the message that it repeats."""

    message_id: str
    url: str
    deduplicated: bool = False


class Engine:
    """Everything that happens to messages. All of it in one event loop; between two awaits nothing else happens."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        ledger: Ledger,
        courier: Courier,
        options: OptionReader,
        faults: Faults,
        quota: DailyQuota,
    ) -> None:
        self.clock = clock
        self.timeline = Agenda(clock.now, clock.scale)
        self.wall = Agenda(clock.wall)
        self.queues = Queues(store, clock, settings.limits, self._await_due)
        self.live: dict[str, Message] = {}
        """Messages that can be read: those on their way, and for a short grace those that are settled."""
        self.plan = Gate(self._launch, parallelism=settings.limits.parallelism)
        self.flow_keys = FlowKeys(store, clock, self.timeline, self.plan.submit)
        self._grace_seconds = settings.grace_seconds
        self._ledger = ledger
        self._courier = courier
        self._options = options
        self._faults = faults
        self._quota = quota
        self._deduplication = Deduplication(store, clock)
        self._attempts: set[asyncio.Task[None]] = set()
        self._stopping = False

    def recover(self) -> None:
        """Take up every message that a former run of the server left undelivered."""
        messages = self._ledger.unsettled()
        for message in messages:
            self._take(message)
        for message in messages:
            if message.cancel_requested:
                self._end_canceled(message)
            else:
                self._line_up(message)

    async def stop(self) -> None:
        """Let attempts that are on their way end, for a moment; nothing new goes out."""
        self._stopping = True
        self.timeline.close()
        self.wall.close()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=SHUTDOWN_SECONDS)
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)

    def accept(self, publication: Publication, *, place: Place | None = None) -> Receipt:
        """Take a message in; it is accepted once the store has committed. Raises QuotaExceeded.

        `place`: the place in a queue that a callback shares with the message that it is about.
        """
        key = deduplication_key(publication)
        if key is not None and (existing := self._deduplication.existing(key)) is not None:
            return Receipt(existing, publication.url, deduplicated=True)
        message = self._new_message(publication, place)
        self._take(message)
        if key is not None:
            self._deduplication.remember(key, message.id)
        self._ledger.accepted(message)
        self._quota.count()
        self._line_up(message)
        return Receipt(message.id, publication.url)

    def cancel(self, message_id: str) -> bool:
        """Whether the message was on its way, and now is not, or will end with the attempt that is out."""
        message = self.live.get(message_id)
        if message is None or message.state.settled or message.cancel_requested:
            return False
        message.cancel_requested = True
        self._ledger.event(message, EventKind.CANCEL_REQUESTED)
        if message.state is State.ACTIVE:
            self._ledger.moved(message)
        else:
            self._end_canceled(message)
        return True

    def advance(self, seconds: float) -> None:
        """Move the timeline, and do what is due then."""
        self.clock.advance(seconds)
        self.timeline.wake()

    def _new_message(self, publication: Publication, place: Place | None) -> Message:
        message_id, wall, now = new_id("msg"), self.clock.wall(), self.clock.now()
        if publication.queue is not None:
            place = Place(publication.queue, message_id)
        # A time is given on the wall clock, a delay in whatever clock runs: both are waits from here.
        delay = publication.delay_seconds if publication.not_before is None else publication.not_before - wall
        return Message(
            id=message_id,
            sequence=self._ledger.next_sequence(),
            publication=publication,
            created_at=wall,
            due_at=now + max(0.0, delay),
            place=place,
        )

    def _take(self, message: Message) -> None:
        """Have its gates ready, and the message at hand. Raises QuotaExceeded before anything is changed."""
        if message.publication.queue is not None:
            self.queues.gate(message.publication.queue)
        elif message.place is not None and (queue := self._queue_of(message)) is not None:
            queue.gate.hold(message.place.holder)
        if (control := message.publication.flow_control) is not None:
            self.flow_keys.configure(control)
        self.live[message.id] = message

    def _queue_of(self, message: Message) -> Queue | None:
        """The queue that the message has a place in; None too if it was deleted since."""
        return self.queues.find(message.place.queue) if message.place is not None else None

    def _line_up(self, message: Message) -> None:
        if message.publication.queue is not None:
            self.queues.gate(message.publication.queue).submit(message)
        else:
            self._await_due(message)

    def _await_due(self, message: Message) -> None:
        agenda, now = (self.wall, self.clock.wall()) if message.due_by_wall else (self.timeline, self.clock.now())
        if message.due_at > now:
            # By its id: one that is cancelled before then is not held until then, body and all.
            agenda.add(message.due_at, partial(self._due, message.id))
        else:
            self._due(message.id)

    def _due(self, message_id: str) -> None:
        message = self.live.get(message_id)
        if message is None or message.state.settled:
            return
        control = message.publication.flow_control
        gate = self.plan if control is None else self.flow_keys.gate(control.key)
        gate.submit(message)

    def _launch(self, message: Message) -> None:
        if self._stopping:
            return
        message.move(Verb.START)
        self._ledger.event(message, EventKind.ACTIVE)
        attempt = asyncio.create_task(self._attempt(message))
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempt_ended)

    def _attempt_ended(self, attempt: asyncio.Task[None]) -> None:
        self._attempts.discard(attempt)
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            _logger.error("an attempt could not be settled", exc_info=error)

    async def _attempt(self, message: Message) -> None:
        outcome = await self._faults.deliver(self._courier, message)
        self._settle(message, outcome)
        self.plan.leave(message.id)
        if (control := message.publication.flow_control) is not None:
            self.flow_keys.gate(control.key).leave(message.id)

    def _settle(self, message: Message, outcome: Outcome) -> None:
        verdict = judge(outcome, message.publication, message.retried, wall=self.clock.wall())
        if isinstance(verdict, Delivered):
            self._call_back(message, callbacks.callback(message, outcome, self._options))
            self._end(message, Verb.DELIVER, EventKind.DELIVERED, responseStatus=outcome.status)
            return
        self._ledger.event(message, EventKind.ERROR, **_error_details(outcome))
        self._call_back(message, callbacks.callback(message, outcome, self._options))
        if message.cancel_requested:
            self._end(message, Verb.CANCEL, EventKind.CANCELED)
        elif isinstance(verdict, Postponed):
            self._postpone(message, verdict)
        else:
            dead_letter_id = self._ledger.dead_letter(message, outcome)
            self._call_back(message, callbacks.failure_callback(message, outcome, dead_letter_id, self._options))
            self._end(message, Verb.FAIL, EventKind.FAILED)

    def _call_back(self, message: Message, publication: Publication | None) -> None:
        if publication is not None:
            self.accept(publication, place=message.place)

    def _postpone(self, message: Message, verdict: Postponed) -> None:
        message.move(Verb.POSTPONE)
        message.retried += 1
        message.due_by_wall = verdict.by_wall
        message.due_at = verdict.delay_seconds + (self.clock.wall() if verdict.by_wall else self.clock.now())
        self._ledger.moved(message)
        # As the service would state it, whatever the time scale.
        next_delivery = milliseconds(self.clock.wall() + verdict.delay_seconds)
        self._ledger.event(message, EventKind.RETRY, nextDeliveryTime=next_delivery)
        self._await_due(message)

    def _end_canceled(self, message: Message) -> None:
        """End a message that waits, wherever it does."""
        if (control := message.publication.flow_control) is not None:
            gate = self.flow_keys.gate(control.key)
            if not gate.withdraw(message):
                gate.leave(message.id)
        self.plan.withdraw(message)
        queue = self._queue_of(message)
        if queue is not None and queue.gate.withdraw(message):
            message.place = None  # it had not taken it yet
        self._end(message, Verb.CANCEL, EventKind.CANCELED)

    def _end(self, message: Message, verb: Verb, kind: EventKind, **details: object) -> None:
        message.move(verb)
        self._ledger.moved(message)
        self._ledger.event(message, kind, **details)
        if message.place is not None and (queue := self._queue_of(message)) is not None:
            queue.gate.leave(message.place.holder)
        self.wall.add(self.clock.wall() + self._grace_seconds, partial(self.live.pop, message.id, None))


def _error_details(outcome: Outcome) -> dict[str, object]:
    headers = header_map(outcome.headers)
    return {
        "error": outcome.error or f"the destination answered {outcome.status}",
        "responseStatus": outcome.status,
        "responseBody": base64.b64encode(response_content(outcome)).decode(),
        "responseHeader": headers,
        "responseHeaders": headers,
    }
