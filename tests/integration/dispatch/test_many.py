"""Many jobs at once: one statement, batches of a hundred, and what became of each."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine

from qstash_jobs import relay
from qstash_jobs.dispatch import enqueue, enqueue_async, enqueue_many
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from tests.integration.dispatch.conftest import await_that, published
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.serving.conftest import Record


def test_a_hundred_to_a_batch(qstash: QStashStandIn, record: Record) -> None:
    """250 jobs are three requests; each job's message carries what a single one would."""
    answers = enqueue_many([Probe(seconds=number) for number in range(250)], headers={"X-A": "1"}, user_id=3)
    sizes = [len(json.loads(request.body)) for request in qstash.requests]
    assert [request.path for request in qstash.requests] == ["/v2/batch"] * 3
    assert sizes == [100, 100, 50]
    assert [m.deduplication_id for m in qstash.messages] == [f"{answer.job_id}-1-1" for answer in answers]
    assert all(answer.new and answer.published and answer.error is None for answer in answers)
    message = qstash.messages[0]
    expected = {
        "content-type": "application/json",
        "upstash-retries": "4",
        "upstash-timeout": "7s",
        "upstash-label": "probe",
        "upstash-flow-control-key": "probe",
        "upstash-flow-control-value": "parallelism=50",
        "upstash-failure-callback": "http://127.0.0.1:9/failure-callback",
        "upstash-forward-x-a": "1",
    }
    assert expected == {name: message.headers.get(name) for name in expected}
    assert message.envelope["metadata"]["userId"] == 3
    assert record.run("SELECT count(*) FROM job_executions WHERE published_at IS NOT NULL")[0][0] == 250


def test_no_jobs_are_no_work(qstash: QStashStandIn, record: Record) -> None:
    """Neither a statement nor a request."""
    assert enqueue_many([]) == []
    assert qstash.requests == []


def test_one_job_is_no_batch(qstash: QStashStandIn, record: Record) -> None:
    """It is published like any single one."""
    [answer] = enqueue_many([Probe()])
    assert [request.path for request in qstash.requests] == ["/v2/publish/http://127.0.0.1:9/probe"]
    assert record.row(answer.job_id)["message_id"] == qstash.messages[0].message_id


def test_a_refused_slot_is_reported_for_its_job(qstash: QStashStandIn, record: Record) -> None:
    """The others of its batch are sent; its row keeps the reason, for the relay to try again."""
    qstash.refused_slot = lambda message: message["destination"].endswith("/process-webhook")
    answers = enqueue_many([Probe(), ProcessWebhook(source="custom", name="crm", event="e", data={}), Probe()])
    assert [answer.published for answer in answers] == [True, False, True]
    assert [answer.error for answer in answers] == [None, "this one is refused", None]
    rows = [record.row(answer.job_id) for answer in answers]
    assert [row["publish_error"] for row in rows] == [None, "this one is refused", None]
    assert [row["message_id"] for row in rows] == ["msg_1", None, "msg_2"]


def test_an_answer_of_another_length_is_no_answer(qstash: QStashStandIn, record: Record) -> None:
    """Whose message is whose could only be guessed."""
    qstash.answers(200, b'[{"messageId": "msg_1"}]')
    assert [answer.published for answer in enqueue_many([Probe(), Probe()])] == [False, False]
    assert record.run("SELECT count(*) FROM job_executions WHERE published_at IS NOT NULL")[0][0] == 0


def test_each_has_its_key(qstash: QStashStandIn, record: Record) -> None:
    """A key that is known, also from within the same call, gives the first job's id; jobs without one are new."""
    first = enqueue(Probe(), idempotency_key="a")
    answers = enqueue_many([Probe()] * 5, idempotency_keys=["a", "b", None, "b", None])
    assert [answer.new for answer in answers] == [False, True, True, False, True]
    assert (answers[0].job_id, answers[3].job_id) == (first, answers[1].job_id)
    assert len({answer.job_id for answer in answers}) == 4
    assert len(qstash.messages) == 4


def test_delays_beyond_the_limit_wait_in_their_rows(qstash: QStashStandIn, record: Record) -> None:
    """None of them is sent, and none is an error."""
    answers = enqueue_many([Probe(), Probe()], delay=timedelta(days=30))
    assert [(answer.published, answer.error) for answer in answers] == [(False, None)] * 2
    assert qstash.requests == []


def test_in_a_transaction(psycopg_app: Engine, qstash: QStashStandIn, record: Record) -> None:
    """All share its fate; the batches go out after the commit."""
    with psycopg_app.begin() as connection:
        answers = enqueue_many([Probe()] * 120, connection=connection)
        assert not any(answer.published for answer in answers)
    published()
    assert len(qstash.sent_to("/v2/batch")) == 2
    assert {m.envelope["jobId"] for m in qstash.messages} == {str(answer.job_id) for answer in answers}


def test_ten_thousand(hurried: None, qstash: QStashStandIn, record: Record) -> None:
    """One statement stores them; the relay sends them in its own measure."""
    answers = enqueue_many((Probe(seconds=number % 900) for number in range(10_000)), publish="relay")
    assert len({answer.job_id for answer in answers}) == 10_000
    assert record.run("SELECT count(*), count(DISTINCT xmin::text) FROM job_executions")[0] == [10_000, 1]
    await_that(lambda: len(relay.publish_due(record.database.run_pooled)) == 500, "the relay's first five batches")
    assert len(qstash.sent_to("/v2/batch")) >= 5


def test_enqueue_async_does_not_block_the_loop(qstash: QStashStandIn, record: Record) -> None:
    """While QStash hangs and five jobs wait for it, the loop goes on ticking."""
    qstash.hangs()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def service() -> list[Any]:
        ticking = asyncio.create_task(tick())
        job_ids = await asyncio.gather(*(enqueue_async(Probe(), idempotency_key=str(n)) for n in range(5)))
        ticking.cancel()
        return job_ids

    assert len(set(asyncio.run(service()))) == 5
    assert ticks >= 20, "a blocked loop would have ticked once between one job and the next"
