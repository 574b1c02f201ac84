"""What the console asks for: all messages in the state that they are in, and how much there is."""

from __future__ import annotations

import threading
import time

import pytest

from tests.integration.qstash.conftest import OK, until


def messages(desk, **query):
    answer = desk.http.get("/admin/messages", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(desk, **query):
    return [message["messageId"] for message in messages(desk, **query)["messages"]]


def publish(desk, url, **headers):
    return desk.publish(url, **headers).json()["messageId"]


def test_each_state_is_listed(serve, destination):
    """A message is found under the state that it is in, one with an attempt on its way under that alone."""
    desk = serve()
    going = threading.Event()
    answers = {"/slow": lambda: going.wait(20) and OK, "/bad": lambda: (500, {}, b"no")}
    destination.answer = lambda arrival: answers.get(arrival.target, lambda: OK)()
    expected = {
        "DELIVERED": publish(desk, f"{destination.url}/good"),
        "FAILED": publish(desk, f"{destination.url}/bad", Upstash_Retries="0"),
        "RETRY": publish(desk, f"{destination.url}/bad"),
        "CREATED": publish(desk, f"{destination.url}/later", Upstash_Delay="1h"),
        "CANCELED": publish(desk, f"{destination.url}/never", Upstash_Delay="1h"),
        "ACTIVE": publish(desk, f"{destination.url}/slow"),
    }
    desk.http.delete(f"/v2/messages/{expected['CANCELED']}")
    for state, message_id in expected.items():
        until(lambda state=state, message_id=message_id: ids(desk, state=state) == [message_id])
    assert set(ids(desk, state="CREATED,ACTIVE")) == {expected["CREATED"], expected["ACTIVE"]}
    assert ids(desk) == list(expected.values())[::-1]
    overview = desk.http.get("/admin/overview").json()
    assert (overview["waiting"], overview["active"], overview["deadLetters"]) == (2, 1, 1)
    going.set()
    until(lambda: set(ids(desk, state="DELIVERED")) == {expected["DELIVERED"], expected["ACTIVE"]})


def test_pages_follow_each_other(serve, destination):
    """Every message is on one page, also when others come meanwhile; the last page has no cursor."""
    desk = serve()
    published = [publish(desk, destination.url, Upstash_Delay="1h") for _ in range(5)]
    first = messages(desk, count=2)
    publish(desk, destination.url, Upstash_Delay="1h")
    second = messages(desk, count=2, cursor=first["cursor"])
    last = messages(desk, count=2, cursor=second["cursor"])

    listed = [message["messageId"] for page in (first, second, last) for message in page["messages"]]
    assert listed == published[::-1]
    assert "cursor" not in last


def test_a_message_says_what_it_waits_for(serve, destination):
    """When it is due on the timeline, and by whose leave."""
    desk = serve()
    desk.server.advance(86_400)
    desk.publish(destination.url, Upstash_Delay="1h", Upstash_Label="a,b", Upstash_Flow_Control_Key="key",
                 Upstash_Flow_Control_Value="rate=1")  # fmt: skip
    overview = desk.http.get("/admin/overview").json()
    (message,) = messages(desk, label="b")["messages"]

    assert message["labels"] == ["a", "b"]
    assert message["flowControlKey"] == "key"
    assert (message["retried"], message["maxRetries"]) == (0, 3)
    assert message["nextDeliveryTime"] - overview["now"] == pytest.approx(3_600_000, abs=20_000)
    assert overview["now"] - overview["wall"] == pytest.approx(86_400_000, abs=1_000)
    assert (overview["scale"], overview["plan"], overview["flowControlKeys"]) == (1.0, "payg", 1)
    assert ids(desk, label="c") == []


def test_a_wait_that_a_destination_asked_for_is_on_the_timeline_too(serve, destination):
    """It is given in real time, and shown in the time that the others are shown in."""
    desk = serve(time_scale=60)
    destination.answer = lambda arrival: (429, {"Retry-After": "100"}, b"")
    publish(desk, destination.url)
    until(lambda: messages(desk, state="RETRY")["messages"])
    (message,) = messages(desk, state="RETRY")["messages"]
    now = desk.http.get("/admin/overview").json()["now"]

    assert message["nextDeliveryTime"] - now == pytest.approx(6_000_000, rel=0.2)


@pytest.mark.parametrize("query", ["state=GONE", "state=ERROR", "count=0", "count=101", "cursor=x", "surprise=1"])
def test_a_wrong_question_is_refused(desk, query):
    """With 400 and the reason."""
    answer = desk.http.get(f"/admin/messages?{query}")
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}


def test_a_long_record_is_looked_through_quickly(serve, destination):
    """Rare states are found among many messages without reading all of them."""
    desk = serve()
    for _ in range(20):
        batch = [{"destination": destination.url, "headers": {"Upstash-Delay": "1h"}}] * 1_000
        desk.http.post("/v2/batch", json=batch).raise_for_status()
    start = time.monotonic()
    assert ids(desk, state="FAILED") == []
    assert ids(desk, state="ACTIVE") == []
    assert len(ids(desk, state="CREATED")) == 50
    assert desk.http.get("/admin/overview").json()["waiting"] == 20_000
    assert time.monotonic() - start < 2
