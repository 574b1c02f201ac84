"""How a delivery ends: what happened x attempt x budget -> move of the row, and HTTP answer."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue, ValidationError

from qstash_jobs import verdict
from qstash_jobs.errors import JobCancelled, JobTimeout, NonRetryable, Retry, StatementRefused
from qstash_jobs.executions.literals import storable_json, text
from qstash_jobs.executions.outbox import NewExecution
from qstash_jobs.executions.state import Outcome, Status, Verb
from qstash_jobs.executions.store import Finish, Standing
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.run import Continue, Done
from qstash_jobs.verdict import Answer, Verdict, backoff, clean, judge_error, judge_return, judge_standing, one_line

WAIT = timedelta(seconds=12)
FINAL = {"Upstash-NonRetryable-Error": "true"}
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def judge(happened: object, attempt: int, max_attempts: int, checkpoint: JsonValue = None) -> Verdict:
    """What the server makes of what a handler did."""
    if isinstance(happened, BaseException):
        return judge_error(happened, attempt=attempt, max_attempts=max_attempts, wait=WAIT)
    return judge_return(happened, attempt=attempt, max_attempts=max_attempts, checkpoint=checkpoint, wait=WAIT)


class Mode(StrEnum):
    """A checkpoint that is text."""

    X = "x"


boom = RuntimeError("boom")

TABLE: list[tuple[object, int, int, Verb, Outcome, int, str, dict[str, str]]] = [
    # what happened, attempt, of; verb, outcome; status, reason, headers
    (None, 1, 3, Verb.COMPLETE, Outcome.COMPLETED, 200, "completed", {}),
    ({"a": 1}, 3, 3, Verb.COMPLETE, Outcome.COMPLETED, 200, "completed", {}),
    (Done("x"), 1, 1, Verb.COMPLETE, Outcome.COMPLETED, 200, "completed", {}),
    (Continue(1), 1, 3, Verb.RETRY, Outcome.CONTINUED, 200, "continued", {}),
    (Continue(1), 3, 3, Verb.RETRY, Outcome.CONTINUED, 200, "continued", {}),
    (Continue(None), 2, 3, Verb.RETRY, Outcome.CONTINUED, 200, "continued", {}),
    (Continue(None), 3, 3, Verb.FAIL, Outcome.FAILED, 489, "failed", FINAL),
    (Continue({1, 2}), 1, 3, Verb.FAIL, Outcome.FAILED, 489, "failed", FINAL),  # type: ignore[arg-type]
    (boom, 1, 3, Verb.RETRY, Outcome.RETRIED, 500, "failed_attempt", {}),
    (boom, 2, 3, Verb.RETRY, Outcome.RETRIED, 500, "failed_attempt", {}),
    (boom, 3, 3, Verb.FAIL, Outcome.FAILED, 489, "failed", FINAL),
    (boom, 4, 3, Verb.FAIL, Outcome.FAILED, 489, "failed", FINAL),
    (boom, 1, 1, Verb.FAIL, Outcome.FAILED, 489, "failed", FINAL),
    (JobTimeout("late"), 1, 2, Verb.RETRY, Outcome.RETRIED, 500, "failed_attempt", {}),
    (JobTimeout("late"), 2, 2, Verb.FAIL, Outcome.FAILED, 489, "failed", FINAL),
    (NonRetryable("no"), 1, 3, Verb.FAIL, Outcome.FAILED, 489, "failed", FINAL),
    (NonRetryable("no"), 3, 3, Verb.FAIL, Outcome.FAILED, 489, "failed", FINAL),
    (JobCancelled("stop"), 1, 3, Verb.CANCEL, Outcome.CANCELLED, 200, "cancelled", {}),
    (JobCancelled("stop"), 3, 3, Verb.CANCEL, Outcome.CANCELLED, 200, "cancelled", {}),
    (Retry(90 * SECOND), 1, 3, Verb.RETRY, Outcome.RETRIED, 503, "retry_later", {"Retry-After": "90"}),
    (Retry(DAY), 1, 3, Verb.RETRY, Outcome.RETRIED, 503, "retry_later", {"Retry-After": "86400"}),
    (Retry(DAY + SECOND), 1, 3, Verb.RETRY, Outcome.RETRIED, 200, "rescheduled", {}),
    (Retry(90 * SECOND), 3, 3, Verb.FAIL, Outcome.FAILED, 489, "failed", FINAL),
    (Retry(3 * DAY), 3, 3, Verb.FAIL, Outcome.FAILED, 489, "failed", FINAL),
]


@pytest.mark.parametrize(("happened", "attempt", "of", "verb", "outcome", "status", "reason", "headers"), TABLE)
def test_what_happened_decides(
    happened: object, attempt: int, of: int, verb: Verb, outcome: Outcome, status: int, reason: str,
    headers: dict[str, str],
) -> None:  # fmt: skip
    """The move, how the attempt is noted, and what QStash is told."""
    judged = judge(happened, attempt, of)
    assert (judged.finish.verb, judged.finish.outcome) == (verb, outcome)
    assert (judged.answer.status, judged.answer.reason, judged.answer.headers) == (status, reason, headers)
    assert judged.error is (happened if isinstance(happened, BaseException) else judged.error)


@pytest.mark.parametrize(
    ("happened", "wait", "next_publication", "free"),
    [
        (boom, WAIT, False, False),
        (Retry(90 * SECOND), 90 * SECOND, False, False),
        (Retry(DAY), DAY, False, False),
        (Retry(3 * DAY), 3 * DAY, True, False),
        (Continue(1), timedelta(0), True, True),
        (Continue(0), timedelta(0), True, False),
        (NonRetryable("no"), timedelta(0), False, False),
        (JobCancelled("stop"), timedelta(0), False, False),
    ],
)
def test_the_row_waits_as_long_as_the_message(
    happened: object, wait: timedelta, next_publication: bool, free: bool
) -> None:
    """For QStash's own backoff, for what the handler asked for, or for a message of its own."""
    finish = judge(happened, 1, 3, checkpoint=0).finish
    assert (finish.wait, finish.next_publication, finish.free) == (wait, next_publication, free)


