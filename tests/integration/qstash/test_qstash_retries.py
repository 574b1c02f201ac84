"""What follows an attempt that fails."""

from __future__ import annotations

import email.utils
import itertools
import threading
import time

import pytest


def waits(desk, message_id):
    """The seconds that each retry was announced to wait, as the service would state them."""
    events = desk.events(message_id)
    return [
        round((event["nextDeliveryTime"] - event["time"]) / 1_000, 1) for event in events if event["state"] == "RETRY"
    ]


def test_the_default_backoff_is_exponential(fast_desk, destination):
    """The waits are e^(2.5 n) seconds, the message id stays, and the retries are counted."""
    destination.fail(2)
    message_id = fast_desk.sdk.message.publish(url=destination.url).message_id
    arrivals = destination.wait(3)
    fast_desk.until_state(message_id, "DELIVERED")
    assert [arrival.retried for arrival in arrivals] == [0, 1, 2]
    assert {message_id} == {arrival.message_id for arrival in arrivals}
    assert waits(fast_desk, message_id) == [12.2, 148.4]
    gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(arrivals)]
    for gap, wait in zip(gaps, (0.012, 0.148), strict=True):
        assert gap >= wait * 0.95


def test_waits_are_real_without_a_time_scale(desk, destination):
    """At scale 1 a retry a second later arrives a second later."""
    destination.fail(1)
    desk.publish(destination.url, Upstash_Retry_Delay="1000")
    first, second = destination.wait(2)
    assert second.time - first.time >= 0.95


def test_a_retry_delay_expression_replaces_the_backoff(fast_desk, destination):
    """The expression is evaluated after each failure, in milliseconds, with `retried` from 0."""
    destination.fail(3)
    expression = "max(2000, 1000 * pow(3, retried))"
    message_id = fast_desk.sdk.message.publish(url=destination.url, retries=3, retry_delay=expression).message_id
    destination.wait(4)
    assert waits(fast_desk, message_id) == [2.0, 3.0, 9.0]
    assert fast_desk.sdk.message.get(message_id).retry_delay_expression == expression


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("Retry-After", "1", 1.0),
        ("X-RateLimit-Reset", "0.3s", 0.3),
        ("X-RateLimit-Reset-Requests", "300ms", 0.3),
        ("X-RateLimit-Reset-Tokens", "0m0.2s", 0.2),
    ],
)
def test_a_destination_can_say_when(fast_desk, destination, name, value, seconds):
    """The destination's own wait overrides the backoff, and is never scaled."""
    destination.fail(1, 429, {name: value})
    message_id = fast_desk.sdk.message.publish(url=destination.url, retry_delay="1").message_id
    first, second = destination.wait(2)
    assert second.time - first.time >= seconds * 0.95
    assert [seconds] == waits(fast_desk, message_id)


def test_a_destination_can_name_a_date(fast_desk, destination):
    """An HTTP date is a wait until then."""
    destination.fail(1, 503, {"Retry-After": email.utils.formatdate(time.time() + 2, usegmt=True)})
    message_id = fast_desk.sdk.message.publish(url=destination.url).message_id
    first, second = destination.wait(2)
    assert second.time - first.time >= 0.9
    assert 0.9 <= waits(fast_desk, message_id)[0] <= 2.1


@pytest.mark.parametrize("value", ["86401", "25h", "soon", "-1", "Xyz, 99 Abc 2026", "1e9999"])
def test_absurd_waits_are_ignored(fast_desk, destination, value):
    """More than a day, or no wait at all, means the default backoff."""
    destination.fail(1, 429, {"Retry-After": value})
    message_id = fast_desk.sdk.message.publish(url=destination.url).message_id
    destination.wait(2)
    assert waits(fast_desk, message_id) == [12.2]


def test_an_exhausted_message_is_a_dead_letter(fast_desk, destination):
    """After the last retry it is FAILED, with its last response; its events tell the whole story."""
    destination.fail(9, 418, {"X-Reason": "tea"}, b"short and stout")
    message_id = fast_desk.sdk.message.publish(url=destination.url, body="b", retries=1).message_id
    fast_desk.until_state(message_id, "FAILED")
    assert fast_desk.states(message_id) == ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "FAILED"]
    assert len(destination.arrivals) == 2
    letter = fast_desk.dead_letter(message_id)
    assert (letter.message_id, letter.response_status, letter.response_body) == (message_id, 418, "short and stout")
    assert letter.response_headers["X-Reason"] == ["tea"]
    assert letter.body == "b"


