"""`qstash_jobs.testing`, as the tests of an app service use it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydantic import JsonValue, ValidationError
from sqlalchemy import text

from qstash_jobs import enqueue, enqueue_async, enqueue_many
from qstash_jobs.database import Database
from qstash_jobs.emails import welcome
from qstash_jobs.errors import InvalidJob, JobTimeout, NonRetryable, Retry
from qstash_jobs.executions import store
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.jobs.probe import Probe, ProbeMode
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from qstash_jobs.jobs.send_email import SendEmail
from qstash_jobs.run import Continue, Done, Outcome, Run
from qstash_jobs.serving import LambdaHandler, serve
from qstash_jobs.testing import (
    CapturedJobs,
    JobFailed,
    captured_jobs,
    create_test_job,
    deliver_twice,
    function_url_event,
    run_inline,
    signed_event,
    time_out_after,
    wait_for_job_completion,
)
from tests.conftest import ROOT

IN_A_MINUTE = timedelta(minutes=1)


def test_an_enqueued_job_is_found_by_its_fields() -> None:
    """The job itself is handed back, for a closer look; no setting, no database, no QStash is needed."""
    with captured_jobs() as jobs:
        job_id = enqueue(Probe(mode=ProbeMode.FAIL_ONCE), user_id=7)
        enqueue(CleanupOldData(cleanup_type="logs", days_old=30))
    assert jobs.assert_enqueued(Probe, mode="fail-once", seconds=0.0) == Probe(mode=ProbeMode.FAIL_ONCE)
    assert jobs.assert_enqueued(CleanupOldData).days_old == 30
    assert jobs.jobs[0].job_id == job_id
    assert [type(one.job) for one in jobs.jobs] == [Probe, CleanupOldData]


def test_options_are_visible() -> None:
    """For whom, when, and how often it is tried."""
    when = datetime(2030, 1, 1, tzinfo=UTC)
    with captured_jobs() as jobs:
        enqueue(Probe(), user_id=7, organization_id=3, not_before=when, retries=9)
    assert jobs.jobs[0].options == {"user_id": 7, "organization_id": 3, "not_before": when, "retries": 9}


def test_the_typed_helpers_are_captured_too() -> None:
    """An app sends its mails through them."""
    with captured_jobs() as jobs:
        welcome(to="ada@example.com", recipient_name="Ada")
    assert jobs.assert_enqueued(SendEmail, to="ada@example.com").template == "welcome"


def test_no_job_is_an_assertion_that_lists_what_there_was() -> None:
    """So that the message says what went wrong."""
    with captured_jobs() as jobs:
        enqueue(Probe(seconds=2.0))
    with pytest.raises(AssertionError, match=r"0 jobs match CleanupOldData\(\); enqueued were: Probe\(mode=.*2\.0\)"):
        jobs.assert_enqueued(CleanupOldData)
    with pytest.raises(AssertionError, match=r"0 jobs match Probe\(seconds=3\.0\)"):
        jobs.assert_enqueued(Probe, seconds=3.0)
    with captured_jobs() as none, pytest.raises(AssertionError, match="enqueued were: none"):
        none.assert_enqueued(Probe)


def test_several_jobs_are_an_assertion_too() -> None:
    """One was asked for; `of` gives them all."""
    with captured_jobs() as jobs:
        enqueue_many([Probe(), Probe(), Probe(seconds=1.0)])
    with pytest.raises(AssertionError, match=r"2 jobs match Probe\(seconds=0\.0\)"):
        jobs.assert_enqueued(Probe, seconds=0.0)
    assert jobs.assert_enqueued(Probe, seconds=1.0)
    assert [job.seconds for job in jobs.of(Probe)] == [0.0, 0.0, 1.0]


def test_what_must_not_be_enqueued_is_refuted() -> None:
    """By type, or by type and fields."""
    with captured_jobs() as jobs:
        enqueue(Probe())
    jobs.refute_enqueued(CleanupOldData)
    jobs.refute_enqueued(Probe, seconds=1.0)
    with pytest.raises(AssertionError, match=r"1 jobs match Probe\(\): Probe\("):
        jobs.refute_enqueued(Probe)


@pytest.mark.parametrize("method", [CapturedJobs.assert_enqueued, CapturedJobs.refute_enqueued, CapturedJobs.of])
def test_a_misspelt_field_is_an_error(method: object) -> None:
    """Also where there is no such job: a refutation that looks at a field that does not exist would always hold."""
    with pytest.raises(TypeError, match="Probe has no field 'sceonds'; it has mode, seconds"):
        method(CapturedJobs(), Probe, sceonds=1.0)  # type: ignore[operator]


def test_a_block_within_a_block_captures_for_itself() -> None:
    """And leaves the outer one as it was."""
    with captured_jobs() as outer:
        enqueue(Probe(seconds=1.0))
        with captured_jobs() as inner:
            enqueue(Probe(seconds=2.0))
        enqueue(Probe(seconds=3.0))
    assert [job.seconds for job in outer.of(Probe)] == [1.0, 3.0]
    assert [job.seconds for job in inner.of(Probe)] == [2.0]


def test_asynchronous_code_and_its_threads_are_captured() -> None:
    """Tasks and `to_thread` carry the context on."""

    async def sign_up() -> None:
        await enqueue_async(Probe(seconds=1.0))
        await asyncio.gather(enqueue_async(Probe(seconds=2.0)), asyncio.to_thread(enqueue, Probe(seconds=3.0)))

    with captured_jobs() as jobs:
        asyncio.run(sign_up())
    assert sorted(job.seconds for job in jobs.of(Probe)) == [1.0, 2.0, 3.0]


def test_another_thread_s_jobs_are_its_own(database: Database) -> None:
    """Tests that run side by side do not see each other's; after the block all is as before."""
    ids: list[UUID] = []
    with captured_jobs() as jobs:
        thread = threading.Thread(target=lambda: ids.append(create_test_job(Probe())))
        thread.start()
        thread.join()
    ids.append(create_test_job(Probe()))
    assert jobs.jobs == []
    assert all(store.look(database.run_pooled, job_id) for job_id in ids)