@pytest.mark.parametrize(
    ("before", "after", "progressed"),
    [
        (None, 1, True),
        (1, 2, True),
        (1, 1, False),
        (None, None, False),
        ({"a": 1}, {"a": 2}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        ([1, 2], (1, 2), False),
        (10**23, 1e23, False),
        (1, 1.0, False),
        ("x", Mode.X, False),
    ],
)
def test_a_continuation_is_free_while_it_makes_progress(before: JsonValue, after: Any, progressed: bool) -> None:
    """A checkpoint that says the same as before spends budget, however it is spelt, so that no job loops for ever."""
    judged = judge(Continue(after), 1, 3, before)
    assert (judged.finish.free, judged.finish.checkpoint) == (progressed, after)
    last = judge(Continue(after), 3, 3, before)
    assert (last.finish.verb is Verb.RETRY) == progressed


def test_follow_ups_belong_to_completion() -> None:
    """What the handler wants enqueued goes with its result."""
    news = (NewExecution(job_id=uuid4(), job_type="probe", payload={}, budget=1),)
    judged = judge_return(Done("x"), attempt=1, max_attempts=3, checkpoint=None, wait=WAIT, follow_ups=news)
    assert (judged.finish.then, judged.finish.result) == (news, "x")


# Answers


@pytest.mark.parametrize(
    ("after", "header"),
    [
        (timedelta(0), "1"),
        (timedelta(milliseconds=1), "1"),
        (SECOND, "1"),
        (timedelta(milliseconds=1001), "2"),
        (timedelta(seconds=89.5), "90"),
        (DAY, "86400"),
    ],
)
def test_retry_after_is_rounded_up(after: timedelta, header: str) -> None:
    """To whole seconds, at least one: never earlier than was asked for."""
    assert Answer(503, "x", after).headers == {"Retry-After": header}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (verdict.METHOD_NOT_ALLOWED, (405, {})),
        (verdict.UNAUTHENTICATED, (401, {})),
        (verdict.UNREACHABLE, (503, {"Retry-After": "10"})),
        (verdict.UNKNOWN_JOB, (503, {"Retry-After": "30"})),
        (verdict.final("x"), (489, FINAL)),
        (verdict.busy(timedelta(0)), (409, {"Retry-After": "1"})),
        (verdict.busy(timedelta(milliseconds=1)), (409, {"Retry-After": "2"})),
        (verdict.busy(timedelta(seconds=19.2)), (409, {"Retry-After": "21"})),
        (verdict.busy(timedelta(seconds=20)), (409, {"Retry-After": "21"})),
    ],
)
def test_answers_steer_qstash(answer: Answer, expected: tuple[int, dict[str, str]]) -> None:
    """By status and headers; past a lease by a second."""
    assert (answer.status, answer.headers) == expected


