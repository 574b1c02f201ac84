"""Redaction: what is hidden from the record, and never from the destination."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from tests.integration.qstash.conftest import until


def hidden(text: str) -> str:
    return f"REDACTED:{hashlib.sha256(text.encode()).hexdigest()}"


def test_a_redacted_body_and_header_are_shown_as_their_hash(desk, destination):
    """In the message, its events and its dead letter; the delivery and a retry of the dead letter have the originals."""
    destination.fail(1)
    message_id = desk.sdk.message.publish(
        url=destination.url,
        body="secret",
        headers={"Api-Key": "k", "Plain": "p"},
        retries=0,
        redact={"body": True, "header": ["api-key"]},
    ).message_id
    shown = desk.sdk.message.get(message_id)
    assert (shown.body, shown.headers) == (hidden("secret"), {"Api-Key": [hidden("k")], "Plain": ["p"]})
    letter = desk.dead_letter(message_id)
    assert (letter.body, letter.headers) == (hidden("secret"), {"Api-Key": [hidden("k")], "Plain": ["p"]})
    event = desk.events(message_id)[0]
    assert base64.b64decode(event["body"]).decode() == hidden("secret")
    assert "secret" not in desk.http.get("/v2/events", params={"messageId": message_id}).text
    desk.http.post(f"/v2/dlq/retry/{letter.dlq_id}")
    for arrival in destination.wait(2):
        assert (arrival.body, arrival.headers["Api-Key"]) == (b"secret", "k")


@pytest.mark.parametrize("field", ["header", "headers"])
def test_all_headers_can_be_redacted(desk, destination, field):
    """Under the name of the documents and under that of the SDKs."""
    answer = desk.publish(
        destination.url, "b", Upstash_Redact_Fields=field, Upstash_Forward_A="1", Content_Type="text/plain"
    )
    message = desk.http.get(f"/v2/messages/{answer.json()['messageId']}").json()
    assert message["header"] == {"Content-Type": [hidden("text/plain")], "A": [hidden("1")]}
    assert message["body"] == "b"


def test_a_schedule_shows_no_more_than_its_messages(desk, destination):
    """Its body is hidden, and its messages carry it."""
    schedule_id = desk.sdk.schedule.create(
        destination=destination.url, cron="0 * * * *", body="secret", redact={"body": True}
    )
    assert desk.sdk.schedule.get(schedule_id).body == hidden("secret")
    desk.server.advance(3_600)
    until(lambda: b"secret" in [arrival.body for arrival in destination.arrivals])
    desk.sdk.schedule.delete(schedule_id)


@pytest.mark.parametrize("field", ["everything", "header[]", "body,", "header[a", "header[a b]"])
def test_an_unknown_field_is_refused(desk, destination, field):
    """Rather than shown to everybody."""
    answer = desk.publish(destination.url, Upstash_Redact_Fields=field)
    assert answer.status_code == 400
    assert "Upstash-Redact-Fields" in answer.json()["error"]


def test_a_callback_tells_its_receiver_and_nobody_else(fast_desk, destination):
    """Its body holds what its source has hidden, so that is hidden too; its own headers are where headers are."""
    answer = fast_desk.publish(
        f"{destination.url}/job",
        "secret",
        Upstash_Callback=f"{destination.url}/told",
        Upstash_Callback_Forward_Api_Key="key",
        Upstash_Redact_Fields="body,header[Api-Key]",
    )
    source = fast_desk.http.get(f"/v2/messages/{answer.json()['messageId']}").json()
    assert source["callbackHeader"] == {"Api-Key": [hidden("key")]}
    (told,) = destination.wait(path="/told")
    assert base64.b64decode(json.loads(told.body)["sourceBody"]) == b"secret"
    assert told.headers["Api-Key"] == "key"
    shown = fast_desk.http.get("/v2/events", params={"url": f"{destination.url}/told"}).json()["events"][-1]
    assert base64.b64decode(shown["body"]).decode() == hidden(told.body.decode())
