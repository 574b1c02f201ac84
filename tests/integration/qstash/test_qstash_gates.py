"""Queues and flow control: who may go out, and when."""

from __future__ import annotations

import threading
import time

import pytest
from qstash.errors import QStashError

from infra.local.qstash import LIMITS
from tests.integration.qstash.conftest import OK, until


class Gauge:
    """An answer that takes its time and knows how many were in it at once."""

    def __init__(self, seconds=0.02):
        self.most = self._now = 0
        self._seconds = seconds
        self._lock = threading.Lock()

    def __call__(self, arrival):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        return OK


def test_a_queue_delivers_one_after_the_other(fast_desk, destination):
    """In the order of enqueueing, with retries in between: the next one waits for them."""
    gauge = Gauge()
    failed = []

    def answer(arrival):
        gauge(arrival)
        if arrival.target == "/1" and len(failed) < 2:
            failed.append(arrival)
            return 500, {}, b""
        return OK

    destination.answer = answer
    ids = [
        fast_desk.sdk.message.enqueue(queue="orders", url=f"{destination.url}/{n}", retry_delay="3000").message_id
        for n in range(5)
    ]
    arrivals = destination.wait(7)
    assert [arrival.target for arrival in arrivals] == ["/0", "/1", "/1", "/1", "/2", "/3", "/4"]
    assert list(dict.fromkeys(arrival.message_id for arrival in arrivals)) == ids
    assert gauge.most == 1
    assert fast_desk.sdk.queue.get("orders").parallelism == 1


def test_the_next_message_of_a_queue_waits_for_callbacks(fast_desk, destination):
    """A callback that has to be retried holds the queue, a dead message's failure callback too."""
    failures = iter([500, 500])

    def answer(arrival):
        if arrival.target == "/job":
            return 500, {}, b""
        return (next(failures, 200), {}, b"") if arrival.target == "/failed" else OK

    destination.answer = answer
    enqueue = fast_desk.sdk.message.enqueue
    enqueue(
        queue="told",
        url=f"{destination.url}/job",
        retries=0,
        failure_callback=f"{destination.url}/failed",
        failure_callback_headers={"Retries": "3", "Retry-Delay": "5000"},
    )
    enqueue(queue="told", url=f"{destination.url}/next")
    arrivals = destination.wait(5)
    assert [arrival.target for arrival in arrivals] == ["/job", "/failed", "/failed", "/failed", "/next"]


def test_a_queue_can_be_wider_paused_and_deleted(desk, destination):
    """Parallelism bounds it; while paused it accepts and holds; deleted, its waiting messages are gone."""
    gauge = destination.answer = Gauge(0.05)
    desk.sdk.queue.upsert("wide", parallelism=3, paused=True)
    ids = [desk.sdk.message.enqueue(queue="wide", url=destination.url).message_id for _ in range(9)]
    assert (desk.sdk.queue.get("wide").paused, desk.sdk.queue.get("wide").lag) == (True, 9)
    assert destination.arrivals == []
    desk.sdk.queue.resume("wide")
    destination.wait(9)
    for message_id in ids:
        desk.until_state(message_id, "DELIVERED")
    assert 2 <= gauge.most <= 3
    assert desk.sdk.queue.get("wide").lag == 0
    desk.sdk.queue.pause("wide")
    held = desk.sdk.message.enqueue(queue="wide", url=destination.url).message_id
    assert "wide" in [queue.name for queue in desk.sdk.queue.list()]
    desk.sdk.queue.delete("wide")
    desk.sdk.queue.delete("wide")
    assert desk.states(held)[-1] == "CANCELED"
    with pytest.raises(QStashError, match="queue wide not found"):
        desk.sdk.queue.get("wide")


def test_a_batch_can_enqueue(desk, destination):
    """An entry with a queue goes through it, in order."""
    entries = [{"destination": f"{destination.url}/{n}", "queue": "batched"} for n in range(4)]
    desk.http.post("/v2/batch", json=entries)
    assert [arrival.target for arrival in destination.wait(4)] == ["/0", "/1", "/2", "/3"]


def test_the_parallelism_of_a_key_is_never_exceeded(desk, destination):
    """With failures, retries and another key beside it, at most so many attempts of a key are out at once."""
    gauge = Gauge()
    failing = iter(range(10))

    def answer(arrival):
        if arrival.headers["Upstash-Flow-Control-Key"] == "other":
            return OK
        gauge(arrival)
        return OK if next(failing, None) is None else (500, {}, b"")

    destination.answer = answer
    narrow = {
        "Upstash-Flow-Control-Key": "narrow",
        "Upstash-Flow-Control-Value": "parallelism=2",
        "Upstash-Retry-Delay": "1",
    }
    other = {"Upstash-Flow-Control-Key": "other", "Upstash-Flow-Control-Value": "parallelism=1, rate=1000"}
    entries = [{"destination": destination.url, "headers": headers} for _ in range(20) for headers in (narrow, other)]
    ids = [answer["messageId"] for answer in desk.http.post("/v2/batch", json=entries).json()]
    destination.wait(50)
    for message_id in ids:
        desk.until_state(message_id, "DELIVERED")
    assert gauge.most == 2
    limited = [arrival for arrival in destination.arrivals if arrival.headers["Upstash-Flow-Control-Key"] == "narrow"]
    assert limited[0].headers["Upstash-Flow-Control-Value"] == "parallelism=2"


def test_the_last_message_sets_the_limits_of_its_key(desk, destination):
    """A wider value lets those that wait go at once."""
    release = threading.Event()
    destination.answer = lambda arrival: (release.wait(20), OK)[1]

    def publish(parallelism):
        desk.sdk.message.publish(url=destination.url, flow_control={"key": "changing", "parallelism": parallelism})

    for _ in range(3):
        publish(1)
    destination.wait(1)
    publish(4)
    destination.wait(4)
    release.set()


def test_a_rate_holds_per_period(desk, destination):
    """Two a period: five messages take three periods, which run on the timeline."""
    for _ in range(5):
        desk.sdk.message.publish(
            url=f"{destination.url}/rated", flow_control={"key": "rated", "rate": 2, "period": "1h"}
        )
    for count in (2, 4, 5):
        destination.wait(count, path="/rated")
        marker = desk.sdk.message.publish(url=f"{destination.url}/marker").message_id
        desk.until_state(marker, "DELIVERED")
        assert len(destination.below("/rated")) == count
        desk.server.advance(3_600)


def test_the_plan_bounds_everything(serve, destination):
    """No more attempts are out at once than the plan allows."""
    desk = serve(limits=LIMITS["free"])
    gauge = destination.answer = Gauge(0.1)
    desk.http.post("/v2/batch", json=[{"destination": destination.url} for _ in range(40)])
    destination.wait(40)
    assert 5 <= gauge.most <= 10


def test_a_cancelled_message_frees_its_place(desk, destination):
    """Cancelling what waits in a queue or for a key leaves the others in order."""
    desk.sdk.queue.upsert("cancelled", paused=True)
    ids = [desk.sdk.message.enqueue(queue="cancelled", url=f"{destination.url}/{n}").message_id for n in range(4)]
    desk.sdk.message.cancel(ids[0])
    desk.sdk.message.cancel(ids[2])
    desk.sdk.queue.resume("cancelled")
    assert [arrival.target for arrival in destination.wait(2)] == ["/1", "/3"]
    until(lambda: desk.sdk.queue.get("cancelled").lag == 0)