@pytest.mark.parametrize(
    ("retried", "delay"),
    [
        (0, timedelta(seconds=12)),
        (1, timedelta(minutes=2, seconds=28)),
        (2, timedelta(minutes=30, seconds=8)),
        (3, timedelta(hours=6, minutes=7, seconds=6)),
        (4, DAY),
        (5, DAY),
        (999, DAY),
    ],
)
def test_the_backoff_is_qstash_s(retried: int, delay: timedelta) -> None:
    """The figures of its documentation."""
    assert backoff(retried) // SECOND * SECOND == delay


# An arrival that could not claim its row

ROW = Standing(
    job_type="probe",
    status=Status.PENDING,
    generation=2,
    publication=2,
    attempts=1,
    max_attempts=3,
    lease_left=timedelta(0),
    held_for=timedelta(0),
    cancel_requested=False,
    same_payload=True,
)


@pytest.mark.parametrize(
    ("changes", "brings", "message", "expected"),
    [
        ({"status": Status.COMPLETED}, False, (2, 2), Answer(200, "duplicate")),
        ({"status": Status.COMPLETED}, False, (1, 1), Answer(200, "duplicate")),
        ({"status": Status.FAILED}, False, (2, 2), Answer(200, "failed")),
        ({"held_for": timedelta(hours=1)}, False, (2, 2), Answer(409, "not_due", timedelta(hours=1))),
        ({"held_for": timedelta(seconds=4)}, False, (2, 2), Answer(409, "busy", SECOND)),
        ({"held_for": timedelta(hours=1), "cancel_requested": True}, False, (2, 2), Verb.CANCEL),
        ({"status": Status.CANCELLED}, False, (2, 2), Answer(200, "cancelled")),
        ({"status": Status.FAILED}, False, (1, 9), Answer(200, "stale")),
        ({}, False, (1, 9), Answer(200, "stale")),
        ({}, False, (2, 1), Answer(200, "stale")),
        ({"status": Status.PROCESSING, "lease_left": SECOND}, False, (1, 9), Answer(200, "stale")),
        ({"status": Status.PROCESSING, "lease_left": SECOND}, False, (2, 2), verdict.busy(SECOND)),
        ({"status": Status.PROCESSING, "lease_left": SECOND, "cancel_requested": True}, False, (2, 2),
         verdict.busy(SECOND)),
        ({"status": Status.PROCESSING, "lease_left": SECOND, "attempts": 3}, False, (2, 2), verdict.busy(SECOND)),
        ({"status": Status.PROCESSING, "attempts": 3}, False, (2, 2), Verb.FAIL),
        ({"status": Status.PROCESSING, "lease_left": -SECOND, "attempts": 4}, False, (2, 2), Verb.FAIL),
        ({"status": Status.RETRYING, "attempts": 3}, False, (2, 2), Verb.FAIL),
        ({"status": Status.RETRYING, "lease_left": SECOND, "attempts": 3}, False, (2, 2), Verb.FAIL),
        ({"status": Status.PROCESSING, "cancel_requested": True}, False, (2, 2), Verb.CANCEL),
        ({"status": Status.PROCESSING, "cancel_requested": True, "attempts": 3}, False, (2, 2), Verb.CANCEL),
        ({"status": Status.PROCESSING}, False, (2, 2), verdict.busy(timedelta(0))),
        ({}, False, (2, 2), verdict.busy(timedelta(0))),
        ({}, False, (3, 1), verdict.busy(timedelta(0))),
        ({"job_type": "send-email"}, False, (2, 2), verdict.final("conflict")),
        ({"job_type": "send-email", "status": Status.COMPLETED}, False, (2, 2), verdict.final("conflict")),
        ({"job_type": "former-name"}, False, (2, 2), verdict.busy(timedelta(0))),
        ({"same_payload": False}, True, (2, 2), verdict.final("conflict")),
        ({"same_payload": False, "status": Status.COMPLETED}, True, (2, 2), verdict.final("conflict")),
        ({"same_payload": False}, False, (2, 2), verdict.busy(timedelta(0))),
        ({"same_payload": True}, True, (2, 2), verdict.busy(timedelta(0))),
    ],
)  # fmt: skip
def test_where_the_row_stands_decides(
    changes: dict[str, Any], brings: bool, message: tuple[int, int], expected: Answer | Verb
) -> None:
    """What a delivery is told that found no row to claim, or which move is due first."""
    assert expected == judge_standing(
        dataclasses.replace(ROW, **changes),
        known_names=("probe", "former-name"),
        brings_payload=brings,
        generation=message[0],
        publication=message[1],
    )


