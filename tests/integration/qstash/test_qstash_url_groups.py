"""URL groups: one publication, a message to each endpoint."""

from __future__ import annotations

import json

import pytest
from qstash.errors import QStashError

from infra.local.qstash import LIMITS, QStashServer
from tests.integration.qstash.conftest import connect


@pytest.fixture
def group(desk, destination):
    """A group of two endpoints, one of which has a name."""
    name = f"group-{destination.url.rpartition(':')[2]}"
    endpoints = [{"url": f"{destination.url}/a", "name": "first"}, {"url": f"{destination.url}/b"}]
    desk.sdk.url_group.upsert_endpoints(name, endpoints)
    yield name
    desk.sdk.url_group.delete(name)


def test_each_endpoint_gets_a_message_of_its_own(desk, destination, group):
    """Ids and addresses are answered in order; each delivery names the group and is signed for its endpoint."""
    responses = desk.sdk.message.publish(url_group=group, body="x")
    assert [response.url for response in responses] == [f"{destination.url}/a", f"{destination.url}/b"]
    arrivals = {arrival.message_id: arrival for arrival in destination.wait(2)}
    for response in responses:
        arrival = arrivals[response.message_id]
        assert arrival.headers["Upstash-Topic-Name"] == group
        desk.receiver.verify(signature=arrival.headers["Upstash-Signature"], body="x", url=response.url)
    message = desk.sdk.message.get(responses[0].message_id)
    assert (message.url_group, message.endpoint) == (group, "first")
    desk.until_state(responses[0].message_id, "DELIVERED")
    logs = desk.sdk.log.list(filter={"url_group": group}).logs
    assert {(log.message_id, log.endpoint) for log in logs} == {
        (responses[0].message_id, "first"),
        (responses[1].message_id, None),
    }


def test_a_batch_and_a_queue_take_groups_too(desk, destination, group):
    """In a batch the group's slot is a list; on a queue its messages keep their order."""
    one, many = desk.sdk.message.batch([{"url": f"{destination.url}/one"}, {"url_group": group, "body": "b"}])
    assert one.message_id
    assert [response.url for response in many] == [f"{destination.url}/a", f"{destination.url}/b"]
    queued = desk.sdk.message.enqueue(queue="grouped", url_group=group, body="q")
    assert [response.url for response in queued] == [f"{destination.url}/a", f"{destination.url}/b"]
    destination.wait(5)
    assert [arrival.target for arrival in destination.arrivals if arrival.body == b"q"] == ["/a", "/b"]


def test_one_deduplication_id_stands_for_the_whole_publication(desk, destination, group):
    """The endpoints do not repeat each other; a repeat of the publication is answered with the first messages."""
    first = desk.sdk.message.publish(url_group=group, deduplication_id=group)
    again = desk.http.post(f"/v2/publish/{group}", headers={"Upstash-Deduplication-Id": group})
    assert again.status_code == 202
    assert [entry["messageId"] for entry in again.json()] == [response.message_id for response in first]
    assert len({response.message_id for response in first}) == 2


def test_a_callback_names_the_group(desk, destination, group):
    """And the endpoint, if that has a name."""
    desk.sdk.message.publish(url_group=group, callback=f"{destination.url}/told")
    told = [arrival.body for arrival in destination.wait(2, path="/told")]
    assert all(f'"topicName":"{group}"'.encode() in body for body in told)
    assert sum(b'"endpointName":"first"' in body for body in told) == 1


def test_a_schedule_can_go_to_a_group(serve, destination):
    """Each firing is a message to each endpoint; the group cannot be deleted before the schedule."""
    desk = serve()
    desk.sdk.url_group.upsert_endpoints("all", [{"url": f"{destination.url}/a"}, {"url": f"{destination.url}/b"}])
    schedule_id = desk.sdk.schedule.create(destination="all", cron="0 * * * *")
    desk.server.advance(3_600)
    assert {arrival.target for arrival in destination.wait(2)} == {"/a", "/b"}
    schedule = desk.sdk.schedule.get(schedule_id)
    assert schedule.destination == "all"
    assert len(schedule.last_schedule_states) == 2
    with pytest.raises(QStashError, match="delete the schedule first"):
        desk.sdk.url_group.delete("all")
    desk.sdk.schedule.delete(schedule_id)
    desk.sdk.url_group.delete("all")


def test_default_headers_are_those_of_every_publication(desk, destination, group):
    """A publication's own header wins over the group's."""
    headers = {"Upstash-Forward-From": "the group", "Upstash-Forward-Kind": ["default"], "Upstash-Retries": "1"}
    assert desk.http.patch(f"/v2/topics/{group}", json={"headers": headers}).status_code == 200
    responses = desk.sdk.message.publish(url_group=group, headers={"Kind": "own"})
    arrival = destination.wait(2)[0]
    assert (arrival.headers["From"], arrival.headers["Kind"]) == ("the group", "own")
    assert desk.sdk.message.get(responses[0].message_id).max_retries == 1
    assert desk.http.patch(f"/v2/topics/{group}", json={"headers": {"Upstash-Retries": "many"}}).status_code == 400


