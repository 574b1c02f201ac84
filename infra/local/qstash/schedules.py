"""Schedules: publications that are repeated by cron."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import partial

from infra.local.qstash.cron import Cron, parse_cron
from infra.local.qstash.engine import Engine
from infra.local.qstash.errors import ApiError, BadRequest, NotFound, QuotaExceeded
from infra.local.qstash.ledger import Ledger
from infra.local.qstash.message import Json, milliseconds, new_id, present, publication_json, text_or_base64
from infra.local.qstash.publication import Publication, dump, load
from infra.local.qstash.quota import DailyQuota
from infra.local.qstash.redaction import shown_body
from infra.local.qstash.settings import Limits
from infra.local.qstash.state import State
from infra.local.qstash.store import Store
from infra.local.qstash.url_groups import UrlGroups

_SHOWN_STATES = {State.DELIVERED: "SUCCESS", State.FAILED: "FAIL", State.CANCELED: "FAIL"}


@dataclass(slots=True, eq=False)
class Schedule:
    """A cron expression and the template of the messages that it makes."""

    id: str
    cron: Cron
    publication: Publication
    created_ms: int
    paused: bool = False
    next_at: float = 0.0
    """Unix seconds on the timeline, like every time that cron gives."""
    last_at: float | None = None
    last_message_ids: list[str] = field(default_factory=list)
    """The messages of the last firing: more than one if it went to a URL group."""
    error: str | None = None
    """Why the last firing made no message."""


class Schedules:
    """All schedules. Firings that were due while the server was down are skipped."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        ledger: Ledger,
        limits: Limits,
        url_groups: UrlGroups,
        quota: DailyQuota,
    ) -> None:
        self._store = store
        self._url_groups = url_groups
        self._quota = quota
        self._engine = engine
        self._ledger = ledger
        self._limits = limits
        self._schedules: dict[str, Schedule] = {}

    def recover(self) -> None:
        """Take up the schedules of a former run of the server."""
        rows = self._store.read(
            "SELECT id, cron, created_ms, paused, last_at, last_message_ids, error, document, body FROM schedules"
        )
        for schedule_id, cron, created_ms, paused, last_at, last_message_ids, error, document, body in rows:
            schedule = Schedule(
                id=schedule_id,
                cron=parse_cron(cron, now=self._engine.clock.now()),
                publication=load(document, body),
                created_ms=created_ms,
                paused=bool(paused),
                last_at=last_at,
                last_message_ids=json.loads(last_message_ids),
                error=error,
            )
            self._schedules[schedule_id] = schedule
            self._plan_after(schedule, self._engine.clock.now())

    def put(self, publication: Publication, cron: str, schedule_id: str | None) -> str:
        """Make a schedule, or replace one wholly; returns its id. Raises BadRequest, QuotaExceeded."""
        now = self._engine.clock.now()
        try:
            parsed = parse_cron(cron, now=now)
        except ValueError as error:
            raise BadRequest(f"Upstash-Cron: {cron[:64]!r} is not a cron expression: {error}") from error
        schedule_id = schedule_id or new_id("scd")
        if schedule_id not in self._schedules and len(self._schedules) >= self._limits.schedules:
            raise QuotaExceeded("maxSchedules", self._limits.schedules)
        schedule = Schedule(
            id=schedule_id,
            cron=parsed,
            publication=replace(publication, schedule_id=schedule_id),
            created_ms=milliseconds(self._engine.clock.wall()),
        )
        self._schedules[schedule_id] = schedule
        self._record(schedule)
        self._plan_after(schedule, now)
        return schedule_id

    def __len__(self) -> int:
        return len(self._schedules)

    def all(self) -> list[Json]:
        """Every schedule, as a client is shown it."""
        return [self._as_json(schedule) for schedule in self._schedules.values()]

    def of_topic(self, topic: str) -> list[str]:
        """The ids of the schedules whose messages go to this URL group."""
        return [schedule.id for schedule in self._schedules.values() if schedule.publication.topic == topic]

    def show(self, schedule_id: str) -> Json:
        """Raises NotFound."""
        return self._as_json(self._get(schedule_id))

    def delete(self, schedule_id: str) -> None:
        """Raises NotFound. Messages that it made go on."""
        del self._schedules[self._get(schedule_id).id]
        self._store.write("DELETE FROM schedules WHERE id = ?", (schedule_id,))

    def pause(self, schedule_id: str, paused: bool) -> None:
        """Firings of a paused schedule are skipped, not kept. Raises NotFound."""
        schedule = self._get(schedule_id)
        schedule.paused = paused
        self._record(schedule)

    def _get(self, schedule_id: str) -> Schedule:
        if (schedule := self._schedules.get(schedule_id)) is None:
            raise NotFound(f"schedule {schedule_id} not found")
        return schedule

    def _plan_after(self, schedule: Schedule, moment: float) -> None:
        schedule.next_at = schedule.cron.after(moment)
        self._engine.timeline.add(schedule.next_at, partial(self._fire, schedule))

    def _fire(self, schedule: Schedule) -> None:
        if self._schedules.get(schedule.id) is not schedule:
            return  # deleted or replaced since
        fired_at = schedule.next_at
        self._plan_after(schedule, fired_at)
        if schedule.paused:
            return
        try:
            publications = self._url_groups.expand(schedule.publication)
            self._quota.check(len(publications))
            receipts = [self._engine.accept(one) for one in publications]
        except ApiError as error:
            schedule.error = error.text
        else:
            schedule.last_at, schedule.error = fired_at, None
            schedule.last_message_ids = [receipt.message_id for receipt in receipts]
        self._record(schedule)

    def _record(self, schedule: Schedule) -> None:
        self._store.write(
            "INSERT OR REPLACE INTO schedules VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                schedule.id,
                schedule.cron.text,
                schedule.created_ms,
                schedule.paused,
                schedule.last_at,
                json.dumps(schedule.last_message_ids),
                schedule.error,
                dump(schedule.publication),
                schedule.publication.body,
            ),
        )

    def _as_json(self, schedule: Schedule) -> Json:
        publication = schedule.publication
        return {
            **publication_json(publication),
            **text_or_base64(shown_body(publication), "body"),
            "scheduleId": schedule.id,
            "destination": publication.url,
            "cron": schedule.cron.text,
            "createdAt": schedule.created_ms,
            "retries": publication.retries,
            "isPaused": schedule.paused,
            "nextScheduleTime": milliseconds(schedule.next_at),
            **present(
                {
                    "delay": publication.delay_seconds or None,
                    "timeout": publication.timeout_seconds,
                    "lastScheduleTime": None if schedule.last_at is None else milliseconds(schedule.last_at),
                    "lastScheduleStates": self._last_states(schedule),
                    "error": schedule.error,
                }
            ),
        }

    def _last_states(self, schedule: Schedule) -> dict[str, str]:
        states = self._ledger.states(schedule.last_message_ids)
        return {message_id: _SHOWN_STATES.get(state, "IN_PROGRESS") for message_id, state in states.items()}