def test_a_message_without_retries_has_four_events(fast_desk, destination):
    """CREATED, ACTIVE, ERROR, FAILED, and a delivered one ends with exactly one DELIVERED."""
    destination.fail(1)
    failed = fast_desk.sdk.message.publish(url=destination.url, retries=0).message_id
    fast_desk.until_state(failed, "FAILED")
    assert fast_desk.states(failed) == ["CREATED", "ACTIVE", "ERROR", "FAILED"]
    delivered = fast_desk.sdk.message.publish(url=destination.url).message_id
    fast_desk.until_state(delivered, "DELIVERED")
    assert fast_desk.states(delivered) == ["CREATED", "ACTIVE", "DELIVERED"]


def test_489_with_its_header_ends_at_once(fast_desk, destination):
    """Both together mean: never again. The status alone, or the header with another status, is retried."""
    destination.fail(1, 489, {"Upstash-NonRetryable-Error": "true"})
    poisoned = fast_desk.sdk.message.publish(url=destination.url).message_id
    fast_desk.until_state(poisoned, "FAILED")
    assert len(destination.arrivals) == 1
    assert fast_desk.dead_letter(poisoned).response_status == 489
    for status, headers in ((489, {}), (400, {"Upstash-NonRetryable-Error": "true"})):
        destination.fail(1, status, headers)
        retried = fast_desk.sdk.message.publish(url=destination.url).message_id
        fast_desk.until_state(retried, "DELIVERED")


@pytest.mark.parametrize("status", [301, 304, 401, 404, 500])
def test_only_2xx_is_success(fast_desk, destination, status):
    """Redirects are not followed, and like every other status they are retried."""
    destination.fail(1, status, {"Location": f"{destination.url}/elsewhere"}, b"")
    message_id = fast_desk.sdk.message.publish(url=destination.url).message_id
    fast_desk.until_state(message_id, "DELIVERED")
    assert destination.below("/elsewhere") == []
    assert [arrival.retried for arrival in destination.arrivals] == [0, 1]


def test_a_slow_destination_times_out_in_real_time(fast_desk, destination):
    """The attempt is given up after its timeout, unscaled, and counts as failed."""
    release = threading.Event()

    def answer(arrival):
        if arrival.retried == 0:
            release.wait(20)
        return 200, {}, b""

    destination.answer = answer
    message_id = fast_desk.sdk.message.publish(url=destination.url, timeout=1).message_id
    first, second = destination.wait(2)
    release.set()
    assert second.time - first.time >= 0.95
    fast_desk.until_state(message_id, "DELIVERED")
    (error,) = [event for event in fast_desk.events(message_id) if event["state"] == "ERROR"]
    assert error["error"] == "timeout: no response within 1 s"


def test_an_unreachable_destination_is_retried_then_dead(fast_desk, destination):
    """No answer at all is a failure with status 0 and the reason."""
    destination.close()
    message_id = fast_desk.sdk.message.publish(url=destination.url, retries=1).message_id
    fast_desk.until_state(message_id, "FAILED")
    letter = fast_desk.dead_letter(message_id)
    assert letter.response_status == 0
    assert "refused" in letter.response_body.lower() or "connect" in letter.response_body.lower()


def test_an_answer_in_another_encoding_is_kept_as_far_as_it_can_be_read(fast_desk, destination):
    """A header that is no UTF-8 ends no attempt in an error of the server's own."""
    destination.fail(1, headers={"X-Said": "gr\xfc\xdfe"})  # goes out as Latin-1
    message_id = fast_desk.sdk.message.publish(url=destination.url, retries=0).message_id
    letter = fast_desk.http.get("/v2/dlq", params={"messageId": fast_desk.dead_letter(message_id).message_id}).json()
    assert letter["messages"][0]["responseHeader"]["X-Said"] == ["gr\ufffd\ufffde"]
