"""Every row of the table of answers: what happened -> HTTP answer -> what the record says."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from qstash_jobs.database import Database
from qstash_jobs.dispatch import cancel, enqueue
from qstash_jobs.envelope import Envelope
from qstash_jobs.errors import JobCancelled, NonRetryable, Retry
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.run import Continue, Done, Outcome, Run
from qstash_jobs.settings import settings
from qstash_jobs.testing import create_test_job, function_url_event, sign, signed_event
from tests.integration.serving.conftest import Function, Record


def test_a_handler_that_returns_completes_the_job(function: Function, record: Record, job_id: UUID) -> None:
    """200, and the result is in the record."""
    function.does = lambda _payload, _run: {"sent": True}
    answer = function.deliver(job_id)
    assert (200, {"outcome": "completed", "jobId": str(job_id)}) == (answer.status, answer.body)
    row = record.row(job_id)
    assert (row["status"], row["result"], row["attempts"]) == ("completed", {"sent": True}, 1)
    assert record.outcomes(job_id) == ["completed"]


def test_a_handler_that_raises_is_retried_while_the_budget_lasts(
    function: Function, record: Record, job_id: UUID
) -> None:
    """500 while another attempt is allowed, then 489 with the header that makes QStash stop."""
    function.raises(RuntimeError("the printer is on fire"))
    assert [function.deliver(job_id).status for _ in range(2)] == [500, 500]
    assert record.status(job_id) == "retrying"
    last = function.deliver(job_id)
    assert (last.status, last.headers["Upstash-NonRetryable-Error"]) == (489, "true")
    row = record.row(job_id)
    assert (row["status"], row["error"], row["error_type"]) == ("failed", "the printer is on fire", "RuntimeError")
    assert record.outcomes(job_id) == ["retried", "retried", "failed"]
    assert "RuntimeError: the printer is on fire" in record.attempts(job_id)[0]["error"]


def test_retry_says_when(function: Function, record: Record, job_id: UUID) -> None:
    """`Retry(after)` is 503 with `Retry-After`."""
    function.raises(Retry(timedelta(seconds=90)))
    answer = function.deliver(job_id)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "90")
    assert record.status(job_id) == "retrying"


def test_retry_on_the_last_attempt_fails(function: Function, record: Record, job_id: UUID) -> None:
    """It counts as an attempt, so that no job asks for another for ever."""
    function.raises(Retry(timedelta(seconds=1)))
    assert [function.deliver(job_id).status for _ in range(3)] == [503, 503, 489]
    assert record.status(job_id) == "failed"


def test_retry_beyond_a_day_waits_in_the_row(function: Function, record: Record, job_id: UUID) -> None:
    """QStash ignores a longer wait: its message ends with 200, and the row waits for one of its own."""
    function.raises(Retry(timedelta(days=3)))
    assert ((answer := function.deliver(job_id)).status, answer.outcome) == (200, "rescheduled")
    row = record.row(job_id)
    assert (row["status"], row["publication"], row["published_at"]) == ("retrying", 2, None)


def test_a_free_retry_spends_no_budget(function: Function, record: Record, job_id: UUID) -> None:
    """For waits that are nobody's fault: attempts are counted, and as many are left as before."""
    function.raises(Retry(timedelta(0), "the provider has a bad day", free=True))
    assert [function.deliver(job_id).status for _ in range(8)] == [503] * 8
    row = record.row(job_id)
    assert (row["status"], row["attempts"], row["max_attempts"]) == ("retrying", 8, 11)
    function.raises(RuntimeError("its own fault"))
    assert [function.deliver(job_id).status for _ in range(3)] == [500, 500, 489]


@pytest.mark.parametrize("after", [timedelta.max, timedelta(days=36_501), timedelta(seconds=-1)])
def test_a_wait_without_measure_is_the_handlers_mistake(
    function: Function, record: Record, job_id: UUID, after: timedelta
) -> None:
    """Nobody waits for a hundred years: the attempt fails with that reason, and is recorded."""

    def waits(_payload: Probe, _run: Run) -> Outcome:
        raise Retry(after)

    function.does = waits
    assert function.deliver(job_id).status == 500
    assert (record.row(job_id)["error_type"], record.outcomes(job_id)) == ("ValueError", ["retried"])


def test_a_delivery_before_its_time_is_told_to_come_later(function: Function, record: Record) -> None:
    """A wait that the handler asked for holds for a message that QStash delivers twice as well."""
    asked = create_test_job(Probe())
    function.raises(Retry(timedelta(minutes=5)))
    assert function.deliver(asked).outcome == "retry_later"
    answer = function.deliver(asked)
    assert (answer.status, answer.outcome, len(function.runs)) == (409, "not_due", 1)
    assert 290 < int(answer.headers["Retry-After"]) <= 300


