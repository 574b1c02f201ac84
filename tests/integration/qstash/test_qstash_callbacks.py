"""Callbacks: messages about messages."""

from __future__ import annotations

import base64
import json

import pytest

from tests.integration.qstash.conftest import OK

FAILING = (500, {"X-Why": "because"}, b"broken")


def answer_failing(path):
    """500 below `path`, 200 elsewhere."""
    return lambda arrival: FAILING if arrival.target.startswith(path) else OK


def test_a_callback_reports_success(desk, destination):
    """It is a message of its own: POST, JSON, signed for its own address, with the response and the source."""
    destination.answer = lambda arrival: (201, {"X-Result": "r"}, b"made") if arrival.target == "/job" else OK
    job, told = f"{destination.url}/job", f"{destination.url}/told?x=1"
    message_id = desk.sdk.message.publish(
        url=job, body="in", headers={"X-In": "1"}, callback=told, callback_headers={"Forward-X-Back": "b"}
    ).message_id
    (arrival,) = destination.wait(path="/told")
    assert (arrival.method, arrival.target, arrival.headers["Content-Type"]) == (
        "POST",
        "/told?x=1",
        "application/json",
    )
    assert arrival.message_id != message_id
    assert arrival.headers["X-Back"] == "b"
    assert arrival.headers["X-In"] is None
    desk.receiver.verify(signature=arrival.headers["Upstash-Signature"], body=arrival.body.decode(), url=told)
    body = json.loads(arrival.body)
    assert base64.b64decode(body["body"]) == b"made"
    assert base64.b64decode(body["sourceBody"]) == b"in"
    assert (body["status"], body["maxRetries"], body["sourceMessageId"]) == (201, 3, message_id)
    assert (body["url"], body["method"], body["callerIP"]) == (job, "POST", "127.0.0.1")
    assert body["header"]["X-Result"] == ["r"]
    assert body["sourceHeader"] == {"X-In": ["1"]}
    assert isinstance(body["createdAt"], int)
    assert body["notBefore"] == body["createdAt"]
    assert not {"retried", "dlqId", "scheduleId", "topicName"} & body.keys()


def test_callbacks_follow_every_attempt_and_the_failure_callback_the_last(fast_desk, destination):
    """Each attempt is reported with its number; the end once more, with the dead letter's id."""
    destination.answer = answer_failing("/job")
    fast_desk.sdk.message.publish(
        url=f"{destination.url}/job",
        retries=2,
        retry_delay="2000",
        callback=f"{destination.url}/told",
        failure_callback=f"{destination.url}/failed",
        failure_callback_headers={"X-Plain": "p"},
    )
    (failure,) = destination.wait(path="/failed")
    told = [json.loads(arrival.body) for arrival in destination.wait(3, path="/told")]
    assert sorted(body.get("retried", 0) for body in told) == [0, 1, 2]
    assert {500} == {body["status"] for body in told}
    body = json.loads(failure.body)
    assert (body["retried"], body["maxRetries"], body["status"]) == (2, 2, 500)
    assert base64.b64decode(body["body"]) == b"broken"
    assert body["header"]["X-Why"] == ["because"]
    assert fast_desk.sdk.dlq.get(body["dlqId"]).message_id == body["sourceMessageId"]
    assert failure.headers["X-Plain"] == "p"


def test_489_calls_the_failure_callback_at_once(fast_desk, destination):
    """A message that must not be retried is reported after its first attempt."""
    poison = (489, {"Upstash-NonRetryable-Error": "true"}, b"")
    destination.answer = lambda arrival: poison if arrival.target == "/job" else OK
    fast_desk.sdk.message.publish(url=f"{destination.url}/job", failure_callback=f"{destination.url}/failed")
    (failure,) = destination.wait(path="/failed")
    body = json.loads(failure.body)
    assert body["status"] == 489
    assert not {"retried", "body"} & body.keys()
    assert len(destination.below("/job")) == 1


def test_a_callback_is_configured_by_its_own_headers(fast_desk, destination):
    """Method, retries and forwarded headers of the callback; its own failure ends among the dead letters."""
    destination.answer = answer_failing("/told")
    fast_desk.publish(
        f"{destination.url}/job",
        Upstash_Retries="3",
        Upstash_Callback=f"{destination.url}/told",
        Upstash_Callback_Method="PUT",
        Upstash_Callback_Retries="1",
        Upstash_Callback_Retry_Delay="1000",
        Upstash_Callback_Forward_Authorization="Bearer mine",
        Upstash_Callback_Failure_Callback=f"{destination.url}/lost",
    )
    destination.wait(path="/lost")
    told = destination.below("/told")
    assert [arrival.method for arrival in told] == ["PUT", "PUT"]
    assert told[0].headers["Authorization"] == "Bearer mine"
    letter = fast_desk.dead_letter(told[0].message_id)
    assert (letter.url, letter.max_retries) == (f"{destination.url}/told", 1)


def test_a_callback_inherits_the_retries_of_its_source(fast_desk, destination):
    """Without a setting of its own it is retried as often as the message it is about."""
    destination.answer = answer_failing("/told")
    fast_desk.sdk.message.publish(url=f"{destination.url}/job", retries=0, callback=f"{destination.url}/told")
    (told,) = destination.wait(path="/told")
    letter = fast_desk.dead_letter(told.message_id)
    assert letter.max_retries == 0


@pytest.mark.parametrize(
    ("header", "value", "text"),
    [
        ("Upstash_Callback", "example", "invalid Upstash-Callback url"),
        ("Upstash_Failure_Callback", "http://example.com/", "invalid Upstash-Failure-Callback url"),
        ("Upstash_Callback_Delay", "10s", "cannot be delayed"),
        ("Upstash_Failure_Callback_Retries", "many", "Upstash-Failure-Callback-Retries must be"),
    ],
)
def test_a_wrong_callback_is_refused_with_the_publish(desk, destination, header, value, text):
    """The publisher learns at once, and nothing is sent."""
    answer = desk.publish(destination.url, **{header: value})
    assert answer.status_code == 400
    assert text in answer.json()["error"]
    assert desk.http.get("/v2/events", params={"url": destination.url}).json() == {"events": []}


def test_an_unreachable_job_is_reported_with_the_reason(fast_desk, destination):
    """Without a response the status is 0 and the body says what happened."""
    fast_desk.sdk.message.publish(url="http://127.0.0.1:9/job", retries=0, failure_callback=f"{destination.url}/failed")
    (failure,) = destination.wait(path="/failed")
    body = json.loads(failure.body)
    assert body["status"] == 0
    assert b"127.0.0.1" in base64.b64decode(body["body"])
