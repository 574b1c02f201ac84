"""Every error of this package, in one tree.

JobsError
├── ConfigurationError       a setting is missing or malformed
├── SettingsUnreachable      a setting is kept at AWS, which does not give it just now
├── InvalidJob               a job that cannot be enqueued as it is
├── UnknownJobType           no contract has this name
├── JobNotFound              no execution has this id
├── InvalidMove              the execution's status does not allow this move
├── SignatureRejected        a request that QStash, or a provider's event that the provider, did not sign
├── InvalidMessage           a signed request whose body is not a job message
├── DatabaseUnreachable      Postgres cannot be reached (nothing else is ever called so)
├── StatementRefused         Postgres was reached, and refused a statement
├── PublishFailed            QStash did not take a message
├── FileMissing              the bucket has no file of this key
├── LinkRejected             a link to a file that has ended, or that is not ours
└── Steering                 raised by a handler to say how its attempt ends
    ├── Retry                try again, not before a given time
    ├── NonRetryable         never try again
    └── JobCancelled         a person asked for the job to stop

JobTimeout (BaseException)   the deadline struck inside the handler
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

LONGEST_WAIT = timedelta(days=100 * 365)
"""Far enough, and well within the times that Postgres and Python both know."""


class JobsError(Exception):
    """The base of every error that this package raises on purpose."""


class ConfigurationError(JobsError):
    """A setting is missing or malformed; the message names it and says where to get it."""


class SettingsUnreachable(JobsError):
    """A secret or an address is kept at AWS, which does not give it just now; the same later may succeed."""


class InvalidJob(JobsError, ValueError):
    """The job cannot be enqueued as it is; nothing was stored."""


class UnknownJobType(JobsError, LookupError):
    """No contract in `qstash_jobs.jobs` has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"unknown job type {name!r}; known are {', '.join(sorted(known))}")
        self.name = name


class JobNotFound(JobsError, LookupError):
    """No execution has this job id."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"no job has the id {job_id}")
        self.job_id = job_id


class InvalidMove(JobsError):
    """The execution's status does not allow this move; nothing was changed."""

    def __init__(self, verb: str, job_id: UUID, status: str) -> None:
        super().__init__(f"cannot {verb} job {job_id}: it is {status}")
        self.verb, self.job_id, self.status = verb, job_id, status


class SignatureRejected(JobsError):
    """QStash did not sign this request for this URL and body, or a provider its event. `reason` is a metric dimension,
    never sent out."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"signature rejected: {reason}")
        self.reason = reason


class InvalidMessage(JobsError):
    """The body of a signed request is not a job message."""


class DatabaseUnreachable(JobsError):
    """Postgres cannot be reached, or went away within the statement."""


class StatementRefused(JobsError):
    """Postgres was reached, and refused a statement; `sqlstate` says why, whatever the driver's exception is called."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(f"{message} (SQLSTATE {sqlstate})")
        self.sqlstate = sqlstate


class PublishFailed(JobsError):
    """QStash did not take a message. `status` is its HTTP status, or None when no answer came."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def of_the_token(self) -> bool:
        """Whether it is the token that QStash refuses. With one of another region it answers 404, "user not found in this
        region". Source: https://github.com/superset-sh/superset/pull/3584
        """
        return self.status in {401, 403} or (self.status == 404 and "user not found" in str(self).lower())


class FileMissing(JobsError, LookupError):
    """The bucket has no file of this key: it was never written, or it has been deleted since."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the bucket has no file {key!r}")
        self.key = key


class LinkRejected(JobsError):
    """A link to a file that has ended (`expired`), or that this stage did not make."""

    def __init__(self, *, expired: bool) -> None:
        super().__init__("the link has ended" if expired else "the link is not one of ours")
        self.expired = expired


class Steering(JobsError):
    """Raised by a handler to say how its attempt ends."""


class Retry(Steering):
    """Try this job again, `after` that time. Counts as an attempt; the job's last attempt fails instead, unless the
    wait is `free`."""

    def __init__(
        self, after: timedelta, reason: str = "the handler asked for a later attempt", *, free: bool = False
    ) -> None:
        """`free`: the attempt spends no budget. For waits that are nobody's fault, and that the handler bounds itself."""
        if not timedelta(0) <= after <= LONGEST_WAIT:
            raise ValueError(f"after must be from nothing to {LONGEST_WAIT.days:,} days, not {after}")
        super().__init__(reason)
        self.after = after
        self.free = free


class NonRetryable(Steering):
    """No further attempt can succeed: the job fails now, with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class JobCancelled(Steering):
    """Someone cancelled the job while it ran; raised by `run.progress`."""


class JobTimeout(BaseException):
    """The job's time is up. Not an `Exception`, so that a handler's `except Exception` lets it through."""