def test_validation_still_happens() -> None:
    """What would fail in production fails in the test."""
    with captured_jobs() as jobs:
        with pytest.raises(ValidationError):
            enqueue(Probe(seconds=-1))
        with pytest.raises(InvalidJob):
            enqueue(Probe(), delay=timedelta(1), not_before=datetime.now(UTC))
        with pytest.raises(InvalidJob):
            enqueue(Probe(), headers={"Upstash-Retries": "9"})
        with pytest.raises(InvalidJob):
            enqueue("send-email")  # type: ignore[arg-type]
    assert jobs.jobs == []


def test_run_inline_gives_what_the_function_returns() -> None:
    """Every kind of outcome; errors come through as they are raised."""
    outcomes: list[Outcome] = [None, {"a": [1]}, Done(1, then=[Probe()]), Continue("half"), Probe()]
    for outcome in outcomes:
        assert run_inline(lambda _payload, _run, outcome=outcome: outcome, Probe()) is outcome  # type: ignore[misc]

    def refuse(_payload: Probe, _run: Run) -> None:
        raise Retry(IN_A_MINUTE)

    with pytest.raises(Retry):
        run_inline(refuse, Probe())


def test_run_inline_says_which_attempt_it_is() -> None:
    """The second attempt, the last one, one that goes on from a checkpoint."""
    runs: list[Run] = []

    def note(payload: Probe, run: Run) -> JsonValue:
        runs.append(run)
        run.progress(0.5, "half")
        return payload.mode.value

    told: list[tuple[float, str | None]] = []
    job_id = uuid4()
    answer = run_inline(
        note,
        Probe(mode=ProbeMode.FAIL_ONCE),
        attempt=3,
        max_attempts=4,
        checkpoint={"page": 7},
        user_id=1,
        organization_id=2,
        progress=lambda fraction, message: told.append((fraction, message)),
        job_id=job_id,
    )
    run = runs[0]
    assert (answer, told) == ("fail-once", [(0.5, "half")])
    assert (run.attempt, run.max_attempts, run.checkpoint) == (3, 4, {"page": 7})
    assert (run.job_id, run.user_id, run.organization_id) == (job_id, 1, 2)
    run_inline(note, Probe())
    assert (runs[1].attempt, runs[1].max_attempts) == (1, Probe.options.retries + 1)
    with pytest.raises(ValueError, match="fraction must be from 0 to 1"):
        run_inline(lambda _payload, run: run.progress(1.5), Probe())


