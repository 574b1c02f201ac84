"""What becomes of a message after an attempt: a pure function of the attempt's outcome."""

from __future__ import annotations

from dataclasses import dataclass

from infra.local.qstash.durations import parse_wait_seconds
from infra.local.qstash.publication import Headers, Publication
from qstash_jobs.expression import DAY_SECONDS, retry_delay_seconds

NON_RETRYABLE_STATUS = 489
WAIT_HEADERS = ("retry-after", "x-ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")
"""In this order: the first one that states a usable wait counts."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back from an attempt. Without an answer `status` is 0 and `error` says what happened."""

    status: int
    headers: Headers = ()
    body: bytes = b""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination accepted the message."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """Another attempt follows."""

    delay_seconds: float
    by_wall: bool
    """The destination gave the delay, so it is in real time; ours are on the timeline."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No attempt follows."""


Verdict = Delivered | Postponed | Failed


def judge(outcome: Outcome, publication: Publication, retried: int, *, wall: float) -> Verdict:
    """Only 2xx is success. `retried`: the retries that are behind; `wall`: unix seconds, for dates in headers."""
    if 200 <= outcome.status < 300:
        return Delivered()
    if retried >= publication.retries or _is_non_retryable(outcome):
        return Failed()
    asked_for = _asked_wait(outcome.headers, wall)
    if asked_for is not None:
        return Postponed(asked_for, by_wall=True)
    return Postponed(retry_delay_seconds(publication.retry_delay, retried), by_wall=False)


def _is_non_retryable(outcome: Outcome) -> bool:
    return outcome.status == NON_RETRYABLE_STATUS and any(
        name.lower() == "upstash-nonretryable-error" and value.strip().lower() == "true"
        for name, value in outcome.headers
    )


def _asked_wait(headers: Headers, wall: float) -> float | None:
    """The wait in seconds that the response asks for, if it is at most a day."""
    stated = {name.lower(): value for name, value in reversed(headers)}
    for name in WAIT_HEADERS:
        if name in stated:
            try:
                seconds = parse_wait_seconds(stated[name], wall=wall)
            except (ValueError, OverflowError):
                continue  # the destination's mistake: as if the header were absent
            if seconds <= DAY_SECONDS:
                return seconds
    return None
