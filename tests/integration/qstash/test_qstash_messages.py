"""Messages on their way: reading, cancelling; and the event log."""

from __future__ import annotations

import gc
import threading

import pytest
from qstash.errors import QStashError
from qstash.log import LogState

from infra.local.qstash import QStashServer
from infra.local.qstash.message import Message
from tests.integration.qstash.conftest import connect, until


def test_a_message_shows_what_was_asked_for(desk, destination):
    """Every option of a publish is readable while the message is on its way."""
    message_id = desk.sdk.message.publish(
        url=destination.url,
        body="b",
        content_type="text/plain",
        headers={"test-header": "v"},
        retries=2,
        delay="1h",
        callback=f"{destination.url}/c",
        callback_headers={"Forward-X": "1"},
        failure_callback=f"{destination.url}/f",
        label="a,b",
        retry_delay="1000",
        flow_control={"key": "k", "rate": 3, "period": "1h30m3s"},
    ).message_id
    message = desk.sdk.message.get(message_id)
    assert (message.url, message.method, message.max_retries, message.body) == (destination.url, "POST", 2, "b")
    assert message.headers == {"Test-Header": ["v"], "Content-Type": ["text/plain"]}
    assert (message.callback, message.failure_callback) == (f"{destination.url}/c", f"{destination.url}/f")
    assert message.callback_headers == {"X": ["1"]}
    assert (message.label, message.retry_delay_expression, message.caller_ip) == ("a", "1000", "127.0.0.1")
    assert (message.flow_control.key, message.flow_control.rate, message.flow_control.period) == ("k", 3, 5_403)
    assert desk.http.get(f"/v2/messages/{message_id}").json()["labels"] == ["a", "b"]


def test_a_delivered_message_is_readable_for_a_moment(serve, destination):
    """A client that looks right after publishing still finds it; later it is gone, and the events remain."""
    desk = serve(grace_seconds=0.3)
    message_id = desk.sdk.message.publish(url=destination.url).message_id
    desk.until_state(message_id, "DELIVERED")
    assert desk.sdk.message.get(message_id).url == destination.url

    def gone():
        return desk.http.get(f"/v2/messages/{message_id}").status_code == 404

    until(gone)
    assert desk.http.get(f"/v2/messages/{message_id}").json() == {"error": f"message {message_id} not found"}
    assert desk.states(message_id)[-1] == "DELIVERED"


def test_a_cancelled_message_never_arrives(desk, destination):
    """It is gone at once; a second cancel, and that of a delivered message, are 404."""
    message_id = desk.sdk.message.publish(url=destination.url, delay="1h").message_id
    answer = desk.http.delete(f"/v2/messages/{message_id}")
    assert (answer.status_code, answer.json()) == (200, {"cancelled": 1})
    assert desk.states(message_id) == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]
    for call in (desk.sdk.message.get, desk.sdk.message.cancel):
        with pytest.raises(QStashError, match="not found"):
            call(message_id)
    desk.server.advance(3_601)
    marker = desk.sdk.message.publish(url=destination.url).message_id
    assert [marker] == [arrival.message_id for arrival in destination.wait()]
    desk.until_state(marker, "DELIVERED")
    assert desk.http.delete(f"/v2/messages/{marker}").status_code == 404


def test_an_attempt_that_is_out_ends_before_the_cancel(fast_desk, destination):
    """Cancelled in flight: a success stays a success, a failure is not retried."""
    release = threading.Event()

    def answer(arrival):
        release.wait(20)
        return (200 if arrival.target == "/good" else 500), {}, b""

    destination.answer = answer
    ids = [fast_desk.sdk.message.publish(url=f"{destination.url}/{path}").message_id for path in ("good", "bad")]
    destination.wait(2)
    for message_id in ids:
        fast_desk.sdk.message.cancel(message_id)
    release.set()
    fast_desk.until_state(ids[0], "DELIVERED")
    fast_desk.until_state(ids[1], "CANCELED")
    assert fast_desk.sdk.dlq.list(filter={"message_id": ids[1]}).messages == []
    assert len(destination.arrivals) == 2


