"""What survives a restart, and the death of the process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import OK, connect, until

from infra.local.qstash import DatabaseUnusable, QStashServer

ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def process(database, *options):
    """The server as a process of its own, and a client for it; killed at the end."""
    command = [sys.executable, "-m", "infra.local.qstash", "--port", "0", "--database", str(database), *options]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        line = next(line for line in child.stdout if "running at" in line)
        assert "development tool" in next(child.stdout)
        token = next(line for line in child.stdout if "QSTASH_TOKEN" in line).split('"')[1]
        with httpx.Client(
            base_url=line.split()[-1], headers={"Authorization": f"Bearer {token}"}, timeout=30
        ) as client:
            yield child, client
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_everything_is_there_after_a_restart(tmp_path, destination):
    """Delayed messages, dead letters, schedules, queues, keys, deduplication, events and the moved clock."""
    file = tmp_path / "new" / "q.db"
    desk = connect(QStashServer(database=file))
    destination.fail(1)
    dead = desk.sdk.message.publish(url=f"{destination.url}/dead", retries=0).message_id
    letter = desk.dead_letter(dead)
    desk.server.advance(7_200)
    delayed = desk.sdk.message.publish(
        url=f"{destination.url}/delayed", delay="1h", body=b"\xff\x00", deduplication_id="d"
    ).message_id
    desk.sdk.queue.upsert("q", parallelism=2, paused=True)
    queued = [desk.sdk.message.enqueue(queue="q", url=f"{destination.url}/queued/{n}").message_id for n in range(3)]
    schedule = desk.sdk.schedule.create(destination=f"{destination.url}/cron", cron="0 * * * *", schedule_id="s")
    keys = desk.sdk.signing_key.rotate()
    shown = desk.http.get(f"/v2/messages/{delayed}").json()
    next_time = desk.sdk.schedule.get("s").next_schedule_time
    desk.close()

    desk = connect(QStashServer(database=file))
    assert desk.http.get(f"/v2/messages/{delayed}").json() == shown
    assert desk.sdk.dlq.get(letter.dlq_id) == letter
    assert desk.states(dead) == ["CREATED", "ACTIVE", "ERROR", "FAILED"]
    assert desk.sdk.signing_key.get() == keys
    assert desk.sdk.message.publish(url=destination.url, deduplication_id="d").message_id == delayed
    assert desk.sdk.queue.get("q").lag == 3
    assert desk.sdk.schedule.get(schedule).next_schedule_time == next_time
    desk.sdk.queue.resume("q")
    assert set(queued) == {arrival.message_id for arrival in destination.wait(3, path="/queued")}
    desk.server.advance(3_601)
    assert destination.wait(path="/delayed")[0].body == b"\xff\x00"
    destination.wait(path="/cron")
    desk.close()


def test_a_retry_goes_on_with_its_number(tmp_path, destination):
    """A message that waited for its second retry gets that one, not a first."""
    desk = connect(QStashServer(database=tmp_path / "q.db"))
    destination.fail(2)
    message_id = desk.sdk.message.publish(url=destination.url, retry_delay="retried * 3600000").message_id
    until(lambda: desk.states(message_id).count("RETRY") == 2)
    desk.close()
    desk = connect(QStashServer(database=tmp_path / "q.db"))
    desk.server.advance(3_601)
    assert [arrival.retried for arrival in destination.wait(3)] == [0, 1, 2]
    desk.close()


def test_a_kill_loses_nothing_and_repeats_no_recorded_success(tmp_path, destination):
    """kill -9 amid publishing and delivering, three times: all that was accepted arrives; what was recorded does not again."""
    database = tmp_path / "q.db"
    accepted, recorded = [], set()
    repeated = []

    def answer(arrival):
        if arrival.message_id in recorded:
            repeated.append(arrival.message_id)
        return OK

    destination.answer = answer
    for round_ in range(3):
        with process(database) as (child, client):
            for n in range(8):
                entries = [{"destination": f"{destination.url}/{round_}/{n}/{i}", "body": "x"} for i in range(25)]
                accepted += [answer["messageId"] for answer in client.post("/v2/batch", json=entries).json()]
            delivered = client.get("/v2/events", params={"state": "DELIVERED"}).json()["events"]
            recorded |= {event["messageId"] for event in delivered}
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
    assert len(accepted) == 600
    with process(database) as (_, client):
        until(lambda: {arrival.message_id for arrival in destination.arrivals} >= set(accepted))
        until(lambda: len(client.get("/v2/events", params={"state": "DELIVERED"}).json()["events"]) == 600)
    assert repeated == []


def test_a_callback_still_holds_its_queue_after_a_kill(tmp_path, destination):
    """The next message waits for a callback that was pending when the process died."""
    destination.answer = lambda arrival: (
        OK if arrival.target != "/told" or len(destination.below("/told")) > 1 else (500, {}, b"")
    )
    with process(tmp_path / "q.db") as (child, client):
        told = {"Upstash-Callback": f"{destination.url}/told", "Upstash-Callback-Retry-Delay": "3600000"}
        client.post(f"/v2/enqueue/q/{destination.url}/first", headers=told)
        client.post(f"/v2/enqueue/q/{destination.url}/second")
        until(lambda: client.get("/v2/events", params={"state": "RETRY"}).json()["events"])
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    with process(tmp_path / "q.db") as (_, client):
        assert destination.below("/second") == []
        client.post("/admin/advance", params={"seconds": 3_601})
        destination.wait(path="/second")
    assert [arrival.target for arrival in destination.arrivals] == ["/first", "/told", "/told", "/second"]


def test_what_was_allowed_once_is_not_for_ever(tmp_path, destination):
    """A message for a mapped address stays on this machine when the server comes back without the map."""
    settings = {"database": tmp_path / "q.db", "host_map": {"https://api.example.com": destination.url}}
    desk = connect(QStashServer(**settings))
    message_id = desk.sdk.message.publish(url="https://api.example.com/x", delay="1h", retries=0).message_id
    desk.close()
    desk = connect(QStashServer(database=tmp_path / "q.db"))
    desk.server.advance(3_601)
    assert "is not this machine" in desk.dead_letter(message_id).response_body
    desk.close()


def test_a_database_belongs_to_one_server(tmp_path):
    """A second server, a file of something else, and a folder that cannot be made are refused in one sentence."""
    desk = connect(QStashServer(database=tmp_path / "q.db"))
    with pytest.raises(DatabaseUnusable, match="another server uses it"):
        QStashServer(database=tmp_path / "q.db").start()
    desk.close()
    (tmp_path / "text").write_text("no database " * 1_000)
    with pytest.raises(DatabaseUnusable, match="not a database"):
        QStashServer(database=tmp_path / "text").start()
    with pytest.raises(DatabaseUnusable, match="cannot be opened"):
        QStashServer(database=tmp_path / "text" / "q.db").start()


def test_it_says_what_to_paste_and_stops_cleanly(tmp_path):
    """The address and the four variables are printed; SIGTERM and SIGINT end the process with status 0."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with process(tmp_path / "q.db") as (child, client):
            keys = client.get("/v2/keys").json()
            child.send_signal(number)
            printed = child.stdout.read()
            assert child.wait(20) == 0
        assert f'export QSTASH_CURRENT_SIGNING_KEY="{keys["current"]}"' in printed
        assert f'export QSTASH_NEXT_SIGNING_KEY="{keys["next"]}"' in printed


def test_a_start_that_cannot_be_says_why(tmp_path, desk):
    """A taken port, a wrong map and a wrong scale: one clear sentence, no traceback."""
    port = desk.server.url.rpartition(":")[2]
    run = [sys.executable, "-m", "infra.local.qstash", "--memory"]
    for options, status, text in (
        (["--port", port], 1, f"Port {port} is taken"),
        (["--map", "nonsense"], 2, "nonsense"),
        (["--time-scale", "0"], 2, "time scale"),
    ):
        done = subprocess.run([*run, *options], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == status
        assert text in done.stderr
        assert "Traceback" not in done.stderr
