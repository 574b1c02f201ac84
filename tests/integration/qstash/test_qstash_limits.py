"""Limits on how often: messages of a day, management requests of a second; and a token that may only read."""

from __future__ import annotations

import dataclasses
import time

import pytest
from qstash import QStash
from qstash.errors import DailyMessageLimitExceededError, QStashError, RateLimitExceededError

from infra.local.qstash import LIMITS, QStashServer
from tests.integration.qstash.conftest import connect, until

THREE_A_DAY = dataclasses.replace(LIMITS["free"], messages_per_day=3)


def test_a_plan_has_its_messages_of_a_day(tmp_path, destination):
    """The fourth is refused until midnight (UTC), as the SDK reports it, over a restart too; a batch is cut there."""
    desk = connect(QStashServer(database=tmp_path / "q.db", limits=THREE_A_DAY))
    desk.sdk.message.publish(url=destination.url)
    entries = [{"destination": destination.url}] * 3
    slots = [list(slot) for slot in desk.http.post("/v2/batch", json=entries).json()]
    assert slots == [["messageId"], ["messageId"], ["error"]]
    desk.close()
    desk = connect(QStashServer(database=tmp_path / "q.db", limits=THREE_A_DAY))
    with pytest.raises(DailyMessageLimitExceededError) as refused:
        desk.sdk.message.publish(url=destination.url)
    assert (refused.value.limit, refused.value.remaining) == ("3", "0")
    assert 0 < int(refused.value.reset) - time.time() <= 86_400
    assert int(refused.value.reset) % 86_400 == 0
    assert desk.http.post("/v2/batch", json=entries).status_code == 429
    desk.close()


def test_callbacks_count_and_are_never_refused(serve, destination):
    """A message and its callback are two; what is under way is finished."""
    desk = serve(limits=dataclasses.replace(LIMITS["free"], messages_per_day=1))
    desk.sdk.message.publish(url=destination.url, callback=f"{destination.url}/told")
    destination.wait(path="/told")
    with pytest.raises(DailyMessageLimitExceededError):
        desk.sdk.message.publish(url=destination.url)


def test_a_schedule_says_that_the_day_is_used_up(serve, destination):
    """Its firing makes no message, and the reason can be read."""
    desk = serve(limits=dataclasses.replace(LIMITS["free"], messages_per_day=1))
    desk.sdk.message.publish(url=f"{destination.url}/one")
    schedule_id = desk.sdk.schedule.create(destination=f"{destination.url}/scheduled", cron="0 * * * *")
    desk.server.advance(3_600)
    until(lambda: desk.http.get(f"/v2/schedules/{schedule_id}").json().get("error"))
    assert "maxMessagesPerDay" in desk.http.get(f"/v2/schedules/{schedule_id}").json()["error"]
    assert destination.below("/scheduled") == []


def test_management_requests_have_a_limit_a_second_if_one_is_set(serve, destination):
    """The SDK is told when there is room again; publishing is not limited."""
    desk = serve(burst_limit=5)

    def list_often():
        for _ in range(100):
            desk.sdk.queue.list()

    with pytest.raises(RateLimitExceededError) as refused:
        list_often()
    assert (refused.value.limit, refused.value.remaining) == ("5", "0")
    assert abs(int(refused.value.reset) - time.time()) < 5
    for _ in range(20):
        assert desk.publish(destination.url).status_code == 200


def test_a_read_only_token_changes_nothing(serve, destination):
    """It lists and looks; a publish or a delete with it is 403."""
    desk = serve(read_only_token="look")
    reader = QStash("look", base_url=desk.server.url)
    assert reader.queue.list() == []
    assert reader.signing_key.get() == desk.sdk.signing_key.get()
    assert desk.http.head("/v2/queues", headers={"Authorization": "Bearer look"}).status_code == 200
    for change in (lambda: reader.message.publish(url=destination.url), lambda: reader.queue.upsert("q")):
        with pytest.raises(QStashError, match="403"):
            change()
    assert desk.http.get("/v2/events").json() == {"events": []}
    assert desk.sdk.queue.list() == []
    reader.http._client.close()