def test_run_inline_does_not_interrupt() -> None:
    """The time that is left is told, and its end strikes nothing: a debugger may stop where it likes."""

    def linger(_payload: Probe, run: Run) -> float:
        before = run.remaining
        while run.remaining > timedelta(0):
            time.sleep(0.005)
        return before.total_seconds()

    left = run_inline(linger, Probe(), timeout=timedelta(milliseconds=50))
    assert isinstance(left, float)
    assert 0 < left <= 0.05
    full = run_inline(lambda _payload, run: run.remaining.total_seconds(), Probe())
    assert isinstance(full, float)
    assert Probe.options.timeout.total_seconds() - 1 < full <= Probe.options.timeout.total_seconds()


def test_run_inline_has_a_connection_to_the_real_database(database: Database) -> None:
    """Committed at the end of the block, rolled back on an error."""

    def write(payload: Probe, run: Run) -> JsonValue:
        with run.connection() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS notes (line text)"))
            connection.execute(text("INSERT INTO notes VALUES ('written')"))
            if payload.mode is ProbeMode.FAIL_ALWAYS:
                raise NonRetryable("no")
        return "written"

    assert run_inline(write, Probe()) == "written"
    with pytest.raises(NonRetryable):
        run_inline(write, Probe(mode=ProbeMode.FAIL_ALWAYS))
    assert [list(row) for row in database.run_pooled("SELECT count(*) FROM notes")] == [[1]]


def served(*outcomes: Outcome | BaseException) -> LambdaHandler:
    """A probe's function that ends in these ways, one after the other."""
    left = list(outcomes)

    def function(_payload: Probe, _run: Run) -> Outcome:
        outcome = left.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return serve(Probe, function)


def outcome_of(answer: dict[str, object]) -> tuple[object, object]:
    return answer["statusCode"], json.loads(str(answer["body"]))["outcome"]


@pytest.mark.parametrize("by_reference", [True, False])
def test_a_signed_event_is_accepted(database: Database, by_reference: bool) -> None:
    """With the payload in it, or with the payload in the database."""
    job_id = create_test_job(Probe()) if by_reference else None
    event = signed_event(Probe(), job_id=job_id, by_reference=by_reference)
    assert outcome_of(served({"sent": True})(event, time_out_after(IN_A_MINUTE))) == (200, "completed")


@pytest.mark.parametrize(
    "spoilt",
    [
        {"key": "sig_" + "x" * 28},
        {"url": "https://other.example/probe"},
        {"headers": {"upstash-signature": "a.b.c"}},
    ],
    ids=lambda spoilt: next(iter(spoilt)),
)
def test_an_event_signed_otherwise_is_refused(database: Database, spoilt: dict[str, str]) -> None:
    """The kit signs in earnest: another key, another address, another signature."""
    answer = served()(signed_event(Probe(), **spoilt), time_out_after(IN_A_MINUTE))  # type: ignore[arg-type]
    assert answer["statusCode"] == 401


def test_a_raw_body_needs_an_address(environment: pytest.MonkeyPatch) -> None:
    """For bodies that no contract would make."""
    with pytest.raises(ValueError, match="needs the url"):
        signed_event(b"{}")
    event = signed_event(b"\xff", url="http://127.0.0.1:9/probe")
    assert (event["body"], event["isBase64Encoded"]) == ("/w==", True)


