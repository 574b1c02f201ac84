"""Publish, enqueue, batch: what goes in arrives as it was meant."""

from __future__ import annotations

import http.client
import time

import httpx
import pytest
from qstash.message import BatchRequest

from infra.local.qstash import LIMITS


def test_a_message_arrives_as_published_and_signed(desk, destination):
    """Body, method, Content-Type and forwarded headers arrive unchanged, and the SDK's receiver accepts the signature."""
    url = f"{destination.url}/jobs/send-email"
    response = desk.sdk.message.publish(
        url=url,
        body='{"n": 1}',
        content_type="application/json",
        method="PUT",
        headers={"X-Trace": "abc"},
        label="mail",
    )
    (arrival,) = destination.wait()
    assert (arrival.method, arrival.target, arrival.body) == ("PUT", "/jobs/send-email", b'{"n": 1}')
    assert response.message_id == arrival.message_id
    assert arrival.retried == 0
    assert arrival.headers["Content-Type"] == "application/json"
    assert arrival.headers["X-Trace"] == "abc"
    assert arrival.headers["Upstash-Label"] == "mail"
    assert arrival.headers["User-Agent"] == "Upstash-QStash"
    desk.receiver.verify(signature=arrival.headers["Upstash-Signature"], body=arrival.body.decode(), url=url)


def test_nothing_is_added_to_a_bare_message(desk, destination):
    """Without Content-Type and body, none is made up, and control headers of the publisher stay behind."""
    desk.publish(destination.url, Upstash_Telemetry_Sdk="x", X_Plain="stays")
    (arrival,) = destination.wait()
    assert arrival.headers["Content-Type"] is None
    assert arrival.headers["X-Plain"] is None
    assert arrival.headers["Upstash-Telemetry-Sdk"] is None
    assert arrival.headers["Authorization"] is None
    assert arrival.body == b""


@pytest.mark.parametrize("tail", ["//a//b/../c", "/a%2Fb%20c?x=1&y=%26&&z", "/p?url=http://h/?q=1", "/a;b=%C3%A4?c=+d"])
def test_path_and_query_of_the_destination_are_untouched(desk, destination, tail):
    """No slash is merged, no percent sign decoded, no parameter lost; the signature's subject is the same text."""
    connection = http.client.HTTPConnection(desk.server.url.removeprefix("http://"))
    authorization = {"Authorization": f"Bearer {desk.server.token}"}
    connection.request("POST", f"/v2/publish/{destination.url}{tail}", headers=authorization)
    assert connection.getresponse().status == 200
    connection.close()
    (arrival,) = destination.wait()
    assert arrival.target == tail
    desk.receiver.verify(signature=arrival.headers["Upstash-Signature"], body="", url=destination.url + tail)


def test_configuration_may_stand_in_the_query(desk, destination):
    """Token and options in the query are QStash's own: the destination sees the rest of the query."""
    query = f"a=1&upstash-method=PATCH&upstash-forward-x-b=2&qstash_token={desk.server.token}&c=3"
    with httpx.Client() as client:
        response = client.post(f"{desk.server.url}/v2/publish/{destination.url}/hook?{query}")
    assert response.status_code == 200
    (arrival,) = destination.wait()
    assert arrival.target == "/hook?a=1&c=3"
    assert arrival.method == "PATCH"
    assert arrival.headers["X-B"] == "2"


def test_every_header_can_be_forwarded(desk, destination):
    """`Upstash-Header-Forward` passes ordinary headers on, but never the token."""
    desk.publish(destination.url, Upstash_Header_Forward="true", X_Event="push")
    (arrival,) = destination.wait()
    assert arrival.headers["X-Event"] == "push"
    assert arrival.headers["Authorization"] is None


def test_own_headers_cannot_be_forged(desk, destination):
    """A forwarded header never replaces the message id or the signature."""
    desk.publish(
        destination.url, Upstash_Forward_Upstash_Message_Id="forged", Upstash_Forward_Upstash_Signature="forged"
    )
    (arrival,) = destination.wait()
    assert arrival.message_id.startswith("msg_")
    desk.receiver.verify(signature=arrival.headers["Upstash-Signature"], body="", url=destination.url)


