"""Settings that are kept elsewhere: secrets in Secrets Manager, the functions' addresses in Parameter Store.

A secret is read when it is first needed and again when it has become old; while Secrets Manager is away or refuses, what
was read last goes on being used. Where a value turned out to be wrong, as after a rotation, it is read again at once, and not
more often than once a minute, so that forged requests cost no questions.
"""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qstash_jobs import aws
from qstash_jobs.errors import ConfigurationError, JobsError, SettingsUnreachable

log = logging.getLogger("qstash_jobs")

TTL_SECONDS = 300.0
"""How old a secret's value may become before it is read again."""

RESTED_SECONDS = 60.0
"""The least time between two readings that a wrong value asked for."""

OUTAGE_SECONDS = 30.0
"""After a reading that failed, how long the old value is used before the next is tried."""

FAILURE_SECONDS = 5.0
"""After a first reading that failed, how long it is not tried again: each request would wait for it anew."""

Clock = Callable[[], float]


class _Gone(ConfigurationError):
    """There is no such secret, or it is to be deleted: what was read last is no more to be used."""


@dataclass
class _Kept:
    value: Mapping[str, object]
    good_until: float
    read_at: float


@dataclass(frozen=True)
class _Failure:
    error: JobsError
    until: float


class Secrets:
    """The secrets that this process has read. Safe to share between threads, of which one at a time reads a secret;
    the others wait only where there is no value that was read before."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._failed: dict[str, _Failure] = {}
        self._turns: dict[str, threading.Lock] = {}

    def read(self, arn: str) -> Mapping[str, object]:
        """The settings in a secret, by name; a secret that is no JSON object is `{"": its text}`.

        What was read last is used as long as the secret is there, whatever keeps it from being read. Raises
        `ConfigurationError`, and `SettingsUnreachable` when it was never read.
        """
        kept = self._kept.get(arn)
        if kept is not None and self._clock() < kept.good_until:
            return kept.value
        turn = self._turn(arn)
        if kept is not None and turn.locked():
            return kept.value
        with turn:
            return self._read(arn)

    def read_anew(self, arn: str) -> bool:
        """Read a secret again because its value is of no use; whether it has changed. Raises `ConfigurationError`."""
        with self._turn(arn):
            kept = self._kept.get(arn)
            if kept is None or self._clock() - kept.read_at < RESTED_SECONDS:
                return False
            try:
                return self._fetch(arn).value != kept.value
            except _Gone:
                raise
            except (ConfigurationError, SettingsUnreachable) as error:
                _tell("Secret not read anew", error)
                kept.read_at = self._clock()
                return False

    def _read(self, arn: str) -> Mapping[str, object]:
        kept = self._kept.get(arn)
        if kept is not None and self._clock() < kept.good_until:  # read by another thread meanwhile
            return kept.value
        failed = self._failed.get(arn)
        if failed is not None and self._clock() < failed.until:
            raise type(failed.error)(*failed.error.args)
        try:
            return self._fetch(arn).value
        except (ConfigurationError, SettingsUnreachable) as error:
            if isinstance(error, _Gone) or kept is None:
                self._failed[arn] = _Failure(error, self._clock() + FAILURE_SECONDS)
                raise
            _tell("Secret not read anew; the last value is used", error)
            kept.good_until = self._clock() + OUTAGE_SECONDS
            return kept.value

    def _fetch(self, arn: str) -> _Kept:
        try:
            value = _secret(arn)
        except _Gone:
            self._kept.pop(arn, None)
            raise
        now = self._clock()
        self._kept[arn] = _Kept(value, good_until=now + TTL_SECONDS, read_at=now)
        return self._kept[arn]

    def _turn(self, arn: str) -> threading.Lock:
        return self._turns.setdefault(arn, threading.Lock())


def _tell(what: str, error: JobsError) -> None:
    """An outage passes; a refusal is somebody's to mend before this process ends, and with it the last value."""
    log.log(logging.ERROR if isinstance(error, ConfigurationError) else logging.WARNING, "%s: %s", what, error)


class PublishedUrls:
    """The addresses of a stage's functions, by the functions' names. Safe to share between threads."""

    def __init__(self, path: str, clock: Clock = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._urls: dict[str, str] = {}
        self._read_at: float | None = None
        self._turn = threading.Lock()

    def url(self, function: str) -> str:
        """Where a function answers. All are read at once; one that is not among them is looked for again, in case it
        was deployed since. Raises `ConfigurationError` and `SettingsUnreachable`."""
        if (known := self._urls.get(function)) is not None:
            return known
        with self._turn:
            if function not in self._urls and (
                self._read_at is None or self._clock() - self._read_at >= RESTED_SECONDS
            ):
                self._urls = _parameters(self._path)
                self._read_at = self._clock()
            if function not in self._urls:
                there = ", ".join(sorted(self._urls)) or "none"
                raise ConfigurationError(
                    f"JOBS_URLS_PATH: there is no address of {function!r} below {self._path} in {aws.region()} "
                    f"(there are: {there}). Is it deployed?"
                )
            return self._urls[function]


def _secret(arn: str) -> Mapping[str, object]:
    name = arn.split(":", 6)[6]
    try:
        answer = aws.ask("secretsmanager", "GetSecretValue", {"SecretId": arn}, arn.split(":")[3])
    except aws.AwsRefused as error:
        if error.code == "ResourceNotFoundException":
            stage = f" --stage {name.split('/')[1]}" if name.count("/") == 2 else ""
            raise _Gone(f"the secret {name} is empty, or not there; fill it with: jobs secrets put{stage}") from None
        if error.code == "InvalidRequestException":
            raise _Gone(
                f"the secret {name} is to be deleted; keep it with: aws secretsmanager restore-secret --secret-id {arn}"
            ) from None
        raise ConfigurationError(f"the secret {name} may not be read here: {error}") from None
    text = answer.get("SecretString", "")
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"": text}


def _parameters(path: str) -> dict[str, str]:
    """The parameters below a path, by the last parts of their names."""
    question: dict[str, Any] = {"Path": path, "Recursive": True, "MaxResults": 10}  # ten are all that it gives at once
    found: dict[str, str] = {}
    while True:
        try:
            page = aws.ask("ssm", "GetParametersByPath", question, aws.region())
        except aws.AwsRefused as error:
            raise ConfigurationError(f"JOBS_URLS_PATH: the parameters below {path} may not be read: {error}") from None
        found |= {one["Name"].removeprefix(path): one["Value"] for one in page["Parameters"]}
        if not page.get("NextToken"):
            return found
        question["NextToken"] = page["NextToken"]


@functools.cache
def kept() -> Secrets:
    """The secrets of this process."""
    return Secrets()


@functools.cache
def published(path: str) -> PublishedUrls:
    """The addresses below a path, as this process has read them."""
    return PublishedUrls(path)