def test_an_event_has_the_shape_of_a_function_url_s() -> None:
    """Payload format 2.0, with the query apart."""
    event = function_url_event("https://x.example/a?b=c", b"{}", {"k": "v"}, method="GET")
    assert (event["version"], event["rawPath"], event["rawQueryString"]) == ("2.0", "/a", "b=c")
    assert event["headers"] == {"host": "x.example", "k": "v"}
    assert event["requestContext"]["http"]["method"] == "GET"


def test_a_repeated_delivery_runs_once(database: Database) -> None:
    """The second answer is `duplicate`."""
    job_id = create_test_job(Probe())
    first, second = deliver_twice(served("done"), signed_event(Probe(), job_id=job_id, by_reference=True))
    assert (outcome_of(first), outcome_of(second)) == ((200, "completed"), (200, "duplicate"))


def test_time_runs_out(database: Database) -> None:
    """`JobTimeout` strikes in the function, which may clean up, and the job is tried again."""
    struck: list[str] = []

    def linger(_payload: Probe, run: Run) -> None:
        try:
            while True:
                time.sleep(0.005)
        except JobTimeout:
            struck.append("struck")
            raise

    job_id = create_test_job(Probe())
    event = signed_event(Probe(), job_id=job_id, by_reference=True)
    answer = serve(Probe, linger)(event, time_out_after(timedelta(seconds=2)))
    assert (answer["statusCode"], struck) == (500, ["struck"])


def test_waiting_ends_with_the_job(database: Database) -> None:
    """Also when it completes only while we wait."""
    job_id = create_test_job(Probe())
    handler = served("done")
    event = signed_event(Probe(), job_id=job_id, by_reference=True)
    delivery = threading.Thread(target=lambda: handler(event, time_out_after(IN_A_MINUTE)))
    delivery.start()
    wait_for_job_completion(job_id)
    delivery.join()
    wait_for_job_completion(job_id, timedelta(0))


def test_waiting_for_a_job_that_fails_raises_its_error(database: Database) -> None:
    """A failure of the test that waits, with what the job said."""
    job_id = create_test_job(Probe())
    served(NonRetryable("the card has expired"))(
        signed_event(Probe(), job_id=job_id, by_reference=True), time_out_after(IN_A_MINUTE)
    )
    with pytest.raises(JobFailed, match=f"job {job_id} is failed: the card has expired"):
        wait_for_job_completion(job_id)
    assert issubclass(JobFailed, AssertionError)


def test_waiting_in_vain_says_how_the_job_stands(database: Database) -> None:
    """Where it is, after how many attempts; an unknown job is unknown."""
    job_id = create_test_job(Probe())
    short = timedelta(milliseconds=30)
    with pytest.raises(TimeoutError, match=f"job {job_id} is pending after 0 attempts"):
        wait_for_job_completion(job_id, short)
    served(RuntimeError("no"))(signed_event(Probe(), job_id=job_id, by_reference=True), time_out_after(IN_A_MINUTE))
    with pytest.raises(TimeoutError, match=f"job {job_id} is retrying after 1 attempts"):
        wait_for_job_completion(job_id, short)
    with pytest.raises(TimeoutError, match="is unknown"):
        wait_for_job_completion(uuid4(), short)


def test_the_kit_imports_no_test_library(tmp_path: Path) -> None:
    """It serves whichever one the app has."""
    program = "import sys, qstash_jobs.testing; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"pytest", "_pytest", "unittest", "hypothesis", "nose", "django"} & set(done.stdout.split())


def test_captured_jobs_are_held_to_what_the_database_would_refuse() -> None:
    """A payload that cannot be stored, or an empty idempotency key, fails in the test and not in production."""
    with captured_jobs() as jobs:
        with pytest.raises(InvalidJob):
            enqueue(ProcessWebhook(source="custom", name="crm", event="a\0b", data={}))
        with pytest.raises(InvalidJob):
            enqueue(Probe(), idempotency_key="")
        enqueue(Probe(), idempotency_key="order-7")
    assert [one.options.get("idempotency_key") for one in jobs.jobs] == ["order-7"]
