"""Why a job did not arrive: how far it came, by the record and by QStash's log, and what to do. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from infra.deployment import refusals

if TYPE_CHECKING:
    from qstash_jobs.executions.queries import Execution
    from qstash_jobs.qstash import Delivery

_TRIED = frozenset({"ERROR", "FAILED"})

_ANSWERS = {
    401: "the function refuses QStash's signature: its secret `signing-keys` does not hold the keys of this region's QStash. "
    "Take both from the page of QStash in the Upstash console, and put them with: jobs secrets put",
    403: "Lambda lets nobody in at that address: the function's URL needs both permissions, lambda:InvokeFunctionUrl and "
    "lambda:InvokeFunction, for everybody. Was one of them removed by hand?",
    404: "nothing of ours answers at that address. Was the function, or its URL, deleted by hand?",
    429: "Lambda had no room for it: the function's reserved concurrency, or the account's, is used up",
    489: "the function refuses the message for good",
    502: "the function ended without an answer: an error while it started, or too little memory. Its log says which",
    504: "the function did not answer in time. Its log says at what it waits",
}

_OUTCOMES = {
    "database_unreachable": "the function does not reach its database: is DATABASE_URL right there, and does Postgres let "
    "connections from it in?",
    "settings_unreachable": "the function does not reach Secrets Manager or Parameter Store: may its role read them, and does "
    "its network lead there?",
    "misconfigured": "the function lacks a setting, or Postgres does not let it in. Its log says which",
    "unknown_job": "the function looks into another database than the one that the job was written to: is DATABASE_URL the "
    "same everywhere?",
    "unauthenticated": _ANSWERS[401],
}


def why(job: Execution | None, deliveries: Sequence[Delivery], *, address: str, qstash_url: str) -> str:
    """What keeps the job from its end. `deliveries` is QStash's log of its message, the oldest first."""
    if job is None:
        return "its row is gone from the record: somebody deletes jobs just now"
    if job.attempts:
        return _ran(job)
    if job.published_at is None:
        if job.publish_error is None:
            return "it was never published, and no reason is noted: run `jobs doctor`"
        return refusals.sentence(refusals.as_error(job.publish_error), "its message", qstash_url)
    tried = [one for one in deliveries if one.state in _TRIED and (one.status or one.error)]
    if tried:
        return _refused(tried, address)
    if job.error:
        return f"it was published, and never reached its function: {job.error}"
    states = f"it, where its state is {deliveries[-1].state}" if deliveries else "it, and its log says nothing of it"
    return (
        f"QStash has taken {states}; no delivery to {address} has ended yet. Is its flow control key paused in the "
        "Upstash console? Else run `jobs doctor`"
    )


def _ran(job: Execution) -> str:
    if job.error:
        return f"it reached its function, and attempt {job.attempts} ended with {job.error_type}: {job.error}"
    return (
        f"it reached its function, and attempt {job.attempts} has not reported: {job.status}. The function's log says at what "
        "it is, or how it ended"
    )


def _refused(tried: Sequence[Delivery], address: str) -> str:
    last = tried[-1]
    times = "once" if len(tried) == 1 else f"{len(tried)} times"
    if last.status is None:
        return f"QStash tried to deliver it {times} to {address}, and got no answer: {last.error}"
    meaning = _OUTCOMES.get(_outcome(last.answer)) or _ANSWERS.get(last.status)
    return f"QStash delivered it {times} to {address}, which answered {last.status}" + (
        f": {meaning}" if meaning else ""
    )


def _outcome(answer: str) -> str:
    """The reason that our functions give in their answers; empty for an answer of anybody else's."""
    try:
        said = json.loads(answer)
    except ValueError:
        return ""
    return str(said.get("outcome", "")) if isinstance(said, dict) else ""
