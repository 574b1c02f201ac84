"""What a handler is given besides its payload, and what it may return."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import BaseModel, JsonValue

from qstash_jobs.job import Job

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, kw_only=True)
class Run:
    """One attempt of one job, as its handler sees it."""

    job_id: UUID
    attempt: int
    """1 for the first attempt that ran; never reset, also not by a redrive."""
    max_attempts: int
    checkpoint: JsonValue
    """What the last `Continue` or `save` left when this attempt began, else None."""
    user_id: int | None
    organization_id: int | None
    logger: logging.Logger
    _remaining: Callable[[], timedelta] = field(repr=False)
    _progress: Callable[[float, str | None], None] = field(repr=False)
    _connection: Callable[[], AbstractContextManager[Connection]] = field(repr=False)
    _save: Callable[[JsonValue, Connection | None], None] = field(repr=False)

    @property
    def remaining(self) -> timedelta:
        """The time that is left for the handler; `JobTimeout` strikes at zero."""
        return self._remaining()

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Record how far the work is (0 to 1), for people to see.

        Raises `JobCancelled` when the job was cancelled meanwhile; let it through, after cleaning up.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction must be from 0 to 1, not {fraction}")
        self._progress(fraction, message)

    def connection(self) -> AbstractContextManager[Connection]:
        """A SQLAlchemy connection in a transaction: committed at the end of the `with`, rolled back on an error.

        It is the environment's one connection to Postgres, so this opens no further one.
        """
        return self._connection()

    def save(self, checkpoint: JsonValue, connection: Connection | None = None) -> None:
        """Keep where the work stands, for the next attempt should this one die: with `connection`, in its transaction,
        so that the work and the checkpoint that stands for it are committed together or not at all.

        Raises `Retry` when another attempt has taken over: let it through, and the transaction is rolled back; and
        `NonRetryable` for what Postgres cannot store.
        """
        self._save(checkpoint, connection)


@dataclass(frozen=True)
class Done:
    """The job is complete, with this result; `then` are enqueued in the transaction that completes it."""

    result: JsonValue | BaseModel = None
    then: Sequence[Job] = ()


@dataclass(frozen=True)
class Continue:
    """This attempt did its part; another goes on from `checkpoint`. Spends no budget while the checkpoint changes."""

    checkpoint: JsonValue


Outcome = JsonValue | BaseModel | Done | Continue | None
"""What a handler may return."""