@pytest.mark.parametrize("brings", [True, False])
def test_no_row_may_be_a_late_commit(brings: bool) -> None:
    """So QStash is to come back."""
    judged = judge_standing(None, known_names=("probe",), brings_payload=brings, generation=1, publication=1)
    assert judged == verdict.UNKNOWN_JOB


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.COMPLETED, Answer(200, "duplicate")),
        (Status.FAILED, Answer(200, "failed")),
        (Status.CANCELLED, Answer(200, "cancelled")),
        (Status.PROCESSING, verdict.busy(timedelta(0))),
        (Status.RETRYING, verdict.busy(timedelta(0))),
        (Status.PENDING, verdict.busy(timedelta(0))),
        (None, verdict.busy(timedelta(0))),
    ],
)
def test_a_late_report_is_told_where_the_row_stands(status: Status | None, expected: Answer) -> None:
    """It decides nothing any more."""
    assert verdict.judge_unmoved(status) == expected


# What Postgres refuses


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("23505", Answer(200, "duplicate")),
        ("22P02", verdict.final("not_storable")),
        ("22003", verdict.final("not_storable")),
        ("54000", verdict.final("not_storable")),
    ],
)
def test_a_refused_row_is_an_answer(sqlstate: str, expected: Answer) -> None:
    """When the same message can never succeed."""
    assert verdict.refused(StatementRefused("no", sqlstate)) == expected


@pytest.mark.parametrize("sqlstate", ["42P01", "23514", "23503", "XX000", "42501"])
def test_a_mistake_of_ours_is_no_answer(sqlstate: str) -> None:
    """A missing table or a missing right is raised, and alarmed."""
    error = StatementRefused("no", sqlstate)
    with pytest.raises(StatementRefused) as caught:
        verdict.refused(error)
    assert caught.value is error
    assert not verdict.is_about_data(error)


@pytest.mark.parametrize("verb", [Verb.COMPLETE, Verb.RETRY, Verb.FAIL])
def test_an_attempt_ends_without_what_cannot_be_stored(verb: Verb) -> None:
    """The move stays the same; a completion says why its result is missing."""
    finish = Finish(verb=verb, outcome=Outcome.RETRIED, result=1, error="e", traceback="t", checkpoint=2, wait=WAIT)
    kept = verdict.without_data(finish, StatementRefused("too long", "54000"))
    assert (kept.verb, kept.outcome, kept.error, kept.wait) == (verb, finish.outcome, "e", WAIT)
    assert (kept.traceback, kept.checkpoint) == (None, None)
    reason = {"omitted": "result_not_storable", "reason": "too long (SQLSTATE 54000)"}
    assert kept.result == (reason if verb is Verb.COMPLETE else None)


class Model(BaseModel):
    """A result."""

    some_field: int = 1


class Hostile(Exception):
    """An error that cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("returned", "stored"),
    [
        (None, None),
        (Model(), {"some_field": 1}),
        (Probe(), {"mode": "succeed", "seconds": 0.0}),
        (Done(Model()), {"some_field": 1}),
        ("x" * (verdict.RESULT_LIMIT_BYTES - 2), "x" * (verdict.RESULT_LIMIT_BYTES - 2)),
    ],
)
def test_results_are_stored(returned: object, stored: JsonValue) -> None:
    """JSON as it is, models by their wire names."""
    assert judge(returned, 1, 1).finish.result == stored


@pytest.mark.parametrize("returned", [float("nan"), "\0", "\ud800", {1, 2}, object(), [[float("inf")]], {1: 2}, b"x"])
def test_a_result_that_cannot_be_stored_is_left_out(returned: Any) -> None:
    """The work is done all the same: completed, with the reason in the result's place."""
    judged = judge(Done(returned), 1, 1)
    assert judged.answer.reason == "completed"
    assert isinstance(judged.finish.result, dict)
    assert judged.finish.result["omitted"] == "result_not_storable"
    assert storable_json(judged.finish.result)


