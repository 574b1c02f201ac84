"""QStash's request headers, read into the fields of a `Publication`.

`OPTIONS` names every header that says how a message is delivered. A new one is a row there and a reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from infra.local.qstash.destination import Destinations
from infra.local.qstash.durations import parse_seconds
from infra.local.qstash.errors import BadRequest, QuotaExceeded
from infra.local.qstash.publication import FlowControl, Headers, canonical, shared
from infra.local.qstash.redaction import parse_redaction
from infra.local.qstash.settings import Limits
from qstash_jobs.expression import compile_expression

PREFIX = "upstash-"
FORWARD = "upstash-forward-"
CALLBACK = "upstash-callback"
FAILURE_CALLBACK = "upstash-failure-callback"

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
LONGEST_PERIOD_SECONDS = 7 * 86_400
LONGEST_COUNT = 1_000_000_000
LONGEST_KEY = 512

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,256}")
_FLOW_CONTROL_TEXT = (
    "Upstash-Flow-Control-Value should be either rate=X or parallelism=Y, or both as comma-separated values"
)

_NOT_FORWARDED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""These belong to one connection; a delivery has its own."""

_NOT_INHERITED = _NOT_FORWARDED | {"authorization", "user-agent"}
"""Not passed on by `Upstash-Header-Forward` either: the first holds the token of this server."""

Pairs = Iterable[tuple[str, str]]
Fields = dict[str, Any]
"""Fields of a Publication that a request sets."""


class OptionReader:
    """Reads headers under the limits of a plan. Every problem is a BadRequest that names the header."""

    def __init__(self, limits: Limits, destinations: Destinations) -> None:
        self._limits = limits
        self._destinations = destinations

    def read(self, pairs: Pairs, *, content_type: bool = True) -> Fields:
        """The fields that these headers set; `content_type`: whether an ordinary Content-Type is one of them."""
        options, ordinary, forwarded = _part(pairs)
        fields: Fields = {}
        for name, value in options.items():
            if (reader := OPTIONS.get(name)) is not None:
                field, read = reader
                fields[field] = read(self, canonical(name), value)
        fields |= self._flow_control(options)
        fields |= self._callback(options, CALLBACK, "callback")
        fields |= self._callback(options, FAILURE_CALLBACK, "failure_callback")
        headers = _headers(options, ordinary, forwarded, content_type=content_type)
        return fields | {"headers": shared(headers)} if headers else fields

    def callback_fields(self, config: Headers) -> Fields:
        """The fields of a callback message from its headers without their prefix.

        A name that is no option is a header for the callback's receiver, as the Python SDK means it.
        """
        return self.read(_callback_pairs(config), content_type=False)

    def identifier(self, name: str, value: str) -> str:
        if not _IDENTIFIER.fullmatch(value):
            raise BadRequest(f"{name} may have letters, digits, '-', '.' and '_' only")
        return value

    def _callback(self, options: dict[str, str], prefix: str, field: str) -> Fields:
        """The callback's address, and its own headers, which are read here once so that a wrong one is refused now."""
        config = tuple(
            (canonical(name[len(prefix) + 1 :]), value)
            for name, value in options.items()
            if name.startswith(prefix + "-") and len(name) > len(prefix) + 1
        )
        fields: Fields = {}
        if prefix in options:
            fields[field] = self._destinations.check(options[prefix], subject=f"{canonical(prefix)} url")
        if config:
            names = [name.lower() for name, _ in config]
            if "delay" in names or "not-before" in names:
                raise BadRequest(f"{canonical(prefix)}-Delay is not supported: callbacks cannot be delayed")
            try:
                self.callback_fields(config)
            except BadRequest as error:
                raise BadRequest(error.text.replace("Upstash", canonical(prefix), 1)) from error
            fields[f"{field}_headers"] = config
        return fields

    def _flow_control(self, options: dict[str, str]) -> Fields:
        key, value = options.get("upstash-flow-control-key"), options.get("upstash-flow-control-value")
        if key is None and value is None:
            return {}
        if not key or len(key) > LONGEST_KEY:
            raise BadRequest(f"Upstash-Flow-Control-Key must have 1 to {LONGEST_KEY} characters")
        return {"flow_control": _read_flow_control(key, value or "")}

    def _method(self, name: str, value: str) -> str:
        if value.upper() not in METHODS:
            raise BadRequest(f"{name} must be one of {', '.join(sorted(METHODS))}")
        return value.upper()

    def _duration(self, name: str, value: str) -> int:
        try:
            return parse_seconds(value)
        except ValueError as error:
            raise BadRequest(f"{name}: {error}") from error

    def _timeout(self, name: str, value: str) -> int:
        if (seconds := self._duration(name, value)) < 1:
            raise BadRequest(f"{name} must be at least 1s")
        return seconds

    def _delay(self, name: str, value: str) -> int:
        seconds = self._duration(name, value)
        if seconds > self._limits.max_delay_seconds:
            raise QuotaExceeded("maxDelay", self._limits.max_delay_seconds)
        return seconds

    def _retries(self, name: str, value: str) -> int:
        retries = _whole_number(name, value)
        if retries > self._limits.max_retries:
            raise QuotaExceeded("maxRetries", self._limits.max_retries)
        return retries

    def _unix_seconds(self, name: str, value: str) -> int:
        return _whole_number(name, value, longest=11)

    def _retry_delay(self, name: str, value: str) -> str:
        try:
            compile_expression(value)
        except ValueError as error:
            raise BadRequest(f"{name}: {error}") from error
        return value

    def _labels(self, name: str, value: str) -> tuple[str, ...]:
        if len(value) > 1_024:
            raise BadRequest(f"{name} may have at most 1024 characters")
        return shared(tuple(label for part in value.split(",") if (label := part.strip())))

    def _deduplication_id(self, name: str, value: str) -> str:
        if ":" in value:
            raise BadRequest("DeduplicationId cannot contain ':'")
        if not value or len(value) > 1_024:
            raise BadRequest(f"{name} must have 1 to 1024 characters")
        return value

    def _redaction(self, name: str, value: str) -> tuple[str, ...]:
        try:
            return parse_redaction(value)
        except ValueError as error:
            raise BadRequest(f"{name}: {error}") from error

    def _flag(self, name: str, value: str) -> bool:
        return _flag(name, value)


