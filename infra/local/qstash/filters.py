"""Filters of lists and bulk calls: several values of one filter are alternatives, several filters narrow each other."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.local.qstash.errors import BadRequest
from infra.local.qstash.state import IN_PROGRESS, EventKind, State

Selection = Mapping[str, Sequence[str]]
"""Filter name -> its values, from a query or a JSON body."""

MESSAGE_COLUMNS = {
    "messageId": "messages.id",
    "messageIds": "messages.id",
    "url": "messages.url",
    "topicName": "messages.topic",
    "queueName": "messages.queue",
    "scheduleId": "messages.schedule_id",
    "callerIp": "messages.caller_ip",
    "callerIP": "messages.caller_ip",
    "flowControlKey": "messages.flow_control_key",
    "label": "label",
}
ADDRESS_COLUMNS = {"host": "url_host(messages.url)", "path": "url_path(messages.url)"}

UNSETTLED = "messages.state IN ('CREATED', 'RETRY')"
_UNDELIVERED = "messages.state IN ('FAILED', 'CANCELED')"
"""Word for word as their indexes have them, which are used for nothing less."""
_NARROWED = {
    State.CREATED: UNSETTLED,
    State.RETRY: UNSETTLED,
    State.DELIVERED: "1",
    State.FAILED: _UNDELIVERED,
    State.CANCELED: _UNDELIVERED,
}
_ACTIVE = "messages.id IN (SELECT value FROM json_each(?))"

_LABEL = "EXISTS (SELECT 1 FROM json_each(messages.labels) WHERE value IN ({marks}))"
_NUMBER = re.compile(r"[0-9]{1,18}")
_CURSOR = re.compile(r"[0-9]{1,18}-([0-9]{1,18})")
_NO_FILTER = frozenset({"cursor", "count", "order", "qstash_token"})
MOST_VALUES = 1_000


@dataclass(frozen=True, slots=True)
class Condition:
    """The inside of a WHERE, and its parameters."""

    sql: str
    parameters: tuple[Any, ...]

    def __and__(self, other: Condition) -> Condition:
        return Condition(f"({self.sql}) AND ({other.sql})", self.parameters + other.parameters)


EVERYTHING = Condition("1", ())


def condition(selection: Selection, columns: Mapping[str, str], *, time_column: str) -> Condition:
    """The rows that `selection` means. An empty one means all; an unknown name is a BadRequest."""
    found = EVERYTHING
    for name, values in selection.items():
        if name in _NO_FILTER or not values:
            continue
        if len(values) > MOST_VALUES:
            raise BadRequest(f"{name}: at most {MOST_VALUES} values")
        if name in ("fromDate", "toDate"):
            found &= Condition(f"{time_column} {'>=' if name == 'fromDate' else '<='} ?", (_number(name, values[-1]),))
        elif name not in columns:
            raise BadRequest(f"unknown filter: {name[:64]}")
        else:
            found &= _alternatives(name, columns[name], values)
    return found


def standing(states: Sequence[str], active: Collection[str]) -> Condition:
    """Messages in any of these states; `active`: the ids of those with an attempt on its way, which is not recorded."""
    found = [_in_state(state, json.dumps(list(active))) for state in dict.fromkeys(states)]
    return Condition(" OR ".join(f"({one.sql})" for one in found), tuple(p for one in found for p in one.parameters))


def count(selection: Selection, *, default: int, most: int) -> int:
    """How many entries are wanted at most."""
    if not (values := selection.get("count")):
        return default
    wanted = _number("count", values[-1])
    if not 1 <= wanted <= most:
        raise BadRequest(f"count must be from 1 to {most}")
    return wanted


def before_cursor(selection: Selection, column: str) -> Condition:
    """The rows after those of the page that ended with this cursor; lists begin with the newest row."""
    if not (values := selection.get("cursor")) or not values[-1]:
        return EVERYTHING
    if (match := _CURSOR.fullmatch(values[-1])) is None:
        raise BadRequest("cursor is not one that a list returned")
    return Condition(f"{column} < ?", (int(match[1]),))


def _alternatives(name: str, column: str, values: Sequence[str]) -> Condition:
    marks = ", ".join("?" * len(values))
    if name == "label":
        return Condition(_LABEL.format(marks=marks), tuple(values))
    if name == "responseStatus":
        return Condition(f"{column} IN ({marks})", tuple(_number(name, value) for value in values))
    if name == "state":
        states = [state for value in values for state in _states(value)]
        return Condition(f"{column} IN ({', '.join('?' * len(states))})", tuple(states))
    return Condition(f"{column} IN ({marks})", tuple(values))


def _in_state(value: str, active: str) -> Condition:
    if value not in State.__members__:
        raise BadRequest(f"state: {value[:64]!r} is not known")
    state = State(value)
    if state is State.ACTIVE:
        return Condition(f"{UNSETTLED} AND {_ACTIVE}", (active,))
    recorded = f"{_NARROWED[state]} AND messages.state = '{state}'"
    return Condition(recorded, ()) if state.settled else Condition(f"{recorded} AND NOT {_ACTIVE}", (active,))


def _states(value: str) -> Sequence[str]:
    if value == "IN_PROGRESS":
        return IN_PROGRESS
    value = "CANCELED" if value == "CANCELLED" else value
    if value not in EventKind.__members__:
        raise BadRequest(f"state: {value[:64]!r} is not known")
    return (value,)


def _number(name: str, value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise BadRequest(f"{name} must be a whole number, not {value[:32]!r}")
    return int(value)