def test_a_result_that_is_too_large_is_left_out() -> None:
    """With its size and the limit."""
    assert judge("x" * (verdict.RESULT_LIMIT_BYTES - 1), 1, 1).finish.result == {
        "omitted": "result_too_large",
        "bytes": verdict.RESULT_LIMIT_BYTES + 1,
        "limitBytes": verdict.RESULT_LIMIT_BYTES,
    }


# Errors, as people read them


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("error", "line", "kind"),
    [
        (RuntimeError("a\n  b\tc"), "a b c", "RuntimeError"),
        (RuntimeError(), "RuntimeError", "RuntimeError"),
        (RuntimeError("x\0y"), "x␀y", "RuntimeError"),
        (RuntimeError("\ud800"), "?", "RuntimeError"),
        (KeyError("k"), "'k'", "KeyError"),
        (Hostile(), "Hostile", "Hostile"),
        (JobTimeout("the time is up"), "the time is up", "JobTimeout"),
    ],
)
def test_an_error_is_one_line(error: BaseException, line: str, kind: str) -> None:
    """Whatever it says, and also if it cannot."""
    assert one_line(error) == line
    finish = judge(raised(error), 1, 3).finish
    assert (finish.error, finish.error_type) == (line, kind)
    assert text(finish.traceback)


def test_a_failure_keeps_its_traceback() -> None:
    """With the line that raised it, and its cause."""
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError as outer:
        finish = judge(outer, 1, 3).finish
    assert finish.traceback is not None
    assert "KeyError: 'inner'" in finish.traceback
    assert finish.traceback.rstrip().endswith("RuntimeError: outer")


@pytest.mark.parametrize("error", [NonRetryable("no"), Retry(SECOND, "no"), JobCancelled("no"), JobTimeout("no")])
def test_steering_needs_no_traceback(error: BaseException) -> None:
    """Unless it has a cause."""
    assert judge(raised(error), 1, 3).finish.traceback == "no"
    error.__cause__ = KeyError("why")
    assert "KeyError: 'why'" in str(judge(raised(error), 1, 3).finish.traceback)


def test_the_end_of_a_long_traceback_is_kept() -> None:
    """Where the cause stands."""
    finish = judge(raised(RuntimeError("x" * 100_000 + " the cause")), 1, 3).finish
    assert finish.traceback is not None
    assert finish.error is not None
    assert len(finish.traceback) == verdict.TRACEBACK_LIMIT
    assert len(finish.error) == verdict.ERROR_LIMIT
    assert finish.error.startswith("…")
    assert finish.error.endswith(" the cause")


@pytest.mark.parametrize(("dirty", "cleaned"), [("abc", "abc"), ("abcd", "…cd"), ("\0", "␀"), ("\udc00", "?")])
def test_text_is_cut_at_its_beginning(dirty: str, cleaned: str) -> None:
    """What is exactly as long as allowed is left alone."""
    assert clean(dirty, 3) == cleaned


@given(st.text(st.characters(), max_size=50), st.integers(2, 40))
def test_clean_text_can_be_stored(dirty: str, limit: int) -> None:
    """Any text, within its limit; text that was clean and short is as it was."""
    cleaned = clean(dirty, limit)
    assert len(cleaned) <= limit
    assert text(cleaned)
    if len(dirty) <= limit and dirty.isprintable() and dirty.isascii():
        assert cleaned == dirty


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"mode": "secret word"}, "the payload is not valid: mode: "),
        ({"seconds": "secret word"}, "the payload is not valid: seconds: "),
        ("secret word", "the payload is not valid: payload: "),
    ],
)
def test_an_invalid_payload_is_named_without_its_value(payload: Any, said: str) -> None:
    """Which field, and why; the value may be personal."""
    with pytest.raises(ValidationError) as caught:
        Probe.arrive(payload)
    error = verdict.invalid_payload(caught.value)
    assert str(error).startswith(said)
    assert "secret word" not in json.dumps(judge(error, 1, 3).finish.error)