def test_binary_bodies_arrive_bit_by_bit(desk, destination):
    """A body that is no text is delivered as it is and shown in base64."""
    body = bytes(range(256))
    message_id = desk.publish(destination.url, body).json()["messageId"]
    (arrival,) = destination.wait()
    assert arrival.body == body
    shown = desk.http.get(f"/v2/messages/{message_id}").json()
    assert "bodyBase64" in shown
    assert "body" not in shown


def test_a_batch_is_answered_in_order_and_keeps_the_good_ones(desk, destination):
    """A refused entry has its error in its place; the others are sent."""
    sent = desk.sdk.message.batch(
        [
            BatchRequest(url=f"{destination.url}/{n}", body=f"{n}", headers={"Content-Type": "text/plain"})
            for n in range(3)
        ]
    )
    assert len({response.message_id for response in sent}) == 3
    arrivals = destination.wait(3)
    assert {arrival.target: arrival.body for arrival in arrivals} == {"/0": b"0", "/1": b"1", "/2": b"2"}
    assert {arrival.headers["Content-Type"] for arrival in arrivals} == {"text/plain"}

    entries = [
        {"destination": "nowhere"},
        {
            "destination": f"{destination.url}/ok",
            "headers": {"Upstash-Forward-X": ["1", "2"]},
            "body": None,
            "queue": None,
        },
        {"destination": destination.url, "headers": {"Upstash-Forward-X": "a\r\nInjected: 1"}},
        7,
    ]
    bad, good, injected, number = desk.http.post("/v2/batch", json=entries).json()
    assert "invalid scheme" in bad["error"]
    assert "characters" in injected["error"]
    assert "object" in number["error"]
    (arrival,) = destination.wait(path="/ok")
    assert arrival.message_id == good["messageId"]
    assert arrival.headers.get_all("X") == ["1", "2"]


def test_a_delay_is_kept_and_can_be_passed_by(desk, destination):
    """A delayed message does not go out early; advancing the clock past its delay sends it."""
    message_id = desk.sdk.message.publish_json(url=destination.url, body={}, delay="1h").message_id
    shown = desk.sdk.message.get(message_id)
    assert shown.not_before - shown.created_at == 3_600_000
    desk.server.advance(3_590)
    desk.sdk.message.publish(url=f"{destination.url}/marker")
    destination.wait(path="/marker")
    assert len(destination.arrivals) == 1
    desk.server.advance(11)
    assert destination.wait(2)[1].message_id == message_id


def test_not_before_overrides_the_delay(fast_desk, destination):
    """An absolute time counts from now on the wall, and runs with the time scale like any wait."""
    moment = int(time.time()) + 100
    message_id = fast_desk.sdk.message.publish(url=destination.url, delay="300d", not_before=moment).message_id
    assert fast_desk.sdk.message.get(message_id).not_before == moment * 1_000
    assert destination.wait()[0].message_id == message_id


def test_a_repeat_within_ten_minutes_is_answered_with_the_first_message(desk, destination):
    """The same id gives 202 and the known message id; after the window it is a message of its own."""
    first = desk.publish(destination.url, Upstash_Deduplication_Id="job-1-1")
    again = desk.publish(destination.url, b"other", Upstash_Deduplication_Id="job-1-1")
    assert (first.status_code, again.status_code) == (200, 202)
    assert again.json() == {"messageId": first.json()["messageId"], "deduplicated": True}
    assert desk.sdk.message.publish(url=destination.url, deduplication_id="job-1-1").deduplicated
    desk.server.advance(599)
    assert desk.publish(destination.url, Upstash_Deduplication_Id="job-1-1").status_code == 202
    desk.server.advance(2)
    later = desk.publish(destination.url, Upstash_Deduplication_Id="job-1-1")
    assert later.status_code == 200
    assert [arrival.message_id for arrival in destination.wait(2)] == [
        first.json()["messageId"],
        later.json()["messageId"],
    ]


def test_content_can_be_what_is_deduplicated(desk, destination):
    """Equal destination, body and headers are a repeat; another body is not."""
    publish = {"url": destination.url, "content_based_deduplication": True}
    assert not desk.sdk.message.publish(body="a", **publish).deduplicated
    assert desk.sdk.message.publish(body="a", **publish).deduplicated
    assert not desk.sdk.message.publish(body="b", **publish).deduplicated
    assert not desk.sdk.message.publish(body="a", headers={"X": "1"}, **publish).deduplicated