def test_endpoints_are_changed_and_removed_by_name_or_address(desk, destination):
    """A known name gets the new address; the group goes with its last endpoint, and deleting nothing is no error."""
    desk.sdk.url_group.delete("changing")
    desk.sdk.url_group.upsert_endpoints("changing", [{"url": f"{destination.url}/1", "name": "n"}])
    desk.sdk.url_group.upsert_endpoints(
        "changing", [{"url": f"{destination.url}/2", "name": "n"}, {"url": f"{destination.url}/3"}]
    )
    group = desk.sdk.url_group.get("changing")
    assert [(endpoint.name, endpoint.url) for endpoint in group.endpoints] == [
        ("n", f"{destination.url}/2"),
        (None, f"{destination.url}/3"),
    ]
    assert "changing" in [each.name for each in desk.sdk.url_group.list()]
    desk.sdk.url_group.remove_endpoints("changing", [{"name": "n"}])
    desk.sdk.url_group.remove_endpoints("changing", [{"url": f"{destination.url}/3"}])
    with pytest.raises(QStashError, match="topic changing not found"):
        desk.sdk.url_group.get("changing")


@pytest.mark.parametrize(
    "body",
    [{}, {"endpoints": []}, {"endpoints": ["x"]}, {"endpoints": [{"name": "n"}]}, {"endpoints": [{"url": 7}]},
     {"endpoints": [{"url": "ftp://x"}]}, {"endpoints": [{"url": "http://127.0.0.1:1", "name": 5}]},
     {"endpoints": [{"url": "http://127.0.0.1:1", "name": "\ud800"}]}],
)  # fmt: skip
def test_a_wrong_endpoint_is_refused(desk, body):
    """Nothing of the group is made."""
    answer = desk.http.post("/v2/topics/wrong/endpoints", content=json.dumps(body))
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert desk.http.get("/v2/topics/wrong").status_code == 404


def test_names_and_numbers_have_limits(serve, destination):
    """A group's name, and how many groups and endpoints the plan has."""
    desk = serve(limits=LIMITS["free"])
    endpoint = {"endpoints": [{"url": destination.url}]}
    assert desk.http.post("/v2/topics/not:good/endpoints", json=endpoint).status_code == 400
    assert desk.http.post("/v2/topics/one/endpoints", json=endpoint).status_code == 200
    assert desk.http.post("/v2/topics/two/endpoints", json=endpoint).status_code == 412
    many = {"endpoints": [{"url": f"{destination.url}/{n}"} for n in range(101)]}
    assert desk.http.post("/v2/topics/one/endpoints", json=many).status_code == 412
    assert len(desk.sdk.url_group.get("one").endpoints) == 1


def test_groups_survive_a_restart(tmp_path, destination):
    """With their endpoints and default headers."""
    desk = connect(QStashServer(database=tmp_path / "q.db"))
    desk.sdk.url_group.upsert_endpoints("kept", [{"url": destination.url, "name": "n"}])
    desk.http.patch("/v2/topics/kept", json={"headers": {"Upstash-Forward-A": "1"}})
    before = desk.http.get("/v2/topics/kept").json()
    desk.close()
    desk = connect(QStashServer(database=tmp_path / "q.db"))
    assert desk.http.get("/v2/topics/kept").json() == before
    desk.sdk.message.publish(url_group="kept")
    assert destination.wait()[0].headers["A"] == "1"
    desk.close()


def test_an_endpoint_that_takes_anothers_name_replaces_both(desk, destination, group):
    """Of its address, and of its name: no address and no name stands for two."""
    desk.sdk.url_group.upsert_endpoints(group, [{"url": f"{destination.url}/b", "name": "first"}])
    (endpoint,) = desk.sdk.url_group.get(group).endpoints
    assert (endpoint.url, endpoint.name) == (f"{destination.url}/b", "first")


def test_the_last_endpoint_of_a_group_that_a_schedule_needs_stays(desk, destination, group):
    """As the group itself does: the schedule is deleted first."""
    schedule_id = desk.sdk.schedule.create(destination=group, cron="0 0 1 1 *")
    every = [{"url": f"{destination.url}/a"}, {"url": f"{destination.url}/b"}]
    with pytest.raises(QStashError, match=f"used by the schedule {schedule_id}"):
        desk.sdk.url_group.remove_endpoints(group, every)
    assert len(desk.sdk.url_group.get(group).endpoints) == 2
    desk.sdk.schedule.delete(schedule_id)
    desk.sdk.url_group.remove_endpoints(group, every)
