"""What must not be: every wrong request is answered with 4xx and JSON, and leaves nothing behind."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qstash import QStash
from qstash.errors import QStashError, RateLimitExceededError

ERROR = {"error"}


def assert_refused(answer, status, text=""):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json().keys() == ERROR
    assert text in answer.json()["error"]


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer x", "Basic {token}", "{token}", "Bearer {token}x"]
)
def test_a_wrong_token_is_401_everywhere(desk, destination, authorization):
    """With the recorded text, on every path, known or not."""
    headers = {} if authorization is None else {"Authorization": authorization.format(token=desk.server.token)}
    with httpx.Client(base_url=desk.server.url, headers=headers) as stranger:
        for method, path in (
            ("POST", f"/v2/publish/{destination.url}"),
            ("GET", "/v2/keys"),
            ("POST", "/admin/advance"),
            ("GET", "/x"),
        ):
            assert_refused(stranger.request(method, path), 401, "unable to authenticate: invalid token")


def test_the_sdk_shows_the_refusal(desk):
    """A client with another server's token gets the text."""
    stranger = QStash("wrong", base_url=desk.server.url)
    with pytest.raises(QStashError, match="invalid token"):
        stranger.signing_key.get()
    stranger.http._client.close()


def test_a_page_of_another_site_is_refused(desk, destination):
    """The token is well known, so a browser's request from elsewhere is not obeyed; one from this machine is."""
    for origin, status in (
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://localhost:3000", 200),
    ):
        assert desk.publish(destination.url, Origin=origin).status_code == status
    assert len(destination.wait()) == 1


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:1234", 200),
        ("localhost:8080", 200),
        ("LOCALHOST", 200),
        ("[::1]:8080", 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("192.168.0.2", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_another_name_is_refused(desk, host, status):
    """Under it not this server is meant, but a page whose name was made to point here."""
    answer = desk.http.get("/v2/keys", headers={"Host": host})
    if status == 200:
        assert answer.status_code == 200
    else:
        assert_refused(answer, status, "127.0.0.1")


@pytest.mark.parametrize(
    ("header", "value", "text"),
    [
        ("Upstash_Method", "BREW", "Upstash-Method"),
        ("Upstash_Delay", "soon", "Upstash-Delay"),
        ("Upstash_Delay", "10", "Upstash-Delay"),
        ("Upstash_Delay", "-5s", "Upstash-Delay"),
        ("Upstash_Delay", "9" * 60 + "d", "Upstash-Delay"),
        ("Upstash_Not_Before", "1.5", "Upstash-Not-Before"),
        ("Upstash_Not_Before", "9" * 40, "Upstash-Not-Before"),
        ("Upstash_Retries", "-1", "Upstash-Retries"),
        ("Upstash_Retries", "three", "Upstash-Retries"),
        ("Upstash_Retries", "9" * 5_000, "Upstash-Retries"),
        ("Upstash_Retry_Delay", "__import__('os')", "Upstash-Retry-Delay"),
        ("Upstash_Retry_Delay", "(" * 400, "Upstash-Retry-Delay"),
        ("Upstash_Retry_Delay", "1" * 600, "Upstash-Retry-Delay"),
        ("Upstash_Timeout", "0s", "Upstash-Timeout"),
        ("Upstash_Timeout", "x", "Upstash-Timeout"),
        ("Upstash_Deduplication_Id", "a:b", "DeduplicationId cannot contain ':'"),
        ("Upstash_Deduplication_Id", "", "Upstash-Deduplication-Id"),
        ("Upstash_Content_Based_Deduplication", "maybe", "Upstash-Content-Based-Deduplication"),
        ("Upstash_Flow_Control_Key", "k", "either rate=X or parallelism=Y"),
        ("Upstash_Flow_Control_Value", "parallelism=1", "Upstash-Flow-Control-Key"),
        ("Upstash_Label", "x" * 2_000, "Upstash-Label"),
        ("Upstash_Header_Forward", "perhaps", "Upstash-Header-Forward"),
        ("Upstash_Cron", "whenever", "Upstash-Cron"),
    ],
)  # fmt: skip
def test_a_wrong_header_is_named(desk, destination, header, value, text):
    """The text says which header; nothing is stored or sent."""
    assert_refused(desk.publish(destination.url, **{header: value}), 400, text)
    assert desk.http.get("/v2/events", params={"url": destination.url}).json() == {"events": []}


@pytest.mark.parametrize(
    "value", ["", "parallelism=0", "parallelism=x", "rate=-1", "period=5", "parallelism=1,parallelism=2", "rate=1,period=8d",
              "rate=1,period=0", "rate=1,burst=2", "parallelism=" + "9" * 30, ",", "="]
)  # fmt: skip
def test_a_wrong_flow_control_value_is_refused(desk, destination, value):
    """Out of range, unknown, repeated or incomplete."""
    headers = {"Upstash_Flow_Control_Key": "k", "Upstash_Flow_Control_Value": value}
    assert_refused(desk.publish(destination.url, **headers), 400, "Upstash-Flow-Control-Value")


@pytest.mark.parametrize(
    "url", ["", "group", "ftp://localhost/x", "http://", "http:///x", "http://[::1/x", "http://localhost:99999/", "https%3A%2F%2Flocalhost",
            "http://127.0.0.1.example.com/", "http://10.0.0.1/", "http://user@example.com:1/@127.0.0.1", "http://localhost@example.com/"]
)  # fmt: skip
def test_a_wrong_destination_is_refused(desk, url):
    """Without a scheme or host, malformed, or on another machine."""
    (entry,) = desk.http.post("/v2/batch", json=[{"destination": url}]).json()
    assert entry.keys() == ERROR
    assert "invalid destination url" in entry["error"]


def test_half_a_character_is_refused(desk):
    """JSON can express what no encoding can: such an entry is refused, and the answer is still JSON."""
    entry = r'{"destination": "http://localhost/", "body": "\ud800"}'
    header = r'{"destination": "http://localhost/", "headers": {"\ud800": "x"}}'
    answer = desk.http.post("/v2/batch", content=f"[{entry}, {header}]")
    assert answer.status_code == 200
    assert [refusal.keys() for refusal in answer.json()] == [ERROR, ERROR]


def test_unknown_ids_and_routes_are_404_and_405(desk):
    """With JSON, like everything."""
    for method, path in (
        ("GET", "/v2/messages/msg_x"), ("DELETE", "/v2/messages/msg_x"), ("GET", "/v2/dlq/1-1"), ("DELETE", "/v2/dlq/1-1"),
        ("POST", "/v2/dlq/retry/1-1"), ("GET", "/v2/schedules/x"), ("DELETE", "/v2/schedules/x"), ("PATCH", "/v2/schedules/x/pause"),
        ("POST", "/v2/schedules/x/resume"), ("GET", "/v2/queues/x"), ("POST", "/v2/queues/x/pause"), ("GET", "/v2/nothing"),
        ("GET", "/nothing"), ("GET", "/v2/messages/%00%ff"),
    ):  # fmt: skip
        assert_refused(desk.http.request(method, path), 404)
    for method, path in (("GET", "/v2/batch"), ("PUT", "/v2/keys"), ("DELETE", "/v2/events")):
        assert_refused(desk.http.request(method, path), 405)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/batch", b"{"),
        ("POST", "/v2/batch", b"{}"),
        ("POST", "/v2/batch", b"\xff\xfe"),
        ("POST", "/v2/batch", b"[" * 100_000),
        ("POST", "/v2/queues", b"[]"),
        ("POST", "/v2/queues", b'{"parallelism": 1}'),
        ("POST", "/v2/queues", b'{"queueName": "a b"}'),
        ("POST", "/v2/queues", b'{"queueName": "a", "parallelism": 0}'),
        ("POST", "/v2/queues", b'{"queueName": "a", "parallelism": true}'),
        ("POST", "/v2/queues", b'{"queueName": "a", "paused": 1}'),
        ("DELETE", "/v2/messages", b"nonsense"),
        ("DELETE", "/v2/messages", b'{"messageIds": {"a": 1}}'),
        ("DELETE", "/v2/messages", b'{"messageIdz": ["a"]}'),
        ("DELETE", "/v2/messages", b'{"messageIds": ["\\ud800"]}'),
        ("DELETE", "/v2/messages", b'{"\\ud800": ["x"]}'),
        ("POST", "/admin/faults", b'{"\\udfff": 1}'),
        ("DELETE", "/v2/dlq", b'{"dlqIds": [[1]]}'),
        ("POST", "/admin/faults", b'{"refusePublishes": 200}'),
        ("POST", "/admin/faults", b'{"duplicateDeliveries": 2}'),
        ("POST", "/admin/faults", b'{"seed": "x"}'),
        ("POST", "/admin/faults", b'{"surprise": 1}'),
    ],
)  # fmt: skip
def test_a_wrong_body_is_400(desk, method, path, body):
    """Malformed JSON, another shape, an unknown name."""
    assert_refused(desk.http.request(method, path, content=body), 400)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v2/events", {"count": 0}), ("/v2/events", {"count": "9" * 30}), ("/v2/events", {"cursor": "x"}), ("/v2/events", {"state": "LOST"}),
        ("/v2/events", {"fromDate": "yesterday"}), ("/v2/dlq", {"count": 101}), ("/v2/dlq", {"count": "-1"}), ("/v2/dlq", {"toDate": "1e9"}),
        ("/v2/dlq", {"responseStatus": "ok"}), ("/v2/dlq", {"messageId": ",".join("x" * 2_000)}), ("/v2/logs", {"labeel": "x"}),
    ],
)  # fmt: skip
def test_a_wrong_filter_is_400(desk, path, parameters):
    """Absurd counts, foreign cursors, unknown states and names, things that are no numbers."""
    assert_refused(desk.http.get(path, params=parameters), 400)