OPTIONS: dict[str, tuple[str, Callable[[OptionReader, str, str], Any]]] = {
    "upstash-method": ("method", OptionReader._method),
    "upstash-delay": ("delay_seconds", OptionReader._delay),
    "upstash-not-before": ("not_before", OptionReader._unix_seconds),
    "upstash-retries": ("retries", OptionReader._retries),
    "upstash-retry-delay": ("retry_delay", OptionReader._retry_delay),
    "upstash-timeout": ("timeout_seconds", OptionReader._timeout),
    "upstash-label": ("labels", OptionReader._labels),
    "upstash-deduplication-id": ("deduplication_id", OptionReader._deduplication_id),
    "upstash-content-based-deduplication": ("content_based_deduplication", OptionReader._flag),
    "upstash-redact-fields": ("redact", OptionReader._redaction),
}
"""Header -> the field of a Publication, and its reader. Callbacks, flow control and forwarding take several headers."""

_CALLBACK_OPTIONS = frozenset(OPTIONS) | {"upstash-flow-control-key", "upstash-flow-control-value"}


def _callback_pairs(config: Headers) -> list[tuple[str, str]]:
    pairs = []
    for name, value in config:
        option = PREFIX + name.lower()
        known = option in _CALLBACK_OPTIONS or option.startswith((FORWARD, CALLBACK, FAILURE_CALLBACK))
        pairs.append((option if known else FORWARD + name, value))
    return pairs


def _part(pairs: Pairs) -> tuple[dict[str, str], list[tuple[str, str]], list[tuple[str, str]]]:
    """QStash's options by lower-case name (the last one counts), ordinary headers, and those to forward."""
    options: dict[str, str] = {}
    ordinary: list[tuple[str, str]] = []
    forwarded: list[tuple[str, str]] = []
    for name, value in pairs:
        lower = name.lower()
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadRequest(f"the header {name[:64]!r} has characters that no header may have")
        if lower.startswith(FORWARD):
            forwarded.append((name[len(FORWARD) :], value))
        elif lower.startswith(PREFIX):
            options[lower] = value.strip()
        else:
            ordinary.append((lower, value))
    return options, ordinary, forwarded


def _headers(
    options: dict[str, str], ordinary: list[tuple[str, str]], forwarded: Pairs, *, content_type: bool
) -> Headers:
    """What the destination is sent: forwarded headers win over ordinary ones of the same name."""
    every = _flag("Upstash-Header-Forward", options.get("upstash-header-forward", "false"))
    chosen: dict[str, list[str]] = {}
    for name, value in ordinary:
        if (name == "content-type" and content_type) or (every and name not in _NOT_INHERITED):
            chosen.setdefault(canonical(name), []).append(value)
    explicit: dict[str, list[str]] = {}
    for name, value in forwarded:
        if name and name.lower() not in _NOT_FORWARDED:
            explicit.setdefault(canonical(name), []).append(value)
    return tuple((name, value) for name, values in (chosen | explicit).items() for value in values)


def _read_flow_control(key: str, value: str) -> FlowControl:
    limits: dict[str, int] = {}
    for part in value.split(","):
        name, _, amount = (piece.strip() for piece in part.partition("="))
        if name not in ("parallelism", "rate", "period") or name in limits:
            raise BadRequest(_FLOW_CONTROL_TEXT)
        limits[name] = (
            _period(amount) if name == "period" else _whole_number(f"Upstash-Flow-Control-Value {name}", amount)
        )
        if not 1 <= limits[name] <= (LONGEST_PERIOD_SECONDS if name == "period" else LONGEST_COUNT):
            raise BadRequest(f"Upstash-Flow-Control-Value: {name} is out of range")
    if not {"parallelism", "rate"} & limits.keys():
        raise BadRequest(_FLOW_CONTROL_TEXT)
    return shared(FlowControl(key, limits.get("parallelism"), limits.get("rate"), limits.get("period", 1)))


def _period(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise BadRequest(f"Upstash-Flow-Control-Value: period: {error}") from error


def _whole_number(name: str, value: str, *, longest: int = 10) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= longest):
        raise BadRequest(f"{name} must be a whole number of at least 0, not {value[:32]!r}")
    return int(value)


def _flag(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise BadRequest(f"{name} must be true or false, not {value[:32]!r}")
    return value.lower() == "true"
