"""Nothing stays where nothing will ever move it: expired leases, lost messages, dead letters, untold failures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from qstash_jobs import relay
from qstash_jobs.dispatch import cancel, enqueue, enqueue_many, requeue
from qstash_jobs.drivers import Row
from qstash_jobs.envelope import firing
from qstash_jobs.errors import InvalidMessage
from qstash_jobs.executions import outbox, store, upkeep
from qstash_jobs.executions.outbox import UNDELIVERED_LIMIT
from qstash_jobs.executions.state import Status
from qstash_jobs.executions.upkeep import Carrier
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.qstash import DeadLetter
from qstash_jobs.recovery import GivenUp, Report, from_callback, from_dead_letter, message_lost, reconcile
from qstash_jobs.settings import FAILURE_CALLBACK, settings
from qstash_jobs.telemetry import Telemetry
from tests.integration.dispatch.conftest import await_that
from tests.integration.dispatch.standin import Message, QStashStandIn, Reply, Request, dead_letter
from tests.integration.serving.conftest import Function, Record
from tests.waiting import until

NO_TIME = timedelta(0)


@pytest.fixture
def graceless(hurried: None, environment: pytest.MonkeyPatch) -> None:
    """No grace: what is overdue by a millisecond is overdue."""
    for name in ("JOBS_LEASE_GRACE", "JOBS_DELIVERY_GRACE"):
        environment.setenv(name, "0.001")


def reap(record: Record) -> list[upkeep.Reaped]:
    return upkeep.reap(record.database.run_pooled, NO_TIME, 10)


def start(record: Record, job_id: UUID, publication: int = 1, lease: timedelta = NO_TIME) -> None:
    """An attempt whose function is killed: it holds a lease, and never reports."""
    arrival = store.Arrival(
        job_id=job_id,
        job_types=("probe",),
        generation=1,
        publication=publication,
        lease_owner=uuid4(),
        lease=lease,
        message_id=None,
        request_id=None,
        cold_start=False,
        new=None,
    )
    assert store.start(record.database.run_pooled, arrival) is not None


def carrier(record: Record, job_id: UUID) -> Carrier:
    row = record.row(job_id)
    return Carrier(job_id=job_id, generation=row["generation"], publication=row["publication"])


def lose(
    record: Record, lost: Carrier, delay: timedelta = timedelta(seconds=30), dlq_id: str | None = None
) -> Status | None:
    return upkeep.lose(record.database.run_pooled, lost, delay, timedelta(hours=1), dlq_id)


def callback(message: Message, dlq_id: str | None = "dlq_1", **changes: object) -> bytes:
    """The body of the failure callback of a message."""
    body: Mapping[str, object] = {
        "status": 502,
        "sourceMessageId": message.message_id,
        "sourceBody": base64.b64encode(message.body).decode(),
        "url": message.url,
        "dlqId": dlq_id,
    }
    return json.dumps({**body, **changes}).encode()


class TestReap:
    """Leases of attempts that never reported."""

    def test_the_budget_allows_another(self, record: Record, job_id: UUID) -> None:
        """The job is retried by the delivery that QStash still owes; the attempt keeps no outcome, for ever."""
        start(record, job_id)
        [reaped] = reap(record)
        assert (reaped.job_id, reaped.status, reaped.attempts) == (job_id, Status.RETRYING, 1)
        row = record.row(job_id)
        assert (row["status"], row["error_type"], row["error"]) == ("retrying", "Lost", "attempt 1 never reported")
        assert record.outcomes(job_id) == [None]

    def test_the_budget_is_used_up(self, record: Record) -> None:
        """It has failed as lost."""
        job_id = enqueue(Probe(), retries=0)
        start(record, job_id)
        assert [reaped.status for reaped in reap(record)] == [Status.FAILED]
        row = record.row(job_id)
        assert (row["status"], row["error_type"], row["completed_at"] is None) == ("failed", "Lost", False)

    def test_a_cancel_was_asked_for(self, record: Record, job_id: UUID) -> None:
        """It is cancelled."""
        start(record, job_id, lease=timedelta(minutes=1))
        cancel(job_id)
        record.end_lease(job_id)
        assert [reaped.status for reaped in reap(record)] == [Status.CANCELLED]

    def test_a_live_lease_is_left_alone(self, record: Record, job_id: UUID) -> None:
        """Also one that ended just now: the grace is for reports that are under way."""
        start(record, job_id)
        assert upkeep.reap(record.database.run_pooled, timedelta(minutes=1), 10) == []
        record.run(f"UPDATE job_executions SET lease_until = now() + interval '1 hour' WHERE job_id = '{job_id}'")
        assert reap(record) == []
        assert record.status(job_id) == "processing"

    def test_a_limit(self, record: Record) -> None:
        """A pass takes so many, the longest ended first."""
        job_ids = [enqueue(Probe(), publish="relay") for _ in range(3)]
        for job_id in job_ids:
            start(record, job_id)
        run = record.database.run_pooled
        assert {reaped.job_id for reaped in upkeep.reap(run, NO_TIME, 2)} == set(job_ids[:2])
        assert {reaped.job_id for reaped in upkeep.reap(run, NO_TIME, 2)} == set(job_ids[2:])


class TestOverdue:
    """Messages whose delivery does not come."""

    def test_qstash_holds_it(
        self, graceless: None, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """It waits there, as it did before, and is not asked about again so soon."""
        job_id = enqueue(Probe())
        before = record.row(job_id)["available_at"]
        await_that(lambda: upkeep.overdue(record.database.run_pooled, settings().delivery_grace, 1), "it is overdue")
        report = reconcile(record.database.run_pooled, settings(), telemetry)
        assert (report.lost, report.troubles) == (0, ())
        assert len(qstash.sent_to(f"/v2/messages/{qstash.messages[0].message_id}")) == 1
        row = record.row(job_id)
        assert (row["publication"], row["available_at"]) == (1, before)
        assert row["ask_after"] is not None

    def test_qstash_holds_it_no_more(
        self, graceless: None, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """404: the job gets its next publication, under a deduplication id of its own."""
        job_id = enqueue(Probe())
        qstash.gone.add(qstash.messages[0].message_id)
        await_that(lambda: reconcile(record.database.run_pooled, settings(), telemetry).lost, "the message is lost")
        await_that(lambda: relay.publish_due(record.database.run_pooled) or len(qstash.messages) > 1, "another is sent")
        assert [m.deduplication_id for m in qstash.messages] == [f"{job_id}-1-1", f"{job_id}-1-2"]

    def test_qstash_does_not_say(
        self, graceless: None, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """Only a 404 is a death; the trouble is in the report, and the rest of the pass goes on."""
        job_id = enqueue(Probe())
        qstash.answers(500)
        report = reconcile(record.database.run_pooled, settings(), telemetry)
        assert report == Report(troubles=report.troubles)
        assert "QStash answered 500" in report.troubles[0]
        assert record.row(job_id)["publication"] == 1

    def test_not_before_its_time(self, qstash: QStashStandIn, record: Record) -> None:
        """A delay is no silence."""
        enqueue(Probe(), delay=timedelta(hours=1))
        enqueue(Probe())
        assert upkeep.overdue(record.database.run_pooled, timedelta(minutes=1), 10) == []


class TestLose:
    """A carrier that is known dead."""

    def test_the_delay_doubles(self, record: Record) -> None:
        """With each message that brought no attempt, up to an hour."""
        job_id = enqueue(Probe())
        waits = []
        for _ in range(UNDELIVERED_LIMIT - 1):
            assert lose(record, carrier(record, job_id)) is Status.PENDING
            row = record.row(job_id)
            wait = datetime.fromisoformat(row["available_at"]) - datetime.fromisoformat(row["updated_at"])
            waits.append(round(wait.total_seconds()))
        assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]

    def test_ten_undelivered_are_enough(self, record: Record) -> None:
        """The job has failed as undeliverable; a requeue gives it ten more."""
        job_id = enqueue(Probe())
        last = Carrier(job_id=job_id, generation=1, publication=UNDELIVERED_LIMIT)
        found = [lose(record, carrier(record, job_id)) for _ in range(UNDELIVERED_LIMIT)]
        upkeep.note_dead_letter(record.database.run_pooled, last, "dlq_last")  # which is heard of only now
        assert record.row(job_id)["dlq_id"] == "dlq_last"
        assert found == [Status.PENDING] * (UNDELIVERED_LIMIT - 1) + [Status.FAILED]
        row = record.row(job_id)
        assert (row["status"], row["error_type"], row["attempts"]) == ("failed", "Undeliverable", 0)
        assert lose(record, carrier(record, job_id)) is None
        requeue(job_id)
        assert lose(record, carrier(record, job_id)) is Status.PENDING

    def test_messages_that_brought_an_attempt_do_not_count(self, record: Record) -> None:
        """A job that kills its function each time ends by its budget, not as undeliverable."""
        job_id = enqueue(Probe(), retries=50)
        for _ in range(UNDELIVERED_LIMIT + 2):
            start(record, job_id, carrier(record, job_id).publication)
            reap(record)
            assert lose(record, carrier(record, job_id), NO_TIME) is Status.RETRYING
        assert record.row(job_id)["undelivered"] == 0

    def test_a_live_attempt_keeps_its_lease(self, record: Record, job_id: UUID) -> None:
        """Its message died under it: the next publication waits until the lease has ended."""
        start(record, job_id, lease=timedelta(hours=1))
        assert lose(record, carrier(record, job_id)) is Status.PROCESSING
        row = record.row(job_id)
        assert (row["status"], row["publication"]) == ("processing", 2)
        assert row["available_at"] == row["lease_until"]

    @pytest.mark.parametrize(
        "other", [{"generation": 2}, {"publication": 2}, {"job_id": uuid4()}], ids=["generation", "publication", "job"]
    )
    def test_news_of_another_changes_nothing(self, record: Record, job_id: UUID, other: dict[str, Any]) -> None:
        """Only exactly this generation's publication can be lost."""
        before = record.row(job_id)
        assert lose(record, replace(carrier(record, job_id), **other)) is None
        assert record.row(job_id) == before

    def test_twice_is_once(self, record: Record, job_id: UUID) -> None:
        """A callback and a dead letter tell of the same death."""
        dead = carrier(record, job_id)
        assert [lose(record, dead), lose(record, dead)] == [Status.PENDING, None]
        assert record.row(job_id)["publication"] == 2

    def test_a_foreign_message_says_nothing_of_a_row_without_one(
        self, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """Its payload tells it from ours; the row's own message may just not have been noted yet."""
        job_id = enqueue(Probe(), publish="relay")
        envelope = json.dumps({"jobId": str(job_id), "type": "probe", "payload": {"mode": "fail-once"}})
        foreign = Message("msg_foreign", "https://example.com", {}, envelope.encode())
        given_up = from_callback(callback(foreign))
        assert given_up is not None
        before = record.row(job_id)
        assert not message_lost(record.database.run_pooled, given_up, settings())
        assert record.row(job_id) == before

    def test_an_old_generation_is_nobodys(self, record: Record, job_id: UUID) -> None:
        """After a requeue, the death of the first generation's message is no news."""
        dead = carrier(record, job_id)
        cancel(job_id)
        requeue(job_id)
        assert lose(record, dead) is None
        assert record.row(job_id)["publication"] == 1


class TestCallbacks:
    """What QStash says when it gives a message up."""

    def test_a_live_job_gets_its_next_publication(self, qstash: QStashStandIn, record: Record) -> None:
        """The dead letter's id is kept, for people."""
        job_id = enqueue(Probe())
        given_up = from_callback(callback(qstash.messages[0]))
        assert given_up is not None
        assert given_up.carrier == Carrier(job_id=job_id, generation=1, publication=1, message_id="msg_1")
        assert message_lost(record.database.run_pooled, given_up, settings())
        row = record.row(job_id)
        assert (row["publication"], row["dlq_id"], row["message_id"]) == (2, "dlq_1", None)

    def test_a_failed_job_learns_where_its_message_is(
        self, function: Function, qstash: QStashStandIn, record: Record
    ) -> None:
        """Nothing else of it changes."""
        job_id = enqueue(Probe(), retries=0)
        function.raises(RuntimeError("no"))
        function.deliver(job_id)
        given_up = from_callback(callback(qstash.messages[0]))
        assert given_up is not None
        assert not message_lost(record.database.run_pooled, given_up, settings())
        assert ((row := record.row(job_id))["status"], row["publication"], row["dlq_id"]) == ("failed", 1, "dlq_1")

    def test_a_schedules_firing_is_known_by_its_message(self) -> None:
        """Its body names no job: the id is derived, as its delivery derives it."""
        body = b'{"type":"probe","payload":{}}'
        given_up = from_callback(callback(Message("msg_7", "http://127.0.0.1:9/probe", {}, body)))
        assert given_up is not None
        assert given_up.carrier.job_id == firing("msg_7")

    def test_a_message_that_was_none_of_ours(self) -> None:
        """It carried no job."""
        assert from_callback(callback(Message("msg_7", "http://x", {}, b"hello"))) is None
        assert from_callback(callback(Message("msg_7", "http://x", {}, b""), sourceBody=None)) is None

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"null", b"{}", b"\xff", b'{"sourceBody": "%%%", "sourceMessageId": "m"}', b"[" * 10**5]
    )
    def test_what_is_no_callback(self, body: bytes) -> None:
        """Refused by name, whatever it is."""
        with pytest.raises(InvalidMessage):
            from_callback(body)