def test_a_delay_is_qstashs_alone(function: Function, record: Record) -> None:
    """A delivery that QStash makes early, because its time was moved, runs; so does the attempt after one that failed."""
    job_id = create_test_job(Probe(), delay=timedelta(hours=1))
    function.raises(OSError("a hiccup"))
    assert function.deliver(job_id).outcome == "failed_attempt"
    function.does = lambda _payload, _run: None
    assert function.deliver(job_id).outcome == "completed"


def test_not_retryable_fails_at_once(function: Function, record: Record, job_id: UUID) -> None:
    """489 on the first attempt, with the reason."""
    function.raises(NonRetryable("no such customer"))
    assert function.deliver(job_id).status == 489
    assert ((row := record.row(job_id))["status"], row["error"]) == ("failed", "no such customer")


def test_a_payload_that_the_contract_no_longer_accepts_fails(function: Function, record: Record, job_id: UUID) -> None:
    """489, and the record names the field without its value."""
    record.run(f"""UPDATE job_executions SET payload = '{{"mode": "secret word"}}' WHERE job_id = '{job_id}'""")
    assert function.deliver(job_id).status == 489
    row = record.row(job_id)
    assert row["status"] == "failed"
    assert "mode" in row["error"]
    assert "secret word" not in row["error"]
    assert function.runs == []


def test_fields_of_a_newer_app_are_ignored(function: Function, record: Record, job_id: UUID) -> None:
    """An older function serves a newer app."""
    record.run(f"""UPDATE job_executions SET payload = payload || '{{"new": 1}}' WHERE job_id = '{job_id}'""")
    assert function.deliver(job_id).status == 200


def test_an_older_payload_gets_the_defaults(function: Function, record: Record, job_id: UUID) -> None:
    """A newer function serves an older app."""
    record.run(f"""UPDATE job_executions SET payload = '{{}}' WHERE job_id = '{job_id}'""")
    assert function.deliver(job_id).status == 200


def test_an_unknown_type_is_refused_and_changes_nothing(function: Function, record: Record, job_id: UUID) -> None:
    """489, the row untouched."""
    url = settings().url("probe")
    body = Envelope(job_id=job_id, type="no-such-type").encode()
    before = record.row(job_id)
    assert ((answer := function.answer(signed_event(body, url=url))).status, answer.outcome) == (489, "unknown_type")
    assert before == record.row(job_id)


@pytest.mark.parametrize("payload", [{"mode": "fail-once"}, {"seconds": 1.0}])
def test_a_known_job_id_with_another_payload_is_a_conflict(
    function: Function, record: Record, job_id: UUID, payload: dict[str, object]
) -> None:
    """489, the row untouched: arrivals may create a row and never change one."""
    before = record.row(job_id)
    answer = function.answer(signed_event(Probe.model_validate(payload), job_id=job_id))
    assert (answer.status, answer.outcome) == (489, "conflict")
    assert before == record.row(job_id)


def test_a_known_job_id_of_another_type_is_a_conflict(function: Function, record: Record, job_id: UUID) -> None:
    """489, the row untouched."""
    record.run(f"UPDATE job_executions SET job_type = 'send-email' WHERE job_id = '{job_id}'")
    before = record.row(job_id)
    assert ((answer := function.deliver(job_id)).status, answer.outcome) == (489, "conflict")
    assert before == record.row(job_id)


def test_a_message_with_its_payload_creates_the_row(function: Function, record: Record) -> None:
    """A publisher without our database is as welcome."""
    job_id = uuid4()
    event = signed_event(Probe(seconds=0), job_id=job_id)
    assert function.answer(event).status == 200
    assert ((row := record.row(job_id))["status"], row["attempts"], row["max_attempts"]) == ("completed", 1, 3)


def test_each_firing_of_a_schedule_is_a_job_of_its_own(function: Function, record: Record) -> None:
    """The deliveries of one message are one job, another message is another."""
    first = [function.answer(signed_event(Probe(), message_id="msg_1")).body["jobId"] for _ in range(2)]
    second = function.answer(signed_event(Probe(), message_id="msg_2")).body["jobId"]
    assert first[0] == first[1] != second
    assert [tuple(row) for row in record.run("SELECT count(*) FROM job_executions")] == [(2,)]


def test_a_completed_job_is_never_run_again(function: Function, record: Record, job_id: UUID) -> None:
    """A second delivery is answered 200 `duplicate`."""
    function.deliver(job_id)
    before = record.row(job_id)
    assert ((answer := function.deliver(job_id)).status, answer.outcome) == (200, "duplicate")
    assert before == record.row(job_id)
    assert len(function.runs) == 1


def test_a_failed_job_is_not_run_again(function: Function, record: Record, job_id: UUID) -> None:
    """A delivery that comes late is answered 200 `failed`."""
    function.raises(NonRetryable("no"))
    function.deliver(job_id)
    assert ((answer := function.deliver(job_id)).status, answer.outcome) == (200, "failed")


