"""The official Python SDK against this server: every public method of its clients, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from qstash import AsyncQStash, QStash, Receiver
from qstash.errors import QStashError, SignatureError
from qstash.log import LogState

from infra.local.qstash import QStashServer
from tests.integration.qstash.conftest import Desk, connect, until

CALLED: dict[str, set[str]] = {"synchronous": set(), "asynchronous": set()}


class Recorded:
    """A part of a client: its calls are noted, and run to their end where they are coroutines."""

    def __init__(self, part: Any, name: str, note: Callable[[str], None], wait: Callable[[Any], Any]) -> None:
        self._part = part
        self._name = name
        self._note = note
        self._wait = wait

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        path = f"{self._name}.{name}" if self._name else name
        if not callable(found):
            return Recorded(found, path, self._note, self._wait)

        def call(*arguments: Any, **options: Any) -> Any:
            self._note(path)
            return self._wait(found(*arguments, **options))

        return call


@pytest.fixture(scope="module")
def server() -> Iterator[Desk]:
    """A server of this module's own, in which time can be passed."""
    desk = connect(QStashServer())
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever)
    thread.start()
    yield running
    running.call_soon_threadsafe(running.stop)
    thread.join()
    running.close()


@pytest.fixture(scope="module", params=["synchronous", "asynchronous"])
def sdk(request: pytest.FixtureRequest, server: Desk, loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    """The client, called in the same way whichever it is."""
    note = CALLED[request.param].add
    if request.param == "synchronous":
        client = QStash(server.server.token, base_url=server.server.url)
        yield Recorded(client, "", note, lambda value: value)
        client.http._client.close()
        return

    def wait(value: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(value, loop).result(30)

    asynchronous = AsyncQStash(server.server.token, base_url=server.server.url)
    yield Recorded(asynchronous, "", note, wait)
    wait(asynchronous.http._client.aclose())


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """For queues and the like, of this test alone."""
    return f"{request.node.originalname}-{request.node.callspec.id}".replace("_", "-")


OPTIONS: dict[str, Any] = {
    "headers": {"Kind": "test"},
    "method": "PUT",
    "retries": 2,
    "retry_delay": "1000 * retried",
    "callback": "http://127.0.0.1:9/callback",
    "failure_callback": "http://127.0.0.1:9/failure",
    "callback_headers": {"A": "1"},
    "failure_callback_headers": {"B": "2"},
    "timeout": "30s",
    "label": "one,two",
    "redact": {"header": ["Kind"]},
}
"""What publish, enqueue, batch and schedules have in common."""


def assert_options(message: Any) -> None:
    assert (message.method, message.max_retries, message.retry_delay_expression) == ("PUT", 2, "1000 * retried")
    assert (message.callback, message.failure_callback) == (OPTIONS["callback"], OPTIONS["failure_callback"])
    assert message.label == "one"
    assert message.headers["Kind"][0].startswith("REDACTED:")


def test_publish_and_get(sdk: Any, destination: Any) -> None:
    """Each option can be read back while the message waits."""
    flow = {"key": "sdk", "parallelism": 2, "rate": 3, "period": "1m"}
    message_id = sdk.message.publish(
        url=destination.url, body="hello", content_type="text/plain", delay="1h", flow_control=flow, **OPTIONS
    ).message_id
    message = sdk.message.get(message_id)
    assert_options(message)
    assert (message.body, message.url) == ("hello", destination.url)
    assert (message.flow_control.parallelism, message.flow_control.rate, message.flow_control.period) == (2, 3, 60)
    assert message.not_before - message.created_at == 3_600_000
    sdk.message.cancel(message_id)
    with pytest.raises(QStashError, match="404"):
        sdk.message.get(message_id)


def test_publish_json_at_a_time(sdk: Any, destination: Any, name: str) -> None:
    """The body arrives as JSON, no earlier than asked for; a repeat is recognised by id or by content."""
    soon = int(time.time()) + 3_600
    first = sdk.message.publish_json(url=destination.url, body={"a": 1}, not_before=soon, deduplication_id=name)
    again = sdk.message.publish_json(url=destination.url, body={"a": 2}, deduplication_id=name)
    assert (again.message_id, again.deduplicated) == (first.message_id, True)
    assert sdk.message.get(first.message_id).not_before == soon * 1_000
    twice = [
        sdk.message.publish_json(
            url=destination.url, body={"same": name}, delay=3_600, content_based_deduplication=True
        )
        for _ in range(2)
    ]
    assert twice[0].message_id == twice[1].message_id
    assert sdk.message.cancel_many([first.message_id, twice[0].message_id]) == 2
    sdk.message.publish_json(url=destination.url, body={"now": "yes"})
    (arrival,) = destination.wait()
    assert (json.loads(arrival.body), arrival.headers["Content-Type"]) == ({"now": "yes"}, "application/json")


def test_enqueue(sdk: Any, destination: Any, name: str) -> None:
    """In order, on a queue that is made by the first message."""
    ids = [
        sdk.message.enqueue(queue=name, url=f"{destination.url}/0", body="x", content_type="text/plain").message_id,
        sdk.message.enqueue_json(queue=name, url=f"{destination.url}/1", body={"n": 1}).message_id,
    ]
    assert [arrival.message_id for arrival in destination.wait(2)] == ids
    sdk.queue.upsert(name, paused=True)
    message_id = sdk.message.enqueue(queue=name, url=destination.url, **OPTIONS).message_id
    assert_options(sdk.message.get(message_id))
    until(lambda: sdk.queue.get(name).lag == 1)
    sdk.message.cancel(message_id)


def test_batch(sdk: Any, destination: Any, name: str) -> None:
    """Text and JSON, on a queue or not."""
    answers = [
        *sdk.message.batch(
            [{"url": f"{destination.url}/a", "body": "a"}, {"url": f"{destination.url}/b", "queue": name}]
        ),
        *sdk.message.batch_json([{"url": f"{destination.url}/c", "body": {"c": 1}}]),
    ]
    arrived = {arrival.message_id: arrival.target for arrival in destination.wait(3)}
    assert [arrived[answer.message_id] for answer in answers] == ["/a", "/b", "/c"]
    (delayed,) = sdk.message.batch([{"url": destination.url, "delay": "1h", **OPTIONS}])
    assert_options(sdk.message.get(delayed.message_id))
    assert sdk.message.cancel_all() >= 1


def test_queues(sdk: Any, name: str) -> None:
    """Made, changed, listed, paused, deleted."""
    sdk.queue.upsert(name, parallelism=3)
    queue = sdk.queue.get(name)
    assert (queue.name, queue.parallelism, queue.paused, queue.lag) == (name, 3, False, 0)
    sdk.queue.pause(name)
    assert sdk.queue.get(name).paused
    sdk.queue.resume(name)
    assert not sdk.queue.get(name).paused
    assert name in [each.name for each in sdk.queue.list()]
    sdk.queue.delete(name)
    with pytest.raises(QStashError, match="404"):
        sdk.queue.get(name)


def test_schedules(sdk: Any, destination: Any, name: str) -> None:
    """Each option can be read back; pausing, resuming, deleting."""
    options = {**OPTIONS, "delay": "5s", "queue": name, "flow_control": {"key": "sdk", "rate": 1}}
    schedule_id = sdk.schedule.create(
        destination=destination.url, cron="CRON_TZ=Europe/Berlin 0 3 * * *", schedule_id=name, body="x", **options
    )
    assert schedule_id == name
    schedule = sdk.schedule.get(name)
    assert (schedule.cron, schedule.method, schedule.retries) == ("CRON_TZ=Europe/Berlin 0 3 * * *", "PUT", 2)
    assert (schedule.body, schedule.delay, schedule.timeout, schedule.queue) == ("x", 5, 30, name)
    assert (schedule.label, schedule.retry_delay_expression, schedule.flow_control.rate) == ("one", "1000 * retried", 1)
    assert (schedule.callback, schedule.failure_callback) == (OPTIONS["callback"], OPTIONS["failure_callback"])
    sdk.schedule.pause(name)
    assert sdk.schedule.get(name).paused
    sdk.schedule.resume(name)
    assert not sdk.schedule.get(name).paused
    other = sdk.schedule.create_json(destination=destination.url, cron="0 4 * * *", body={"a": 1})
    assert json.loads(sdk.schedule.get(other).body) == {"a": 1}
    assert {name, other} <= {each.schedule_id for each in sdk.schedule.list()}
    for each in (name, other):
        sdk.schedule.delete(each)
    with pytest.raises(QStashError, match="404"):
        sdk.schedule.delete(name)
    with pytest.raises(QStashError, match="Upstash-Cron"):
        sdk.schedule.create(destination=destination.url, cron="now and then")


def test_url_groups(sdk: Any, destination: Any, name: str) -> None:
    """Endpoints are added and removed; each gets a published, an enqueued and a batched message."""
    sdk.url_group.upsert_endpoints(
        name, [{"url": f"{destination.url}/a", "name": "a"}, {"url": f"{destination.url}/b"}]
    )
    assert [endpoint.name for endpoint in sdk.url_group.get(name).endpoints] == ["a", None]
    assert name in [group.name for group in sdk.url_group.list()]
    published = sdk.message.publish(url_group=name, body="x")
    enqueued = sdk.message.enqueue(queue=name, url_group=name)
    (batched,) = sdk.message.batch([{"url_group": name}])
    for responses in (published, enqueued, batched):
        assert [response.url for response in responses] == [f"{destination.url}/a", f"{destination.url}/b"]
    destination.wait(6)
    sdk.url_group.remove_endpoints(name, [{"name": "a"}])
    assert [endpoint.url for endpoint in sdk.url_group.get(name).endpoints] == [f"{destination.url}/b"]
    sdk.url_group.delete(name)
    with pytest.raises(QStashError, match="404"):
        sdk.url_group.get(name)


def test_dead_letters(sdk: Any, server: Desk, destination: Any) -> None:
    """Every filter finds its message, pages follow each other, and entries are deleted one by one or together."""
    destination.fail(99, status=418, body=b"teapot")
    published = [
        sdk.message.publish(url=f"{destination.url}/{n}", retries=0, label=f"dead-{n}").message_id for n in range(4)
    ]
    letters = [server.dead_letter(message_id) for message_id in published]
    first = sdk.dlq.get(letters[0].dlq_id)
    assert (first.message_id, first.response_status, first.response_body) == (published[0], 418, "teapot")
    now = int(time.time() * 1_000)
    for chosen in (
        {"message_id": published[0]},
        {"url": f"{destination.url}/0"},
        {
            "label": "dead-0",
            "response_status": 418,
            "caller_ip": "127.0.0.1",
            "from_time": now - 60_000,
            "to_time": now,
        },
    ):
        assert [letter.message_id for letter in sdk.dlq.list(filter=chosen).messages] == [published[0]]
    for none in ({"url_group": "none"}, {"queue": "none"}, {"schedule_id": "none"}):
        assert sdk.dlq.list(filter=none).messages == []
    ours = {"response_status": 418}
    page = sdk.dlq.list(count=2, filter=ours)
    rest = sdk.dlq.list(count=2, filter=ours, cursor=page.cursor)
    assert sorted(letter.message_id for letter in page.messages + rest.messages) == sorted(published)
    sdk.dlq.delete(letters[0].dlq_id)
    assert sdk.dlq.delete_many([letter.dlq_id for letter in letters[1:]]) == 3
    with pytest.raises(QStashError, match="404"):
        sdk.dlq.get(letters[0].dlq_id)


def test_logs(sdk: Any, server: Desk, destination: Any, name: str) -> None:
    """Every filter, and pages."""
    message_id = sdk.message.enqueue(queue=name, url=f"{destination.url}/{name}", label=name).message_id
    server.until_state(message_id, "DELIVERED")
    now = int(time.time() * 1_000)
    for chosen in (
        {"message_id": message_id},
        {"message_ids": [message_id]},
        {"url": f"{destination.url}/{name}"},
        {"queue": name},
        {"label": name, "from_time": now - 60_000, "to_time": now + 1_000},
    ):
        states = [log.state for log in sdk.log.list(filter=chosen).logs]
        assert states == [LogState.DELIVERED, LogState.ACTIVE, LogState.CREATED]
    assert [log.state for log in sdk.log.list(filter={"queue": name, "state": LogState.CREATED}).logs] == [
        LogState.CREATED
    ]
    for none in ({"url_group": "none"}, {"schedule_id": "none"}):
        assert sdk.log.list(filter=none).logs == []
    page = sdk.log.list(filter={"queue": name}, count=2)
    rest = sdk.log.list(filter={"queue": name}, count=2, cursor=page.cursor)
    assert (len(page.logs), len(rest.logs), rest.cursor) == (2, 1, None)


def test_flow_control(sdk: Any, destination: Any, name: str) -> None:
    """A key is paused, pinned, reset and let go."""
    sdk.flow_control.pause(name)
    sdk.flow_control.pin(name, {"parallelism": 2, "rate": 5, "period": 60})
    sdk.message.publish(url=destination.url, flow_control={"key": name, "parallelism": 9})
    key = sdk.flow_control.get(name)
    assert (key.is_paused, key.wait_list_size, key.parallelism_max, key.rate_max) == (True, 1, 2, 5)
    sdk.flow_control.resume(name)
    destination.wait()
    sdk.flow_control.reset_rate(name)
    sdk.flow_control.unpin(name, {"parallelism": True, "rate": True})
    key = sdk.flow_control.get(name)
    assert (key.rate_count, key.is_pinned_parallelism, key.is_pinned_rate) == (0, False, False)
    assert sdk.flow_control.get_global_parallelism().parallelism_max == 100


def test_signing_keys_and_the_receiver(sdk: Any, destination: Any) -> None:
    """A delivery verifies with the keys that the server names, before and after they rotate, and no other way."""
    for _ in range(2):
        keys = sdk.signing_key.get()
        sdk.message.publish(url=destination.url, body="signed")
        arrival = until(lambda: destination.arrivals and destination.arrivals.pop())
        receiver = Receiver(keys.current, keys.next)
        signed = {"signature": arrival.headers["Upstash-Signature"], "body": "signed", "url": destination.url}
        receiver.verify(**signed)
        for wrong in ({"body": "other"}, {"url": "http://127.0.0.1:1"}):
            with pytest.raises(SignatureError):
                receiver.verify(**{**signed, **wrong})
        assert sdk.signing_key.rotate().current == keys.next


@pytest.mark.parametrize(("kind", "client"), [("synchronous", QStash), ("asynchronous", AsyncQStash)])
def test_every_method_was_called(kind: str, client: type[Any]) -> None:
    """What a new version of the SDK adds is missed here. Left out: the chat of language models, which is not QStash."""
    parts = {name: part for name, part in vars(client("token")).items() if name != "http"}
    offered = {
        f"{name}.{method}"
        for name, part in parts.items()
        for method, _ in inspect.getmembers(part, inspect.ismethod)
        if not method.startswith("_")
    }
    assert {path for path in offered if not path.startswith("chat.")} - CALLED[kind] == set()