def test_other_machines_are_refused_unless_mapped_or_allowed(serve, destination):
    """A remote destination is refused in clear words; a mapped one is delivered here under its published address."""
    refused = serve().publish("https://api.example.com/run")
    assert refused.status_code == 400
    assert "api.example.com is not this machine" in refused.json()["error"]
    assert serve(allow_remote=True).publish("https://api.example.invalid/x", Upstash_Delay="1h").status_code == 200

    desk = serve(host_map={"https://api.example.com": destination.url})
    assert desk.publish("https://api.example.com.evil.example/run").status_code == 400
    message_id = desk.publish("https://api.example.com/run?x=1").json()["messageId"]
    (arrival,) = destination.wait()
    assert arrival.target == "/run?x=1"
    desk.receiver.verify(signature=arrival.headers["Upstash-Signature"], body="", url="https://api.example.com/run?x=1")
    assert desk.sdk.message.get(message_id).url == "https://api.example.com/run?x=1"


def test_limits_are_those_of_the_plan(serve, destination):
    """Retries, delays and sizes beyond the plan are refused with the quota's name, and nothing is sent."""
    desk = serve(limits=LIMITS["free"])
    answers = {
        "maxRetries exceeded, current limit: 5": desk.publish(destination.url, Upstash_Retries="6"),
        "maxDelay exceeded, current limit: 604800": desk.publish(destination.url, Upstash_Delay="8d"),
        "maxMessageSize exceeded": desk.publish(destination.url, b"x" * (1024 * 1024 + 1)),
    }
    for text, answer in answers.items():
        assert answer.status_code == 412
        assert text in answer.json()["error"]
    assert desk.http.get("/v2/events").json() == {"events": []}


def test_signing_keys_rotate(serve, destination):
    """After a rotation deliveries are signed with the former next key."""
    desk = serve()
    before = desk.sdk.signing_key.get()
    after = desk.sdk.signing_key.rotate()
    assert after.current == before.next
    assert after.next not in (before.current, before.next)
    desk.sdk.message.publish(url=destination.url, body="x")
    (arrival,) = destination.wait()
    desk.receiver.verify(signature=arrival.headers["Upstash-Signature"], body="x", url=destination.url)
    assert desk.server.current_signing_key == before.next


def test_a_header_arrives_in_the_characters_it_was_sent_in(desk, destination):
    """UTF-8, in a request's headers and in a batch's; what is none is taken for Latin-1, as HTTP once said."""
    said = "Grüße 日本 🙂"
    headers = [(b"Upstash-Forward-Said", said.encode()), (b"Upstash-Label", "größer".encode())]
    assert desk.http.post(f"/v2/publish/{destination.url}/one", headers=headers).status_code == 200
    entry = {"destination": f"{destination.url}/two", "headers": {"Upstash-Forward-Said": said}}
    desk.http.post("/v2/batch", json=[entry])
    desk.http.post(f"/v2/publish/{destination.url}/old", headers=[(b"Upstash-Forward-Said", b"gr\xfc\xdfe")])
    for arrival in destination.wait(3):
        expected = "grüße" if arrival.target == "/old" else said
        assert arrival.headers["Said"].encode("latin-1").decode() == expected


@pytest.mark.parametrize("path", ["/v2%2Fenqueue%2Fq%2Fx", "/v2/enqueue%2Fq%2Fhttp:"])
def test_slashes_of_the_path_itself_are_none_that_were_encoded(desk, path):
    """Answered with what the path must be."""
    answer = desk.http.post(path)
    assert (answer.status_code, "/v2/enqueue/{queueName}" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("queue", ["a%2Fb", "a%20b", "%00"])
def test_a_queue_is_named_as_it_was_written(desk, destination, queue):
    """A name with a slash does not pass for a shorter one."""
    answer = desk.http.post(f"/v2/enqueue/{queue}/{destination.url}")
    assert (answer.status_code, "queueName" in answer.json()["error"]) == (400, True)
    assert queue[0] not in [one.name for one in desk.sdk.queue.list()]


def test_a_schedule_is_not_made_by_a_batch(desk, destination):
    """Its slot says so, and nothing is sent in its stead."""
    entry = {"destination": destination.url, "headers": {"Upstash-Cron": "0 0 * * *"}}
    (slot,) = desk.http.post("/v2/batch", json=[entry]).json()
    assert "Upstash-Cron cannot be used in a batch" in slot["error"]
    assert desk.http.get("/v2/events", params={"url": destination.url}).json() == {"events": []}
