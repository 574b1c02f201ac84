"""What a job type is: a payload model with options, and the registry that finds them all."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel

from qstash_jobs.errors import UnknownJobType

_CONTRACTS = "qstash_jobs.jobs"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """At most `limit` deliveries start in each period `per` (at least one second, at most a week)."""

    limit: int
    per: timedelta = timedelta(seconds=1)

    def __post_init__(self) -> None:
        if self.limit < 1 or not timedelta(seconds=1) <= self.per <= timedelta(weeks=1):
            raise ValueError(f"a rate needs limit >= 1 and a period from one second to a week, not {self}")


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """All that can be said of a job type besides its payload. Wrong options fail when the contract is imported."""

    name: str
    """On the wire, in URLs and in the record: lower-case words joined by hyphens."""
    aliases: tuple[str, ...] = ()
    """Former names, still accepted, so that renaming a job type loses no queued job."""
    retries: int = 3
    """Attempts after the first one that ran and failed."""
    retry_delay: str | None = None
    """QStash's expression for the delay before a retry, in milliseconds, e.g. `1000 * pow(2, retried)`.
    None is QStash's own backoff: e^(2.5 n) seconds."""
    timeout: timedelta = timedelta(seconds=30)
    """The function's own limit; Lambda allows 900 s."""
    memory: int = 512
    """MB; Lambda gives processor time in proportion (1,769 MB is one vCPU)."""
    ephemeral_storage: int = 512
    """MB of /tmp."""
    concurrency: int = 10
    """Deliveries that QStash keeps in flight at once (flow-control parallelism)."""
    rate: Rate | None = None
    """How many deliveries may start in a period, besides `concurrency`."""
    sensitive: bool = False
    """The payload is redacted wherever people read."""
    publishes: bool = False
    """The handler enqueues jobs itself, so its function is given the publish token."""
    secrets: tuple[str, ...] = ()
    """Further secrets that the function may read, by setting name, e.g. `RESEND_API_KEY`."""
    grants: tuple[str, ...] = ()
    """What else the function may touch: `s3:exports`, `s3:reports` and `s3:tmp` are the bucket's folders, to read and write;
    `s3:read` is all of it, to read; `sns:notifications` is the topic for failures."""

    def __post_init__(self) -> None:
        for name in (self.name, *self.aliases):
            if not _NAME.fullmatch(name) or len(name) > 100:
                raise ValueError(f"a job type's name is lower-case words joined by hyphens, not {name!r}")
        if self.retries < 0:
            raise ValueError(f"{self.name}: retries must be 0 or more, not {self.retries}")
        if not timedelta(seconds=1) <= self.timeout <= timedelta(seconds=900):
            raise ValueError(f"{self.name}: timeout must be from 1 to 900 seconds, not {self.timeout}")
        if not 128 <= self.memory <= 10_240:
            raise ValueError(f"{self.name}: memory must be from 128 to 10,240 MB, not {self.memory}")
        if not 512 <= self.ephemeral_storage <= 10_240:
            raise ValueError(f"{self.name}: ephemeral_storage must be from 512 to 10,240 MB")
        if self.retry_delay is not None:
            from qstash_jobs.expression import compile_expression

            try:
                compile_expression(self.retry_delay)
            except ValueError as error:
                raise ValueError(f"{self.name}: retry_delay: {error}") from None
        if self.concurrency < 1:
            raise ValueError(f"{self.name}: concurrency must be 1 or more, not {self.concurrency}")

    @property
    def folder(self) -> str:
        """The function's folder below `functions/`."""
        return self.name.replace("-", "_")


class Payload(BaseModel):
    """The base of payloads and of the models inside them: camelCase on the wire, unknown fields refused, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        defer_build=True,  # a process imports many contracts and uses few
    )


class Job(Payload):
    """The base of every job type: subclass it, and say its `options` first.

    >>> class SendInvoice(Job):
    ...     '''Send one invoice.'''
    ...
    ...     options = JobOptions(name="send-invoice", timeout=timedelta(seconds=20))
    ...     invoice_id: int
    """

    options: ClassVar[JobOptions]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "options" in cls.__dict__:
            registry.add(cls)

    @classmethod
    def arrive(cls, payload: JsonValue) -> Self:
        """Parse a payload that came over the wire: unknown fields are ignored, so that a newer app can talk to an
        older function.

        Raises `pydantic.ValidationError`.
        """
        return cls.model_validate(payload, extra="ignore")

    def wire(self) -> dict[str, JsonValue]:
        """The payload as it is stored: JSON values under camelCase names."""
        return self.model_dump(mode="json", by_alias=True)


class Registry:
    """All job types by name. Looking something up imports the contracts; adding one does not."""

    def __init__(self) -> None:
        self._types: dict[str, type[Job]] = {}

    def add(self, job_type: type[Job]) -> None:
        """Take in a job type; called when its class is made.

        Raises ValueError when another class already has the name or an alias.
        """
        for name in (job_type.options.name, *job_type.options.aliases):
            known = self._types.get(name)
            if known is not None and _path(known) != _path(job_type):  # the same path: its module was loaded again
                raise ValueError(f"{_path(job_type)} and {_path(known)} are both named {name!r}")
        for name in (job_type.options.name, *job_type.options.aliases):
            self._types[name] = job_type

    def get(self, name: str) -> type[Job]:
        """The job type of that name or alias. Raises `UnknownJobType`."""
        if name not in self._types:
            self._load()
        try:
            return self._types[name]
        except KeyError:
            raise UnknownJobType(name, list(self._types)) from None

    def __iter__(self) -> Iterator[type[Job]]:
        """Each job type once, by name."""
        self._load()
        return iter(sorted(set(self._types.values()), key=lambda job_type: job_type.options.name))

    def contracts(self) -> list[type[Job]]:
        """The job types of `qstash_jobs.jobs` by name, which are deployed; one made elsewhere, as by a test, is not."""
        return [job_type for job_type in self if job_type.__module__.startswith(f"{_CONTRACTS}.")]

    def _load(self) -> None:
        for module in pkgutil.iter_modules(importlib.import_module(_CONTRACTS).__path__):
            importlib.import_module(f"{_CONTRACTS}.{module.name}")


def _path(job_type: type[Job]) -> str:
    return f"{job_type.__module__}.{job_type.__qualname__}"


registry = Registry()