def test_a_cancelled_job_is_not_run(function: Function, record: Record, job_id: UUID) -> None:
    """Its message is answered 200 `cancelled`."""
    cancel(job_id)
    assert ((answer := function.deliver(job_id)).status, answer.outcome) == (200, "cancelled")
    assert function.runs == []


def test_continue_goes_on_from_its_checkpoint_and_spends_no_budget(
    function: Function, record: Record, job_id: UUID
) -> None:
    """Each part is 200 `continued`, and the next publication carries the next part."""
    function.does = lambda _payload, run: Continue(len(function.runs)) if len(function.runs) < 6 else "all"
    for part in range(1, 6):
        assert ((answer := function.deliver(job_id, publication=part)).status, answer.outcome) == (200, "continued")
        assert (part + 1, None) == ((row := record.row(job_id))["publication"], row["published_at"])
    assert ((answer := function.deliver(job_id, publication=6)).status, answer.outcome) == (200, "completed")
    assert [run.checkpoint for run in function.runs] == [None, 1, 2, 3, 4, 5]


def test_continue_without_progress_spends_the_budget(function: Function, record: Record, job_id: UUID) -> None:
    """The same checkpoint again and again ends as failed."""
    function.does = lambda _payload, _run: Continue("stuck")
    statuses = [function.deliver(job_id, publication=n).status for n in range(1, 5)]
    assert statuses == [200, 200, 200, 489]
    assert record.status(job_id) == "failed"


def test_the_deadline_interrupts_the_handler(function: Function, record: Record, job_id: UUID) -> None:
    """500, recorded as `JobTimeout`, before Lambda's own end."""

    def works_on(_payload: Probe, run: Run) -> Outcome:
        while True:
            pass

    function.does = works_on
    function.remaining = timedelta(milliseconds=600)
    assert function.deliver(job_id).status == 500
    assert ((row := record.row(job_id))["status"], row["error_type"]) == ("retrying", "JobTimeout")


def test_the_deadline_on_the_last_attempt_fails(function: Function, record: Record) -> None:
    """489 when the budget is used up."""

    def works_on(_payload: Probe, run: Run) -> Outcome:
        while True:
            pass

    job_id = create_test_job(Probe(), retries=0)
    function.does = works_on
    function.remaining = timedelta(milliseconds=600)
    assert function.deliver(job_id).status == 489
    assert record.status(job_id) == "failed"


def test_cancelling_a_job_that_runs_ends_it_at_its_next_report(
    function: Function, record: Record, job_id: UUID
) -> None:
    """`run.progress` raises `JobCancelled`; the answer is 200 `cancelled`."""

    def works(_payload: Probe, run: Run) -> Outcome:
        assert cancel(run.job_id) == "processing"
        run.progress(0.5)
        raise AssertionError("not reached")

    function.does = works
    assert ((answer := function.deliver(job_id)).status, answer.outcome) == (200, "cancelled")
    assert (record.status(job_id), record.outcomes(job_id)) == ("cancelled", ["cancelled"])


def test_a_handler_that_returns_stays_completed_although_cancelled(
    function: Function, record: Record, job_id: UUID
) -> None:
    """What was done was done."""

    def works(_payload: Probe, run: Run) -> Outcome:
        cancel(run.job_id)
        return "done"

    function.does = works
    assert function.deliver(job_id).status == 200
    assert record.status(job_id) == "completed"


def test_a_handler_that_fails_after_a_cancel_is_not_retried(function: Function, record: Record, job_id: UUID) -> None:
    """The failure ends the job as cancelled instead of retrying it."""

    def works(_payload: Probe, run: Run) -> Outcome:
        cancel(run.job_id)
        raise RuntimeError("no")

    function.does = works
    assert ((answer := function.deliver(job_id)).status, answer.outcome) == (200, "cancelled")
    assert record.status(job_id) == "cancelled"


def test_a_handler_that_fails_for_good_after_a_cancel_is_cancelled(
    function: Function, record: Record, job_id: UUID
) -> None:
    """What was asked for has happened, so nobody is told of a failure."""

    def cancelled_then_fails(_payload: Probe, _run: Run) -> Outcome:
        cancel(job_id)
        raise NonRetryable("no use")

    function.does = cancelled_then_fails
    answer = function.deliver(job_id)
    assert (answer.status, answer.outcome) == (200, "cancelled")
    assert (record.status(job_id), record.outcomes(job_id)) == ("cancelled", ["failed"])


