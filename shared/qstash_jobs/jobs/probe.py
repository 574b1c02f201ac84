"""End in whichever way is asked for: to see the whole system at work, and to test what stands around it."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from qstash_jobs.job import Job, JobOptions


class ProbeMode(StrEnum):
    """How a probe ends."""

    SUCCEED = "succeed"
    FAIL_ONCE = "fail-once"
    """The first attempt raises, the second succeeds."""
    FAIL_ALWAYS = "fail-always"
    NOT_RETRYABLE = "not-retryable"
    RETRY_LATER = "retry-later"
    """The first attempt asks for another in a second."""
    TIME_OUT = "time-out"
    """It works on until its time is up."""
    CRASH_ONCE = "crash-once"
    """The first attempt ends its process without a word."""
    CRASH_ALWAYS = "crash-always"
    CONTINUE = "continue"
    """Two attempts do their part, a third completes."""


class Probe(Job):
    """End in whichever way is asked for. Outside the desk every probe succeeds."""

    # Lambda gives a whole processor for this much memory: with less, a cold start would use up the time of a canary.
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
    options = JobOptions(name="probe", retries=2, timeout=timedelta(seconds=2), memory=1769, concurrency=50)

    mode: ProbeMode = ProbeMode.SUCCEED
    """How to end."""
    seconds: Annotated[float, Field(ge=0, le=900)] = 0.0
    """How long to work before that."""