def test_a_wrong_advance_is_400(desk):
    """Time goes forward only, and not for ever."""
    for seconds in ("", "x", "-1", "nan", "inf", "1e300"):
        assert_refused(desk.http.post("/admin/advance", params={"seconds": seconds}), 400, "seconds")


def test_an_oversize_body_is_refused_before_it_is_read(serve):
    """A declared size is enough; one that was not declared is cut off."""
    desk = serve()
    host, port = desk.server.url.removeprefix("http://").split(":")
    head = f"POST /v2/publish/http://localhost/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {desk.server.token}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: 99999999999\r\n\r\n".encode())
        answer = b""
        while b"}" not in answer:
            answer += connection.recv(4_096)
    assert b"quota maxMessageSize exceeded" in answer

    def parts():
        for _ in range(200):
            yield b"x" * 65_536

    assert_refused(desk.http.post("/v2/publish/http://localhost/x", content=parts()), 412, "maxMessageSize")


def test_a_caller_who_hangs_up_leaves_nothing(desk, destination):
    """A body that never arrives in full is not published."""
    host, port = desk.server.url.removeprefix("http://").split(":")
    head = f"POST /v2/publish/{destination.url} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {desk.server.token}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: 10\r\n\r\nhalf".encode())
    desk.publish(f"{destination.url}/marker")
    assert [arrival.target for arrival in destination.wait()] == ["/marker"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "destination": st.sampled_from(["http://127.0.0.1:9/x", "group"]) | st.text() | JSON,
        "headers": st.dictionaries(
            st.sampled_from(
                ["Upstash-Delay", "Upstash-Method", "Upstash-Label", "Upstash-Forward-", "Upstash-Callback", "\n"]
            )
            | st.text(),
            st.sampled_from(["1h", "", "\r\n", "http://localhost/"]) | st.text() | JSON,
            max_size=3,
        )
        | JSON,
        "body": JSON,
        "queue": st.none() | st.text() | JSON,
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(ENTRY | JSON, max_size=4) | JSON)
def test_no_batch_is_a_server_error(desk, entries):
    """Whatever JSON is sent, the answer is a receipt or a reason for each entry."""
    answer = desk.http.post("/v2/batch", content=json.dumps(entries))
    if not isinstance(entries, list):
        assert_refused(answer, 400)
        return
    assert answer.status_code == 200
    assert len(answer.json()) == len(entries)
    for entry in answer.json():
        assert entry.keys() in ({"messageId"}, {"messageId", "deduplicated"}, ERROR)