def test_a_live_lease_elsewhere_is_busy(function: Function, record: Record, job_id: UUID) -> None:
    """409, to come back when the lease has ended; the job runs once."""
    answers = []

    def works(_payload: Probe, _run: Run) -> Outcome:
        function.does = lambda _p, _r: None
        answers.append(function.deliver(job_id))
        return "done"

    function.does = works
    function.remaining = timedelta(seconds=20)
    assert function.deliver(job_id).status == 200
    assert (answers[0].status, answers[0].outcome) == (409, "busy")
    assert 20 <= int(answers[0].headers["Retry-After"]) <= 21
    assert len(function.runs) == 1


def test_an_ended_lease_is_taken_over(function: Function, record: Record, job_id: UUID) -> None:
    """A killed attempt holds its job no longer than its lease; its own outcome stays unknown."""

    def dies(_payload: Probe, _run: Run) -> Outcome:
        raise KeyboardInterrupt

    function.does = dies
    with pytest.raises(KeyboardInterrupt):
        function.deliver(job_id)
    record.end_lease(job_id)
    function.does = lambda _payload, _run: None
    assert function.deliver(job_id).status == 200
    assert record.outcomes(job_id) == [None, "completed"]


def test_an_ended_lease_with_the_budget_used_up_is_lost(function: Function, record: Record) -> None:
    """489, failed as `Lost`: the last attempt never reported."""
    job_id = create_test_job(Probe(), retries=0)

    def dies(_payload: Probe, _run: Run) -> Outcome:
        raise KeyboardInterrupt

    function.does = dies
    with pytest.raises(KeyboardInterrupt):
        function.deliver(job_id)
    record.end_lease(job_id)
    assert ((answer := function.deliver(job_id)).status, answer.outcome) == (489, "lost")
    assert ((row := record.row(job_id))["status"], row["error_type"]) == ("failed", "Lost")


def test_no_row_and_no_payload_waits_for_a_late_commit(function: Function) -> None:
    """503 to come back in 30 s."""
    answer = function.deliver(uuid4())
    assert (answer.status, answer.outcome, answer.headers["Retry-After"]) == (503, "unknown_job", "30")


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"type": 1}', b'{"jobId": "x", "type": "probe"}', b"\xff"])
def test_a_signed_body_that_is_no_message_is_refused(function: Function, body: bytes) -> None:
    """489: QStash cannot make it better by trying again."""
    event = signed_event(body, url=settings().url("probe"))
    assert function.answer(event).status == 489


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
def test_only_post_is_served(function: Function, method: str) -> None:
    """405, whatever it is signed with."""
    url = settings().url("probe")
    event = function_url_event(url, b"{}", {"upstash-signature": sign(b"{}", url, settings().signing_keys[0])}, method)
    assert function.answer(event).status == 405


def test_an_unreachable_database_is_an_answer(
    function: Function, job_id: UUID, environment: pytest.MonkeyPatch
) -> None:
    """503 with `Retry-After`; nothing ran."""
    event = signed_event(Probe(), job_id=job_id, by_reference=True)
    from tests.conftest import forget

    environment.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/none")
    forget()
    answer = Function().answer(event)
    assert (answer.status, answer.outcome) == (503, "database_unreachable")
    assert "Retry-After" in answer.headers


def test_follow_ups_are_enqueued_only_when_the_job_completes(function: Function, record: Record, job_id: UUID) -> None:
    """`Done(then=…)` inserts them in the statement that completes the job, once."""
    function.does = lambda _payload, _run: Done("ok", then=[Probe(seconds=0), Probe(mode="fail-once")])
    function.deliver(job_id)
    function.deliver(job_id)
    rows = record.run("SELECT status, payload->>'mode' FROM job_executions WHERE status = 'pending' ORDER BY 2")
    assert [tuple(row) for row in rows] == [("pending", "fail-once"), ("pending", "succeed")]


def test_answers_hold_nothing_of_the_payload(function: Function, job_id: UUID) -> None:
    """QStash keeps answers: a reason and the job id, no traceback, no data."""
    function.raises(RuntimeError("secret detail"))
    answer = function.deliver(job_id)
    assert {"outcome", "jobId"} == set(answer.body)


def test_cancelled_by_a_raise_of_its_own(function: Function, record: Record, job_id: UUID) -> None:
    """A handler may end its job as cancelled."""
    function.raises(JobCancelled("changed my mind"))
    assert function.deliver(job_id).status == 200
    assert record.status(job_id) == "cancelled"


def test_a_second_job_with_the_idempotency_key_of_an_arrival_is_a_duplicate(
    function: Function, database: Database
) -> None:
    """A publisher without our database that sends a key twice gets one job."""
    url = settings().url("probe")
    enqueue(Probe(), idempotency_key="order-7", publish="relay")
    body = Envelope.model_validate(
        {"jobId": uuid4(), "type": "probe", "payload": {}, "metadata": {"idempotencyKey": "order-7"}}
    ).encode()
    assert ((answer := function.answer(signed_event(body, url=url))).status, answer.outcome) == (200, "duplicate")
