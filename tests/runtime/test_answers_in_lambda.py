"""Every row of the table of answers, as Lambda's runtime gives it: what happened -> HTTP answer -> what the record says."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from qstash_jobs.dispatch import cancel
from qstash_jobs.envelope import Envelope
from qstash_jobs.jobs.probe import Probe, ProbeMode
from qstash_jobs.testing import signed_event
from tests.runtime.conftest import Answer, World
from tests.waiting import until

OTHER_KEY = "sig_0000000000000000000000000000"
FINAL = "upstash-nonretryable-error"


@pytest.fixture(autouse=True)
def _warm(world: World) -> None:
    """A probe has two seconds, of which a cold start on a busy machine may take one."""
    world.send("probe", "GET")


def told(answer: Answer) -> tuple[int, str, str | None]:
    """What QStash acts upon."""
    return answer.status, answer.outcome, answer.headers.get(FINAL)


def test_what_is_no_post_is_no_delivery(world: World) -> None:
    """405, signed or not."""
    assert told(world.send("probe", "GET")) == (405, "method_not_allowed", None)
    assert told(world.send("probe", "PUT", headers=world.sign("probe", b"{}"), content=b"{}"))[0] == 405


def test_a_handler_that_returns_completes_the_job(world: World) -> None:
    """200, with its result in the record."""
    job_id = world.create(Probe())
    assert told(world.deliver(Probe(), job_id)) == (200, "completed", None)
    row = world.row(job_id)
    assert (row["status"], row["result"]) == ("completed", {"attempt": 1})


def test_a_handler_that_raises_is_retried_while_the_budget_lasts(world: World) -> None:
    """500, and at last 489 with the header that makes QStash stop."""
    job = Probe(mode=ProbeMode.FAIL_ALWAYS)
    job_id = world.create(job)
    assert [told(world.deliver(job, job_id)) for _ in range(3)] == [
        (500, "failed_attempt", None),
        (500, "failed_attempt", None),
        (489, "failed", "true"),
    ]
    assert world.outcomes(job_id) == ["retried", "retried", "failed"]
    error = world.ask(f"SELECT error FROM job_attempts WHERE job_id = '{job_id}' ORDER BY attempt")[0][0]
    assert "ProbeFailed: asked to fail always" in error
    assert f'File "{world.stage.unpacked.tasks["probe"]}/functions/probe/handler.py"' in error


def test_retry_says_when(world: World) -> None:
    """503 with `Retry-After`; beyond a day 200, and the row waits for a message of its own."""
    job = Probe(mode=ProbeMode.RETRY_LATER)
    answer = world.deliver(job, world.create(job))
    assert (answer.status, answer.outcome, answer.headers["retry-after"]) == (503, "retry_later", "1")
    job_id = world.create(Probe())
    url = world.stage.address("odd") + "/far"
    answer = world.post(signed_event(Probe(), job_id=job_id, by_reference=True, url=url), "odd")
    assert told(answer) == (200, "rescheduled", None)
    row = world.row(job_id)
    assert (row["status"], row["publication"]) == ("retrying", 2)


def test_what_is_of_no_use_ends_at_once(world: World) -> None:
    """489: not retryable, of an unknown type, a payload that is none any more, a body that cannot be decoded."""
    job = Probe(mode=ProbeMode.NOT_RETRYABLE)
    job_id = world.create(job)
    assert told(world.deliver(job, job_id)) == (489, "failed", "true")
    assert world.row(job_id)["error"] == "asked to fail for good"

    job_id = world.create(Probe())
    url = world.stage.address("probe")
    other = Envelope(job_id=job_id, type="no-such-type").encode()
    assert told(world.post(signed_event(other, url=url), "probe")) == (489, "unknown_type", "true")
    assert world.row(job_id)["status"] == "pending"

    world.ask(f"""UPDATE job_executions SET payload = '{{"mode": "nonsense"}}' WHERE job_id = '{job_id}'""")
    assert told(world.deliver(Probe(), job_id)) == (489, "failed", "true")

    assert told(world.post(signed_event(b"no JSON", url=url), "probe")) == (489, "invalid_message", "true")


def test_a_known_job_cannot_be_another(world: World) -> None:
    """489, the row untouched."""
    job_id = world.create(Probe())
    before = world.row(job_id)
    answer = world.post(signed_event(Probe(seconds=1), job_id=job_id), "probe")
    assert told(answer) == (489, "conflict", "true")
    assert before == world.row(job_id)


@pytest.mark.parametrize(
    "claims",
    [{"exp": 1_600_000_000}, {"sub": "https://elsewhere.example.com"}, {"body": "AAAA"}, {"iss": "Somebody"}],
    ids=lambda claims: next(iter(claims)),
)
def test_what_qstash_did_not_sign_for_this_runs_nothing(world: World, claims: dict[str, object]) -> None:
    """401, for each claim that is not true."""
    job_id = world.create(Probe())
    body = Envelope(job_id=job_id, type="probe").encode()
    answer = world.send("probe", headers=world.sign("probe", body, **claims), content=body)
    assert told(answer) == (401, "unauthenticated", None)
    assert world.row(job_id)["status"] == "pending"


def test_another_key_is_refused_and_the_next_key_taken(world: World) -> None:
    """401 and 200."""
    job_id = world.create(Probe())
    assert world.deliver(Probe(), job_id, key=OTHER_KEY).status == 401
    assert world.deliver(Probe(), job_id, key=world.stage.values["QSTASH_NEXT_SIGNING_KEY"]).status == 200


def test_what_has_ended_does_not_run_again(world: World) -> None:
    """200, with how it ended."""
    done, cancelled, failed = world.create(Probe()), world.create(Probe()), world.create(Probe())
    assert world.deliver(Probe(), done).outcome == "completed"
    cancel(cancelled)
    world.ask(f"UPDATE job_executions SET status = 'failed', completed_at = now() WHERE job_id = '{failed}'")
    answers = [told(world.deliver(Probe(), one)) for one in (done, cancelled, failed)]
    assert answers == [(200, "duplicate", None), (200, "cancelled", None), (200, "failed", None)]
    again = world.create(Probe())
    world.ask(f"UPDATE job_executions SET generation = 2 WHERE job_id = '{again}'")
    assert told(world.deliver(Probe(), again, generation=1)) == (200, "stale", None)
    assert (world.row(again)["status"], world.outcomes(again)) == ("pending", [])


def test_a_job_in_parts_goes_on(world: World) -> None:
    """200 `continued`, until it is done."""
    job = Probe(mode=ProbeMode.CONTINUE)
    job_id = world.create(job)
    assert [told(world.deliver(job, job_id))[:2] for _ in range(3)] == [
        (200, "continued"),
        (200, "continued"),
        (200, "completed"),
    ]


def test_a_job_that_takes_too_long_is_stopped_before_lambda_does(world: World) -> None:
    """500, with its connection good for the next; the environment lives on."""
    job = Probe(mode=ProbeMode.TIME_OUT)
    job_id = world.create(job)
    pid = world.stage.environment("probe").runtime_pid
    assert told(world.deliver(job, job_id)) == (500, "failed_attempt", None)
    assert (world.row(job_id)["error_type"], world.outcomes(job_id)) == ("JobTimeout", ["retried"])
    assert world.deliver(Probe(), world.create(Probe())).status == 200
    assert pid == world.stage.environment("probe").runtime_pid


def test_a_job_that_is_cancelled_while_it_runs_ends(world: World) -> None:
    """200 `cancelled`, as soon as it reports progress."""
    job = Probe(seconds=1)
    job_id = world.create(job)
    with ThreadPoolExecutor() as threads:
        delivery = threads.submit(world.deliver, job, job_id)
        until(lambda: world.row(job_id)["status"] == "processing")
        cancel(job_id)
        assert told(delivery.result()) == (200, "cancelled", None)
    assert world.row(job_id)["status"] == "cancelled"


def test_what_is_not_there_may_come(world: World) -> None:
    """503 with `Retry-After` for a job whose row nobody sees yet; a message with a payload makes its row."""
    job_id = uuid4()
    answer = world.post(signed_event(Probe(), job_id=job_id, by_reference=True), "probe")
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert told(world.post(signed_event(Probe(), job_id=job_id), "probe")) == (200, "completed", None)


def test_a_function_that_dies_holds_its_job_no_longer_than_its_lease(world: World) -> None:
    """502, then 409 with `Retry-After` while the lease lasts, then the next attempt, in a new environment."""
    job = Probe(mode=ProbeMode.CRASH_ONCE)
    job_id = world.create(job)
    pid = world.stage.environment("probe").runtime_pid
    assert world.deliver(job, job_id).status == 502
    answer = world.deliver(job, job_id)
    assert (answer.status, answer.outcome) == (409, "busy")
    assert 1 <= int(answer.headers["retry-after"]) <= 3
    assert pid != world.stage.environment("probe").runtime_pid
    deliver_until(world, job, job_id, 200)
    assert world.outcomes(job_id) == [None, "completed"]


def test_a_function_that_always_dies_ends_as_lost(world: World) -> None:
    """489, once its budget is used up."""
    job = Probe(mode=ProbeMode.CRASH_ALWAYS)
    job_id = world.create(job, retries=0)
    assert world.deliver(job, job_id).status == 502
    assert told(deliver_until(world, job, job_id, 489)) == (489, "lost", "true")
    row = world.row(job_id)
    assert (row["status"], row["error_type"]) == ("failed", "Lost")


def deliver_until(world: World, job: Probe, job_id: UUID, status: int) -> Answer:
    """Deliver, and again when the answer says, until the answer has another status."""
    end = time.monotonic() + 20
    while (answer := world.deliver(job, job_id)).status == 409:
        assert time.monotonic() < end, answer
        time.sleep(0.1)
    assert status == answer.status, world.log
    return answer
