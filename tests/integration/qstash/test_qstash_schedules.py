"""Schedules: messages by cron."""

from __future__ import annotations

import itertools
import time

import pytest
from qstash.errors import QStashError
from qstash.schedule import ScheduleState

from tests.integration.qstash.conftest import until


def test_a_schedule_fires_at_each_of_its_times(serve, destination):
    """Every minute of a sped-up clock a message of its own, with the schedule's id and content."""
    desk = serve(time_scale=600)
    schedule_id = desk.sdk.schedule.create_json(
        destination=f"{destination.url}/tick", cron="* * * * *", body={"a": 1}, headers={"X": "1"}, retries=1, label="l"
    )
    arrivals = destination.wait(3)
    assert len({arrival.message_id for arrival in arrivals}) == len(arrivals)
    for arrival in arrivals:
        assert (arrival.headers["Upstash-Schedule-Id"], arrival.body, arrival.headers["X"]) == (
            schedule_id,
            b'{"a": 1}',
            "1",
        )
    gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(arrivals)]
    assert sum(gaps) >= 0.1
    schedule = desk.sdk.schedule.get(schedule_id)
    assert schedule.last_schedule_time % 60_000 == 0
    assert schedule.next_schedule_time - schedule.last_schedule_time == 60_000
    desk.sdk.schedule.delete(schedule_id)
    with pytest.raises(QStashError, match="404"):
        desk.sdk.schedule.get(schedule_id)
    count = len(destination.arrivals)
    desk.server.advance(600)
    desk.sdk.message.publish(url=f"{destination.url}/marker")
    destination.wait(path="/marker")
    assert len(destination.below("/tick")) <= count + 1


def test_time_that_is_passed_by_fires_each_time(desk, destination):
    """Advancing a day fires an hourly schedule 24 times."""
    schedule_id = desk.sdk.schedule.create(destination=destination.url, cron="0 * * * *")
    desk.server.advance(86_400)
    destination.wait(24)
    desk.sdk.schedule.delete(schedule_id)
    assert len(destination.arrivals) in (24, 25)


def test_an_id_makes_a_schedule_replaceable_as_a_whole(desk, destination):
    """Creating with the same id replaces everything: nothing of the old one stays."""
    create = desk.sdk.schedule.create
    for _ in range(2):
        assert (
            create(
                destination=destination.url,
                cron="*/10 * * * *",
                body="old",
                schedule_id="my.own_id-1",
                delay=10,
                timeout=5,
            )
            == "my.own_id-1"
        )
    old = desk.sdk.schedule.get("my.own_id-1")
    assert (old.cron, old.body, old.delay, old.timeout, old.paused) == ("*/10 * * * *", "old", 10, 5, False)
    create(destination=f"{destination.url}/new", cron="5 4 * * 0", schedule_id="my.own_id-1", queue="q", method="GET")
    new = desk.sdk.schedule.get("my.own_id-1")
    assert (new.cron, new.body, new.delay, new.destination) == ("5 4 * * 0", None, None, f"{destination.url}/new")
    assert (new.queue, new.method, new.retries) == ("q", "GET", 3)
    assert [schedule.schedule_id for schedule in desk.sdk.schedule.list()].count("my.own_id-1") == 1
    desk.sdk.schedule.delete("my.own_id-1")


@pytest.mark.parametrize("verb", ["POST", "PATCH"])
def test_a_paused_schedule_skips(serve, destination, verb):
    """Times that pass while it is paused make no message, then or later. Both verbs do it."""
    desk = serve()
    schedule_id = desk.sdk.schedule.create(destination=destination.url, cron="0 * * * *")
    for _ in range(2):
        assert desk.http.request(verb, f"/v2/schedules/{schedule_id}/pause").status_code == 200
    assert desk.sdk.schedule.get(schedule_id).paused
    before = desk.sdk.schedule.get(schedule_id).next_schedule_time
    desk.server.advance(7_200)
    assert desk.sdk.schedule.get(schedule_id).next_schedule_time == before + 7_200_000
    assert desk.http.request(verb, f"/v2/schedules/{schedule_id}/resume").status_code == 200
    desk.server.advance(3_600)
    destination.wait(1)
    desk.until_state(destination.arrivals[0].message_id, "DELIVERED")
    assert len(destination.arrivals) == 1