def test_publishing_can_be_made_to_fail(serve, destination):
    """429 or 5xx on demand, as an SDK sees it, until it is switched off; nothing is taken meanwhile."""
    desk = serve()
    desk.server.refuse_publishes(429)
    with pytest.raises(RateLimitExceededError):
        desk.sdk.message.publish(url=destination.url)
    desk.server.refuse_publishes(503)
    for answer in (
        desk.publish(destination.url),
        desk.http.post(f"/v2/enqueue/q/{destination.url}"),
        desk.http.post("/v2/batch", json=[]),
        desk.http.post(f"/v2/schedules/{destination.url}", headers={"Upstash-Cron": "* * * * *"}),
    ):
        assert_refused(answer, 503)
    desk.server.refuse_publishes(None)
    message_id = desk.sdk.message.publish(url=destination.url).message_id
    assert [message_id] == [arrival.message_id for arrival in destination.wait()]


def test_deliveries_can_be_doubled(serve, destination):
    """The same attempt arrives twice at once, with one outcome; a seed makes the choice repeatable."""
    desk = serve()
    desk.server.duplicate_deliveries()
    message_id = desk.sdk.message.publish(url=destination.url).message_id
    arrivals = destination.wait(2)
    assert {message_id} == {arrival.message_id for arrival in arrivals}
    assert [arrival.retried for arrival in arrivals] == [0, 0]
    desk.until_state(message_id, "DELIVERED")
    assert desk.states(message_id) == ["CREATED", "ACTIVE", "DELIVERED"]

    def doubled():
        desk.server.duplicate_deliveries(0.5, seed=7)
        ids = [desk.sdk.message.publish(url=destination.url).message_id for _ in range(12)]
        for each in ids:
            desk.until_state(each, "DELIVERED")
        return [sum(arrival.message_id == each for arrival in destination.arrivals) for each in ids]

    first = doubled()
    assert first == doubled()
    assert {1, 2} == set(first)


