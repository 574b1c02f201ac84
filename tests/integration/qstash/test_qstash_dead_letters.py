"""The dead-letter queue."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from qstash.errors import QStashError

from infra.local.qstash import LIMITS
from tests.integration.qstash.conftest import OK, until


@pytest.fixture
def dead(fast_desk, destination):
    """Makes a dead letter of a fresh message; returns the message's id."""

    def make(path="/dead", status=500, **options):
        destination.answer = lambda arrival: (status, {}, b"no") if arrival.target.startswith("/dead") else OK
        options = {"retries": 0} | options
        message_id = fast_desk.sdk.message.publish(url=destination.url + path, **options).message_id
        fast_desk.dead_letter(message_id)
        return message_id

    return make


def listed(desk, **filters):
    answer = desk.http.get("/v2/dlq", params=filters)
    assert answer.status_code == 200, answer.text
    return [letter["messageId"] for letter in answer.json()["messages"]]


def test_a_dead_letter_can_be_read_and_deleted(fast_desk, dead):
    """By its id, once; afterwards it is gone: 404."""
    letter = fast_desk.dead_letter(dead(body="x", label="mail"))
    assert fast_desk.sdk.dlq.get(letter.dlq_id) == letter
    assert (letter.body, letter.label, letter.response_status) == ("x", "mail", 500)
    fast_desk.sdk.dlq.delete(letter.dlq_id)
    for call in (fast_desk.sdk.dlq.get, fast_desk.sdk.dlq.delete):
        with pytest.raises(QStashError, match="404"):
            call(letter.dlq_id)


def test_every_filter_narrows(fast_desk, destination, dead):
    """Each filter finds its message and leaves the other out; values of one filter are alternatives."""
    start = int(time.time() * 1_000)
    first = dead("/dead/1", label="a,b", flow_control={"key": "one", "parallelism": 1})
    between = int(time.time() * 1_000) + 1
    time.sleep(0.005)
    second = dead("/dead/2", status=404, label="c")
    for filters in (
        {"url": f"{destination.url}/dead/1"},
        {"label": "b", "fromDate": start},
        {"flowControlKey": "one", "fromDate": start},
        {"responseStatus": 500, "fromDate": start},
        {"fromDate": start, "toDate": between},
        {"dlqIds": fast_desk.dead_letter(first).dlq_id},
        {"messageId": first, "callerIp": "127.0.0.1"},
    ):
        assert [first] == listed(fast_desk, **filters), filters
    assert [second] == listed(fast_desk, fromDate=between)
    assert [second, first] == listed(fast_desk, label=["a", "c"], fromDate=start)
    assert [second, first] == listed(fast_desk, label="a,c", fromDate=start)
    assert listed(fast_desk, label="a", messageId=second) == []
    assert fast_desk.http.get("/v2/dlq", params={"labeel": "a"}).status_code == 400
    assert fast_desk.http.get("/v2/dlq", params={"host": "a"}).status_code == 400


def test_pages_neither_lose_nor_repeat_while_letters_arrive(fast_desk, destination, dead):
    """Newest first, in pages; one that dies between two pages is in neither; the last page has no cursor."""
    url = f"{destination.url}/dead"
    ids = [dead() for _ in range(5)]
    seen, cursor = [], None
    for _ in range(3):
        page = fast_desk.sdk.dlq.list(cursor=cursor, count=2, filter={"url": url})
        seen += [letter.message_id for letter in page.messages]
        cursor = page.cursor
        dead()
    assert cursor is None
    assert seen == ids[::-1]


def test_many_can_be_deleted(fast_desk, destination, dead):
    """By ids in a body (Python, Go) or filters in a query (JavaScript)."""
    ids = [dead() for _ in range(4)]
    letters = [fast_desk.dead_letter(message_id).dlq_id for message_id in ids[:2]]
    assert fast_desk.sdk.dlq.delete_many([*letters, "0-0"]) == 2
    answer = fast_desk.http.delete("/v2/dlq", params={"url": f"{destination.url}/dead", "count": 1})
    assert answer.json()["deleted"] == 1
    assert "cursor" in answer.json()
    assert [ids[2]] == listed(fast_desk, url=f"{destination.url}/dead")