def test_many_can_be_cancelled_by_ids_or_filters(serve, destination):
    """Ids and filters, in a query or a JSON body; without any, everything."""
    desk = serve()

    def publish(path, **options):
        return desk.sdk.message.publish(url=f"{destination.url}/{path}", delay="1h", **options).message_id

    ids = [publish(n, label="even" if n % 2 == 0 else "odd") for n in range(8)]
    assert desk.sdk.message.cancel_many(ids[:1]) == 1
    assert desk.http.delete("/v2/messages", params={"messageIds": ids[1], "label": "ignored"}).json() == {
        "cancelled": 1
    }
    assert desk.http.delete("/v2/messages", params={"path": "/3", "label": "even"}).json() == {"cancelled": 0}
    assert desk.http.delete("/v2/messages", params={"path": "/3"}).json() == {"cancelled": 1}
    body = {"url": [f"{destination.url}/4", f"{destination.url}/5"]}
    assert desk.http.request("DELETE", "/v2/messages", json=body).json() == {"cancelled": 2}
    assert desk.http.delete("/v2/messages", params={"host": "elsewhere"}).json() == {"cancelled": 0}
    assert desk.sdk.message.cancel_all() == 3
    assert desk.sdk.message.cancel_all() == 0


@pytest.mark.parametrize("count", [1, 501])
def test_a_count_limits_no_cancel(serve, destination, count):
    """It did once, and SDKs still send it: all that match are cancelled, and nothing else."""
    desk = serve()
    labels = ("mine", "mine", "other")
    ids = [desk.sdk.message.publish(url=destination.url, delay="1h", label=label).message_id for label in labels]
    assert desk.http.delete("/v2/messages", params={"label": "mine", "count": count}).json() == {"cancelled": 2}
    assert [desk.http.get(f"/v2/messages/{message_id}").status_code for message_id in ids] == [404, 404, 200]
    assert desk.http.delete("/v2/messages", params={"count": "x"}).status_code == 400
    assert desk.http.request("DELETE", "/v2/messages", json={"count": count}).json() == {"cancelled": 1}


def test_events_are_filtered_and_paged(fast_desk, destination):
    """The newest first; the pseudo state IN_PROGRESS; both spellings of CANCELED; both paths; opaque cursors."""
    destination.fail(1)
    message_id = fast_desk.sdk.message.publish(url=destination.url, body="b", label="l", retry_delay="1").message_id
    fast_desk.until_state(message_id, "DELIVERED")
    whole = fast_desk.http.get("/v2/events", params={"messageId": message_id}).json()["events"]
    assert [event["state"] for event in whole] == ["DELIVERED", "ACTIVE", "RETRY", "ERROR", "ACTIVE", "CREATED"]
    assert whole == fast_desk.http.get("/v2/logs", params={"messageIds": message_id}).json()["logs"]
    pages, cursor = [], ""
    while cursor is not None:
        page = fast_desk.http.get("/v2/events", params={"url": destination.url, "count": 2, "cursor": cursor}).json()
        pages += page["events"]
        cursor = page.get("cursor")
    assert pages == whole
    in_progress = fast_desk.http.get("/v2/events", params={"messageId": message_id, "state": "IN_PROGRESS"}).json()
    assert [event["state"] for event in in_progress["events"]] == ["ACTIVE", "RETRY", "ERROR", "ACTIVE"]
    cancelled = {"messageId": message_id, "state": "CANCELLED"}
    assert fast_desk.http.get("/v2/events", params=cancelled).json() == {"events": []}
    newest = fast_desk.sdk.log.list(filter={"message_ids": [message_id], "state": LogState.DELIVERED}).logs
    assert [(log.url, log.body_base64, log.label, log.retry_delay_expression) for log in newest] == [
        (destination.url, "Yg==", "l", "1")
    ]
    (error,) = fast_desk.sdk.log.list(filter={"message_id": message_id, "state": LogState.ERROR}).logs
    assert (error.response_status, error.response_body) == (500, "bm8=")


def test_a_listener_in_the_process_hears_every_event(destination):
    """`on_event` gets what the log gets, as it happens."""
    heard = []
    desk = connect(QStashServer(on_event=heard.append))
    message_id = desk.sdk.message.publish(url=destination.url, label="l").message_id
    desk.until_state(message_id, "DELIVERED")
    desk.close()
    assert [(message_id, state, "l") for state in ("CREATED", "ACTIVE", "DELIVERED")] == [
        (event["messageId"], event["state"], event["label"]) for event in heard
    ]


def test_a_cancelled_message_is_not_held_until_its_time(serve, destination):
    """A body that nobody waits for any more takes no memory for a week."""
    desk = serve(grace_seconds=0)
    message_id = desk.sdk.message.publish(url=destination.url, body="x" * 1_000_000, delay="7d").message_id

    def held():
        return [one for one in gc.get_objects() if isinstance(one, Message) and one.id == message_id]

    assert held()
    desk.sdk.message.cancel(message_id)
    until(lambda: not held())
