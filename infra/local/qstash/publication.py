"""What a publisher asked for: the content of a message, and the template of a schedule's messages."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

Value = TypeVar("Value", bound=Hashable)

Headers = tuple[tuple[str, str], ...]
"""Name and value, in the order in which they were sent; names as Go writes them (`Content-Type`)."""


@dataclass(frozen=True, slots=True)
class FlowControl:
    """At most `parallelism` attempts of messages with this key at once, and `rate` starts per `period_seconds`."""

    key: str
    parallelism: int | None = None
    rate: int | None = None
    period_seconds: int = 1

    @property
    def value(self) -> str:
        """As a delivery's `Upstash-Flow-Control-Value` states it."""
        limits = []
        if self.parallelism is not None:
            limits.append(f"parallelism={self.parallelism}")
        if self.rate is not None:
            limits += [f"rate={self.rate}", f"period={self.period_seconds}"]
        return ",".join(limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A destination, what to send there, and how. Header names of callbacks have lost their prefix."""

    url: str
    method: str = "POST"
    headers: Headers = ()
    """What the destination is sent, Content-Type included."""
    body: bytes = b""
    delay_seconds: float = 0
    not_before: float | None = None
    """Unix seconds; overrides `delay_seconds`."""
    retries: int = 3
    retry_delay: str | None = None
    timeout_seconds: int | None = None
    callback: str | None = None
    callback_headers: Headers = ()
    failure_callback: str | None = None
    failure_callback_headers: Headers = ()
    labels: tuple[str, ...] = ()
    queue: str | None = None
    flow_control: FlowControl | None = None
    schedule_id: str | None = None
    caller_ip: str | None = None
    deduplication_id: str | None = None
    content_based_deduplication: bool = False
    topic: str | None = None
    """The URL group that it was published to; until it is spread over the group's endpoints, `url` is its name too."""
    endpoint: str | None = None
    """The name of the group's endpoint at `url`."""
    redact: tuple[str, ...] = ()
    """What nobody is shown: `body`, `header` (all of them), `header[Name]`."""


def canonical(name: str) -> str:
    """A header's name as Go writes it."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def shared(value: Value) -> Value:
    """The same object for values that are equal: waiting messages have much in common, and may be very many."""
    first: Value = _first(value)
    return first


@lru_cache(maxsize=256)
def _first(value: Any) -> Any:
    return value


_SCALARS = (
    "method",
    "delay_seconds",
    "not_before",
    "retries",
    "retry_delay",
    "timeout_seconds",
    "callback",
    "failure_callback",
    "queue",
    "schedule_id",
    "caller_ip",
    "deduplication_id",
    "content_based_deduplication",
    "topic",
    "endpoint",
)
_TEXTS = ("labels", "redact")
_HEADERS = ("headers", "callback_headers", "failure_callback_headers")


def dump(publication: Publication) -> str:
    """Everything but the body, as one line of JSON; `load` reads it."""
    document: dict[str, Any] = {"url": publication.url}
    for name in _SCALARS:
        value = getattr(publication, name)
        if value is not None:
            document[name] = value
    for name in (*_HEADERS, *_TEXTS):
        if value := getattr(publication, name):
            document[name] = value
    if (control := publication.flow_control) is not None:
        document["flow_control"] = (control.key, control.parallelism, control.rate, control.period_seconds)
    return json.dumps(document, separators=(",", ":"))


def load(document: str, body: bytes) -> Publication:
    """The publication that `dump` wrote."""
    fields: dict[str, Any] = json.loads(document)
    for name in _HEADERS:
        if name in fields:
            fields[name] = shared(tuple((header, value) for header, value in fields[name]))
    for name in _TEXTS:
        if name in fields:
            fields[name] = shared(tuple(fields[name]))
    if "flow_control" in fields:
        fields["flow_control"] = shared(FlowControl(*fields["flow_control"]))
    fields["url"] = shared(fields["url"])
    return Publication(body=body, **fields)