def test_a_schedule_knows_how_its_last_message_fared(fast_desk, destination):
    """IN_PROGRESS while it is on its way, then SUCCESS or FAIL."""
    destination.fail(1)
    schedule_id = fast_desk.sdk.schedule.create(destination=destination.url, cron="0 0 1 1 *", retries=0)
    fast_desk.server.advance(366 * 86_400)
    message_id = destination.wait()[0].message_id
    fast_desk.until_state(message_id, "FAILED")
    assert fast_desk.sdk.schedule.get(schedule_id).last_schedule_states == {message_id: ScheduleState.FAIL}
    fast_desk.sdk.schedule.delete(schedule_id)


def test_a_zone_decides_the_hour(desk, destination):
    """`CRON_TZ=` places the time in its zone; without it, in UTC."""
    made = {
        zone: desk.sdk.schedule.create(destination=destination.url, cron=f"{zone}30 9 * * *")
        for zone in ("", "CRON_TZ=Asia/Kolkata ", "CRON_TZ=America/New_York ")
    }
    hours = {}
    for zone, schedule_id in made.items():
        schedule = desk.sdk.schedule.get(schedule_id)
        assert schedule.cron == f"{zone}30 9 * * *"
        hours[zone] = time.gmtime(schedule.next_schedule_time / 1_000)[3:5]
        desk.sdk.schedule.delete(schedule_id)
    assert hours[""] == (9, 30)
    assert hours["CRON_TZ=Asia/Kolkata "] == (4, 0)
    assert hours["CRON_TZ=America/New_York "] in ((13, 30), (14, 30))


@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "* * * * * *", "60 * * * *", "@daily", "0 0 30 2 *", "*/0 * * * *", "L L L L L", "1#2/3 * * * 1#2/3",
     "CRON_TZ=Mars/Base * * * * *", "CRON_TZ=../../etc/passwd * * * * *", "CRON_TZ= * * * * *", "* * * * ²", "9" * 300],
)  # fmt: skip
def test_what_never_comes_is_refused(desk, destination, cron):
    """A malformed or impossible cron expression or zone is a 400 that names the header; no schedule is made."""
    before = len(desk.sdk.schedule.list())
    answer = desk.http.post(f"/v2/schedules/{destination.url}", headers={"Upstash-Cron": cron.encode()})
    assert answer.status_code == 400
    assert "Upstash-Cron" in answer.json()["error"]
    assert len(desk.sdk.schedule.list()) == before


def test_a_schedule_needs_a_good_id_and_no_fixed_time(desk, destination):
    """Ids have letters, digits, dash, dot and underscore; Not-Before makes no sense here."""
    for headers in ({"Upstash-Schedule-Id": "a/b"}, {"Upstash-Not-Before": "1"}, {"Upstash-Queue-Name": "a b"}):
        answer = desk.http.post(f"/v2/schedules/{destination.url}", headers={"Upstash-Cron": "* * * * *"} | headers)
        assert answer.status_code == 400
        assert next(iter(headers)) in answer.json()["error"]
    assert desk.http.post(f"/v2/schedules/{destination.url}").status_code == 400
    assert desk.http.post("/v2/Schedules/nowhere", headers={"Upstash-Cron": "* * * * *"}).status_code == 400


def test_a_scheduled_message_may_be_delayed_and_queued(serve, destination):
    """Delay and queue are those of each message that it makes."""
    desk = serve()
    desk.sdk.schedule.create(destination=destination.url, cron="0 * * * *", delay="10m", queue="later")
    desk.server.advance(3_600)
    until(lambda: desk.sdk.queue.list())
    desk.server.advance(600)
    arrival = destination.wait()[0]
    assert desk.sdk.message.get(arrival.message_id).queue == "later"


def test_a_publish_with_a_cron_expression_is_a_schedule(serve, destination):
    """The header that makes a schedule may also be sent to /v2/publish; nothing is delivered before its time."""
    desk = serve()
    answer = desk.publish(f"{destination.url}/run", "x", Upstash_Cron="0 * * * *", Upstash_Schedule_Id="by-publish")
    assert answer.json() == {"scheduleId": "by-publish"}
    assert destination.arrivals == []
    desk.server.advance(3_600)
    assert destination.wait()[0].headers["Upstash-Schedule-Id"] == "by-publish"