def test_a_retry_is_a_new_message(fast_desk, destination, dead):
    """Same content, another id; the entry is gone, and headers of the call override the options."""
    message_id = dead(body="again", headers={"X": "1", "Y": "1"}, content_type="text/x")
    letter = fast_desk.dead_letter(message_id)
    destination.answer = lambda arrival: OK
    headers = {"Upstash-Method": "PUT", "Upstash-Forward-Y": "2", "Content-Type": "application/json"}
    answer = fast_desk.http.post(f"/v2/dlq/retry/{letter.dlq_id}", headers=headers)
    assert answer.status_code == 201
    assert answer.json()["messageId"] != message_id
    arrival = destination.wait(2)[1]
    assert (arrival.method, arrival.body, arrival.message_id) == ("PUT", b"again", answer.json()["messageId"])
    assert (arrival.headers["X"], arrival.headers["Y"], arrival.headers["Content-Type"]) == ("1", "2", "text/x")
    assert arrival.retried == 0
    assert listed(fast_desk, messageId=message_id) == []
    assert fast_desk.http.post(f"/v2/dlq/retry/{letter.dlq_id}").status_code == 404
    bad = fast_desk.dead_letter(dead())
    assert fast_desk.http.post(f"/v2/dlq/retry/{bad.dlq_id}", headers={"Upstash-Retries": "x"}).status_code == 400
    assert fast_desk.sdk.dlq.get(bad.dlq_id) == bad


def test_many_can_be_retried(fast_desk, destination, dead):
    """All that a filter means, each answered; the cursor is empty at the end."""
    ids = [dead() for _ in range(3)]
    destination.answer = lambda arrival: OK
    answer = fast_desk.http.post("/v2/dlq/retry", params={"url": f"{destination.url}/dead"})
    assert answer.status_code == 201
    assert answer.json()["cursor"] == ""
    new = [entry["messageId"] for entry in answer.json()["responses"]]
    assert not set(new) & set(ids)
    until(lambda: {arrival.message_id for arrival in destination.arrivals} >= set(new))
    assert listed(fast_desk, url=f"{destination.url}/dead") == []


def test_a_retry_is_a_publication_like_any_other(serve, destination):
    """Refused while publishing is, beyond the plan's longest delay, and when the day's messages are used up; each
    time the entry stays."""
    desk = serve(time_scale=1_000, limits=replace(LIMITS["free"], messages_per_day=2))
    destination.fail(1)
    letter = desk.dead_letter(desk.sdk.message.publish(url=destination.url, retries=0).message_id)
    retry = f"/v2/dlq/retry/{letter.dlq_id}"
    desk.server.refuse_publishes(503)
    assert [desk.http.post(path).status_code for path in (retry, "/v2/dlq/retry")] == [503, 503]
    desk.server.refuse_publishes(None)
    late = {"Upstash-Not-Before": str(int(time.time()) + 400 * 86_400)}
    assert "maxDelay" in desk.http.post(retry, headers=late).json()["error"]
    desk.sdk.message.publish(url=destination.url)
    assert desk.http.post(retry).status_code == 429
    assert desk.sdk.dlq.get(letter.dlq_id).message_id == letter.message_id


def test_a_retry_that_repeats_another_message_leaves_its_entry(fast_desk, destination, dead):
    """Nothing was sent for it, and the answer says so; options may stand in the query as well."""
    letter = fast_desk.dead_letter(dead("/dead/repeated"))
    first = fast_desk.sdk.message.publish(url=destination.url, deduplication_id=letter.dlq_id).message_id
    query = {"Upstash-Deduplication-Id": letter.dlq_id}
    answer = fast_desk.http.post(f"/v2/dlq/retry/{letter.dlq_id}", params=query)
    assert answer.json() == {"messageId": first, "deduplicated": True}
    chosen = query | {"label": letter.dlq_id}
    assert fast_desk.http.post("/v2/dlq/retry", params=chosen).json()["responses"] == []
    assert fast_desk.sdk.dlq.get(letter.dlq_id).message_id == letter.message_id
