"""Background jobs for Python on serverless AWS.

>>> from qstash_jobs import enqueue
>>> from qstash_jobs.jobs.send_email import SendEmail
>>> job_id = enqueue(SendEmail(template="welcome", to="ada@example.com", data={"recipientName": "Ada"}))

The names here are loaded when they are first used: importing a contract costs neither a database driver nor HTTP.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qstash_jobs.dispatch import (
        Enqueued,
        EnqueueOptions,
        cancel,
        enqueue,
        enqueue_async,
        enqueue_many,
        publish,
        requeue,
        schedule,
    )
    from qstash_jobs.errors import (
        ConfigurationError,
        DatabaseUnreachable,
        InvalidJob,
        InvalidMove,
        JobCancelled,
        JobNotFound,
        JobsError,
        JobTimeout,
        NonRetryable,
        PublishFailed,
        Retry,
        SettingsUnreachable,
        UnknownJobType,
    )
    from qstash_jobs.job import Job, JobOptions, Payload, Rate
    from qstash_jobs.run import Continue, Done, Run
    from qstash_jobs.serving import serve

__all__ = [
    "ConfigurationError",
    "Continue",
    "DatabaseUnreachable",
    "Done",
    "EnqueueOptions",
    "Enqueued",
    "InvalidJob",
    "InvalidMove",
    "Job",
    "JobCancelled",
    "JobNotFound",
    "JobOptions",
    "JobTimeout",
    "JobsError",
    "NonRetryable",
    "Payload",
    "PublishFailed",
    "Rate",
    "Retry",
    "Run",
    "SettingsUnreachable",
    "UnknownJobType",
    "cancel",
    "enqueue",
    "enqueue_async",
    "enqueue_many",
    "publish",
    "requeue",
    "schedule",
    "serve",
]

_HOMES = {
    "dispatch": {"Enqueued", "EnqueueOptions", "cancel", "enqueue", "enqueue_async", "enqueue_many", "publish",
                 "requeue", "schedule"},
    "job": {"Job", "JobOptions", "Payload", "Rate"},
    "run": {"Continue", "Done", "Run"},
    "serving": {"serve"},
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "errors")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
