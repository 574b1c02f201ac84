"""Flow-control keys as people steer them: pause, pin, reset; and the parallelism of the plan."""

from __future__ import annotations

import threading

import pytest

from infra.local.qstash import LIMITS, QStashServer
from tests.integration.qstash.conftest import OK, connect, until


def publish(desk, url, key, **limits):
    return desk.sdk.message.publish(url=url, flow_control={"key": key, **limits}).message_id


def test_a_key_shows_its_limits_and_what_waits(desk, destination):
    """While one attempt is out the others are on the wait list; a rate shows its period."""
    release = threading.Event()
    destination.answer = lambda arrival: (release.wait(20), OK)[1]
    ids = [publish(desk, destination.url, "shown", parallelism=1, rate=10, period=60) for _ in range(3)]
    destination.wait(1)
    key = desk.sdk.flow_control.get("shown")
    assert (key.parallelism_max, key.parallelism_count, key.wait_list_size) == (1, 1, 2)
    assert (key.rate_max, key.rate_count, key.rate_period) == (10, 1, 60)
    assert abs(key.rate_period_start - destination.arrivals[0].wall) < 5
    assert (key.is_paused, key.is_pinned_parallelism, key.is_pinned_rate) == (False, False, False)
    release.set()
    for message_id in ids:
        desk.until_state(message_id, "DELIVERED")
    key = desk.sdk.flow_control.get("shown")
    assert (key.parallelism_count, key.wait_list_size, key.rate_count) == (0, 0, 3)


def test_keys_can_be_listed_and_searched(desk, destination):
    """By a part of their name; an unknown one is 404."""
    for key in ("search-one", "search-two", "other"):
        publish(desk, destination.url, key, parallelism=1)
    found = desk.http.get("/v2/flowControl", params={"search": "search-"}).json()
    assert [key["flowControlKey"] for key in found] == ["search-one", "search-two"]
    assert {key["flowControlKey"] for key in desk.http.get("/v2/flowControl").json()} >= {"other", "search-one"}
    assert desk.http.get("/v2/flowControl/unheard-of").status_code == 404


def test_a_paused_key_lets_nothing_out(desk, destination):
    """New messages go straight to the wait list, and out when it is resumed."""
    desk.sdk.flow_control.pause("paused")
    publish(desk, f"{destination.url}/held", "paused", parallelism=5)
    marker = desk.sdk.message.publish(url=f"{destination.url}/marker").message_id
    desk.until_state(marker, "DELIVERED")
    key = desk.sdk.flow_control.get("paused")
    assert (key.is_paused, key.wait_list_size) == (True, 1)
    assert destination.below("/held") == []
    desk.sdk.flow_control.resume("paused")
    destination.wait(path="/held")


def test_pinned_limits_outlast_messages_that_say_otherwise(desk, destination):
    """Parallelism and rate are pinned and let go each for itself; what was pinned stays until another message comes."""
    desk.sdk.flow_control.pin("pinned", {"parallelism": 3, "rate": 7, "period": 30})
    publish(desk, destination.url, "pinned", parallelism=1, rate=1, period=1)
    key = desk.sdk.flow_control.get("pinned")
    assert (key.parallelism_max, key.rate_max, key.rate_period) == (3, 7, 30)
    assert (key.is_pinned_parallelism, key.is_pinned_rate) == (True, True)
    desk.sdk.flow_control.unpin("pinned", {"rate": True})
    key = desk.sdk.flow_control.get("pinned")
    assert (key.rate_max, key.is_pinned_parallelism, key.is_pinned_rate) == (7, True, False)
    publish(desk, destination.url, "pinned", parallelism=1, rate=2, period=4)
    key = desk.sdk.flow_control.get("pinned")
    assert (key.parallelism_max, key.rate_max, key.rate_period) == (3, 2, 4)


@pytest.mark.parametrize("path", ["resetRate", "reset"])
def test_a_new_period_can_begin_at_once(serve, destination, path):
    """What waited for the next period goes."""
    desk = serve()
    for _ in range(4):
        publish(desk, destination.url, "reset", rate=2, period=86_400)
    destination.wait(2)
    until(lambda: desk.sdk.flow_control.get("reset").wait_list_size == 2)
    assert desk.http.post(f"/v2/flowControl/reset/{path}").status_code == 200
    destination.wait(4)
    assert desk.sdk.flow_control.get("reset").rate_count == 2


def test_a_shorter_period_does_not_wait_for_the_longer_one(serve, destination):
    """A message that shortens the period, or a pin, sets free what waited for a day."""
    desk = serve(time_scale=100)
    for _ in range(3):
        publish(desk, destination.url, "shorter", rate=1, period=86_400)
    destination.wait(1)
    desk.sdk.flow_control.pin("shorter", {"rate": 1, "period": 30})
    destination.wait(3)


@pytest.mark.parametrize(
    "call",
    ["pin", "pin?parallelism=0", "pin?rate=x", "pin?rate=1&period=0", "pin?period=5", "pin?parallelism=99999999999",
     "unpin", "unpin?rate=maybe", "unpin?parallelism=false"],
)  # fmt: skip
def test_a_wrong_value_is_refused(desk, call):
    """And no key is made of it."""
    answer = desk.http.post(f"/v2/flowControl/never/{call}")
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert desk.http.get("/v2/flowControl/never").status_code == 404


def test_the_parallelism_of_the_plan_can_be_read(serve, destination):
    """How many attempts are out, and how many may be."""
    desk = serve(limits=LIMITS["free"])
    release = threading.Event()
    destination.answer = lambda arrival: (release.wait(20), OK)[1]
    for _ in range(2):
        desk.sdk.message.publish(url=destination.url)
    destination.wait(2)
    info = desk.sdk.flow_control.get_global_parallelism()
    assert (info.parallelism_max, info.parallelism_count) == (10, 2)
    release.set()


def test_pauses_and_pins_survive_a_restart(tmp_path, destination):
    """What waits keeps waiting, and limits stay."""
    desk = connect(QStashServer(database=tmp_path / "q.db"))
    desk.sdk.flow_control.pause("kept")
    desk.sdk.flow_control.pin("kept", {"parallelism": 2})
    publish(desk, destination.url, "kept", parallelism=9)
    desk.close()
    desk = connect(QStashServer(database=tmp_path / "q.db"))
    key = desk.sdk.flow_control.get("kept")
    assert (key.is_paused, key.is_pinned_parallelism, key.parallelism_max, key.wait_list_size) == (True, True, 2, 1)
    assert destination.arrivals == []
    desk.sdk.flow_control.resume("kept")
    destination.wait()
    desk.close()