def test_deliveries_can_be_dropped(serve, destination):
    """The attempt does not arrive, and is retried as after a broken connection."""
    desk = serve(time_scale=1_000)
    desk.server.drop_deliveries()
    message_id = desk.sdk.message.publish(url=destination.url).message_id
    desk.until_state(message_id, "RETRY")
    assert destination.arrivals == []
    desk.server.drop_deliveries(0)
    desk.until_state(message_id, "DELIVERED")
    (error,) = {event["error"] for event in desk.events(message_id) if event["state"] == "ERROR"}
    assert error == "the server was told to drop this attempt"


def test_deliveries_can_be_held_back(serve, destination):
    """By so much real time, whatever the time scale."""
    desk = serve(time_scale=1_000)
    desk.server.delay_deliveries(seconds=0.3)
    published = time.monotonic()
    desk.sdk.message.publish(url=destination.url)
    assert destination.wait()[0].time - published >= 0.3


def test_deliveries_can_overtake_each_other(serve, destination):
    """About half of them wait for the one after; all arrive, and the same seed gives the same order."""
    desk = serve()

    def order():
        before = len(destination.arrivals)
        desk.server.reorder_deliveries(0.5, seed=3)
        entries = [{"destination": f"{destination.url}/{n}", "queue": None} for n in range(8)]
        desk.http.post("/v2/batch", json=entries)
        return [int(arrival.target[1:]) for arrival in destination.wait(before + 8)[before:]]

    first = order()
    assert first != sorted(first)
    assert sorted(first) == list(range(8))


def test_some_publishes_can_be_refused(desk, destination):
    """A share of them, the same ones again with the same seed."""

    def refused():
        faults = {"refusePublishes": 503, "refusePublishesShare": 0.5, "seed": 5}
        desk.http.post("/admin/faults", json=faults).raise_for_status()
        return [desk.publish(destination.url).status_code for _ in range(20)]

    try:
        first = refused()
        assert set(first) == {200, 503}
        assert refused() == first
    finally:
        desk.http.post("/admin/faults", json={})


@pytest.mark.parametrize(
    "body",
    [{"unheardOf": 1}, {"dropDeliveries": 2}, {"dropDeliveries": True}, {"delaySeconds": -1}, {"delaySeconds": 1e9},
     {"refusePublishes": 200}, {"seed": "x"}],
)  # fmt: skip
def test_a_wrong_fault_is_refused(desk, body):
    """And what was set before stays."""
    before = desk.http.get("/admin/faults").json()
    assert_refused(desk.http.post("/admin/faults", json=body), 400)
    assert desk.http.get("/admin/faults").json() == before