class TestDeadLetters:
    """What a pass finds in the dead letter queue."""

    def test_each_entry_is_read_and_taken_once(
        self, hurried: None, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """Over several pages; a second pass finds the same entries, and nothing to do."""
        job_ids = [enqueue(Probe()) for _ in range(5)]
        qstash.dead_letters += [dead_letter(m, f"dlq_{number}") for number, m in enumerate(qstash.messages)]
        run = record.database.run_pooled
        report = reconcile(run, settings(), telemetry)
        assert (report.dead_letters, report.lost) == (5, 5)
        assert [record.row(job_id)["dlq_id"] for job_id in job_ids] == [f"dlq_{number}" for number in range(5)]
        report = reconcile(run, settings(), telemetry)
        assert (report.dead_letters, report.lost) == (5, 0)
        assert {record.row(job_id)["publication"] for job_id in job_ids} == {2}

    def test_an_earlier_messages_entry_is_no_news(
        self, hurried: None, function: Function, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """Of two messages that ended there the last one's place is kept, however often both are read."""
        job_id = enqueue(Probe(), retries=0)
        qstash.dead_letters.append(dead_letter(qstash.messages[0], "dlq_first"))
        run = record.database.run_pooled
        reconcile(run, settings(), telemetry)
        until(lambda: relay.publish_due(run) or len(qstash.messages) == 2)  # the publisher may be first
        function.raises(RuntimeError("no"))
        function.deliver(job_id, publication=2)
        qstash.dead_letters.insert(0, dead_letter(qstash.messages[1], "dlq_last"))
        for _ in range(2):
            reconcile(run, settings(), telemetry)
            assert record.row(job_id)["dlq_id"] == "dlq_last"

    def test_only_the_last_hour_is_read(self, qstash: QStashStandIn, record: Record, telemetry: Telemetry) -> None:
        """What is older, asking about the message finds; it is only counted."""
        reconcile(record.database.run_pooled, settings(), telemetry)
        request, counting = qstash.sent_to("/v2/dlq")
        assert "fromDate" not in counting.query
        since = datetime.fromtimestamp(int(request.query["fromDate"][0]) / 1000, UTC)
        assert timedelta(minutes=59) < datetime.now(UTC) - since < timedelta(minutes=62)

    def test_a_failure_callbacks_own_entry_tells_of_its_source(
        self, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """The callback could not be delivered either: what it would have said is in its body."""
        job_id = enqueue(Probe())
        told = Message("msg_cb", settings().url(FAILURE_CALLBACK), {}, callback(qstash.messages[0], "dlq_source"))
        qstash.dead_letters.append(dead_letter(told, "dlq_callback"))
        assert reconcile(record.database.run_pooled, settings(), telemetry).lost == 1
        assert record.row(job_id)["dlq_id"] == "dlq_source"

    def test_a_users_callback_that_died_says_nothing_of_the_job(
        self, function: Function, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """Its body names the job, but it did not carry it."""
        job_id = enqueue(Probe(), retries=0, failure_callback="https://example.com/failed")
        function.raises(RuntimeError("no"))
        function.deliver(job_id)
        reconcile(record.database.run_pooled, settings(), telemetry)
        told = qstash.messages[-1]
        assert told.url == "https://example.com/failed"
        qstash.dead_letters.append(dead_letter(told, "dlq_of_the_callback"))
        reconcile(record.database.run_pooled, settings(), telemetry)
        assert record.row(job_id)["dlq_id"] is None

    @pytest.mark.parametrize("body", [b"hello", b"{}", b'{"jobId": "no"}'])
    def test_entries_of_others_are_passed_over(
        self, qstash: QStashStandIn, record: Record, telemetry: Telemetry, body: bytes
    ) -> None:
        """The queue is the account's, not ours alone; also at our callback's address."""
        for url in ("https://example.com/", settings().url(FAILURE_CALLBACK)):
            qstash.dead_letters.append(dead_letter(Message("msg_x", url, {}, body), "dlq_x"))
        report = reconcile(record.database.run_pooled, settings(), telemetry)
        assert (report.dead_letters, report.lost, report.troubles) == (2, 0, ())

    def test_an_answer_that_is_not_qstashs(self, qstash: QStashStandIn, record: Record, telemetry: Telemetry) -> None:
        """A trouble in the report; the pass goes on."""
        qstash.answers(200, b'{"messages": [{}]}')
        report = reconcile(record.database.run_pooled, settings(), telemetry)
        assert "QStash answered something unexpected" in report.troubles[0]

    def test_an_entry_whose_body_is_binary(self, record: Record) -> None:
        """QStash sends it as base64."""
        letter = DeadLetter(dlq_id="d", message_id="m", url="https://example.com", label=None, body=b"\xff\x00")
        assert from_dead_letter(letter, settings()) is None


class TestPass:
    """A whole pass."""

    def test_all_of_it(self, graceless: None, qstash: QStashStandIn, record: Record, telemetry: Telemetry) -> None:
        """One of each: a lease freed, a message lost, a row published, a failure told; the next pass has none."""
        dead, gone, unsent = enqueue(Probe(), retries=0), enqueue(Probe()), enqueue(Probe(), publish="relay")
        start(record, dead)
        qstash.gone.add(qstash.messages[1].message_id)
        run = record.database.run_pooled
        await_that(lambda: len(upkeep.overdue(run, settings().delivery_grace, 9)) == 1, "the message is overdue")
        await_that(lambda: outbox.due(run, NO_TIME, settings().scaled(relay.QUIET), 9), "the row is due")
        report = reconcile(run, settings(), telemetry)
        assert (report.freed, report.lost, report.told, report.troubles) == (1, 1, 1, ())
        assert report.published >= 1
        assert record.row(unsent)["published_at"] is not None
        assert [record.status(job_id) for job_id in (dead, gone, unsent)] == ["failed", "pending", "pending"]
        again = reconcile(run, settings(), telemetry)
        assert (again.freed, again.told) == (0, 0)

    def test_two_passes_at_once_do_no_harm(
        self, graceless: None, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """Each message goes out once, whoever sends it."""
        job_ids = [enqueue(Probe(), publish="relay") for _ in range(20)]
        run = record.database.run_pooled
        await_that(lambda: len(outbox.due(run, NO_TIME, settings().scaled(relay.QUIET), 50)) == 20, "all are due")
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: relay.publish_due(run), range(4)))
        assert sorted(m.deduplication_id for m in qstash.messages) == sorted(f"{job_id}-1-1" for job_id in job_ids)

    def test_an_old_carriers_news_is_no_news(self, record: Record, job_id: UUID) -> None:
        """`GivenUp` of a publication that another has replaced."""
        given_up = GivenUp(carrier=carrier(record, job_id), dlq_id="dlq_1")
        assert message_lost(record.database.run_pooled, given_up, settings())
        assert not message_lost(record.database.run_pooled, given_up, settings())

    def test_a_storm_of_dead_letters_keeps_nothing_else_waiting(
        self, graceless: None, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """Overdue messages, the outbox and failures come first; letters that were heard of before cost one statement a
        page; and a pass that runs out of time leaves the rest to the next."""
        for answer in enqueue_many([Probe()] * 20, retries=0):
            start(record, answer.job_id)
        reap(record)
        qstash.dead_letters = [dead_letter(m, f"dlq_{n}") for n, m in enumerate(qstash.messages)]
        overdue = enqueue(Probe())
        qstash.messages.pop()
        none_left = lambda: NO_TIME  # noqa: E731
        report = reconcile(record.database.run_pooled, settings(), telemetry, none_left)
        assert (report.told, report.lost) == (20, 0)
        first = reconcile(record.database.run_pooled, settings(), telemetry)
        assert record.row(overdue)["publication"] == 2
        assert record.run("SELECT count(*) FROM job_executions WHERE dlq_id IS NOT NULL") == [[20]]
        statements: list[str] = []

        def counted(sql: str) -> list[Row]:
            statements.append(sql)
            return record.database.run_pooled(sql)

        second = reconcile(counted, settings(), telemetry)
        assert (first.dead_letters, second.dead_letters) == (20, 20)
        assert [sql for sql in statements if "dlq_id = " in sql] == []


@pytest.fixture
def job_id(record: Record) -> UUID:
    """A job that waits for its delivery."""
    return enqueue(Probe())


class TestRefused:
    """QStash finds fault with a message, and would again."""

    def test_it_is_tried_again_for_some_time_and_fails(
        self, hurried: None, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """With longer and longer waits; then the job has failed, with QStash's reason, and people are told."""
        qstash.answers(400, b'{"error": "the endpoint resolves to a loopback address"}')
        job_id = enqueue(Probe())
        row = record.row(job_id)
        assert (row["status"], row["undelivered"]) == ("pending", 1)
        until(
            lambda: (reconcile(record.database.run_pooled, settings(), telemetry), record.status(job_id) == "failed")[1]
        )
        row = record.row(job_id)
        assert (row["error_type"], row["undelivered"]) == ("Undeliverable", UNDELIVERED_LIMIT)
        assert "loopback address" in row["error"]
        assert row["notified_at"] is not None

    def test_a_job_type_without_a_contract_likewise(
        self, hurried: None, qstash: QStashStandIn, record: Record, telemetry: Telemetry
    ) -> None:
        """Its contract may be of a newer version than who publishes, so it is not given up at once."""
        job_id = enqueue(Probe(), publish="relay")
        record.run(f"UPDATE job_executions SET job_type = 'gone' WHERE job_id = '{job_id}'")
        until(
            lambda: (reconcile(record.database.run_pooled, settings(), telemetry), record.status(job_id) == "failed")[1]
        )
        assert "unknown job type 'gone'" in record.row(job_id)["error"]

    @pytest.mark.parametrize(
        "said", ["daily quota exceeded", "Rate limit hit", "quota maxDelay exceeded, current limit: 604800"]
    )
    def test_a_slot_that_speaks_of_a_limit_is_no_fault_of_its_message(
        self, qstash: QStashStandIn, record: Record, said: str
    ) -> None:
        """A batch's slots have no status: what they say of the account fails no job."""
        for_good = "maxDelay" in said
        qstash.answers(200, json.dumps([{"error": said}] * 2).encode())
        for answer in enqueue_many([Probe()] * 2):
            assert (answer.published, answer.error) == (False, record.row(answer.job_id)["publish_error"])
            assert record.row(answer.job_id)["undelivered"] == for_good

    @pytest.mark.parametrize("status", [400, 413, 404, 401])
    def test_a_whole_batch_that_is_refused_fails_none_of_its_jobs(
        self, qstash: QStashStandIn, record: Record, status: int
    ) -> None:
        """The answer does not say which message is at fault."""
        qstash.answers(status)
        for answer in enqueue_many([Probe()] * 2):
            assert record.row(answer.job_id)["undelivered"] == 0

    def test_the_relay_finds_out_which_message_is_at_fault(
        self, hurried: None, qstash: QStashStandIn, record: Record, environment: pytest.MonkeyPatch
    ) -> None:
        """It takes a batch that is refused whole apart: the others go out, and the one is blamed."""
        job_ids = [enqueue(Probe(), publish="relay") for _ in range(5)]
        bad = str(job_ids[3])
        take = qstash._take

        def choosy(request: Request) -> Reply:
            refused = bad in request.body.decode() or bad in str(request.headers)
            return (400, b'{"error": "no such thing"}') if refused else take(request)

        environment.setattr(qstash, "_take", choosy)
        others = [job_id for job_id in job_ids if str(job_id) != bad]

        def all_are_done() -> bool:
            relay.publish_due(record.database.run_pooled)  # what was enqueued a moment ago waits for the next pass
            sent = all(record.row(job_id)["published_at"] for job_id in others)
            return sent and bool(record.row(job_ids[3])["undelivered"])

        until(all_are_done)
        assert [record.row(job_id)["published_at"] is None for job_id in job_ids] == [False, False, False, True, False]

    def test_a_wrong_address_of_qstash_is_no_refusal(self, qstash: QStashStandIn, record: Record) -> None:
        """A 404 says that QSTASH_URL is wrong, and not the message."""
        qstash.answers(404)
        assert record.row(enqueue(Probe()))["undelivered"] == 0

    def test_an_outage_is_no_refusal(self, qstash: QStashStandIn, record: Record) -> None:
        """However long it lasts, it fails no job."""
        qstash.answers(503)
        job_id = enqueue(Probe())
        assert (record.row(job_id)["undelivered"], record.status(job_id)) == (0, "pending")
