"""What survives a restart, and the death of the process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from infra.local.qstash import LIMITS, DatabaseUnusable, QStashServer
from infra.local.qstash.archive import Archive
from infra.local.qstash.settings import DEVELOPMENT_TOKEN
from infra.local.qstash.store import Store
from infra.local.web import listen
from tests.integration.qstash.conftest import OK, connect, until

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


def free_port():
    """A port that a server can come back to."""
    with listen(0) as listener:
        return listener.getsockname()[1]


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


class Publisher(threading.Thread):
    """Publishes to a server that may die at any time: what was not answered is sent again, with its deduplication id.

    It is as many messages ahead of their arrival as `room` has permits.
    """

    def __init__(self, url, destination_url, room):
        super().__init__(daemon=True)
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {DEVELOPMENT_TOKEN}"}, timeout=30)
        self._destination_url = destination_url
        self._room = room
        self.accepted = []
        """Ids, in the order in which they were published."""

    def run(self):
        for first in range(0, MESSAGES, BATCH):
            for _ in range(BATCH):
                self._room.acquire()
            entries = [
                {"destination": f"{self._destination_url}/{n}", "headers": {"Upstash-Deduplication-Id": str(n)}}
                for n in range(first, first + BATCH)
            ]
            answers = until(lambda entries=entries: self._answers(entries))
            self.accepted += [answer["messageId"] for answer in answers]
        self._client.close()

    def _answers(self, entries):
        try:
            return self._client.post("/v2/batch", json=entries).raise_for_status().json()
        except httpx.TransportError:
            return None


def shown_as_delivered(client):
    """The ids of the messages that a server's event log shows as delivered, one for each event."""
    return delivered(lambda cursor: client.get("/v2/events", params={"state": "DELIVERED", "cursor": cursor}).json())


def left_behind(database):
    """What a dead server's file has: the ids of delivered messages, and of those still to be delivered."""
    store = Store(database)
    archive = Archive(store)

    def read(cursor):
        page = archive.events({"state": ["DELIVERED"], "cursor": [cursor]})
        return {"events": page.entries, "cursor": page.cursor}

    try:
        return set(delivered(read)), archive.unsettled({})
    finally:
        store.close()


def delivered(read):
    """The ids in all pages that `read` returns for cursors."""
    ids, cursor = [], ""
    while cursor is not None:
        page = read(cursor)
        ids += [event["messageId"] for event in page["events"]]
        cursor = page.get("cursor")
    return ids


def last_shown(child, client):
    """The newest events of delivered messages, read again and again until the server is dead."""
    shown = []
    while child.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            shown = client.get("/v2/events", params={"state": "DELIVERED", "count": 100}).json()["events"]
    return {event["messageId"] for event in shown}


MESSAGES, KILLS, BATCH = 2_000, 10, 50


def test_ten_kills_lose_nothing_and_repeat_no_recorded_success(tmp_path, destination):
    """kill -9 amid 2,000 deliveries, ten times, while more come in: each arrives, and none again once that is recorded.

    A message whose publisher got no answer is accepted once, not twice; a kill repeats no more than was on its way.
    """
    database, port = tmp_path / "q.db", str(free_port())
    seen, recorded, repeated = set(), set(), []
    doomed, turn, room = [], threading.Lock(), threading.Semaphore(MESSAGES // 2)

    def answer(arrival):
        with turn:
            if arrival.message_id in recorded:
                repeated.append(arrival.message_id)
            if arrival.message_id not in seen:
                seen.add(arrival.message_id)
                room.release()
            if doomed and len(seen) >= doomed[0][0]:
                os.kill(doomed.pop()[1], signal.SIGKILL)  # this attempt, and others, will have no answer
        return OK

    destination.answer = answer
    publisher = Publisher(f"http://127.0.0.1:{port}", destination.url, room)
    publisher.start()
    for kill in range(1, KILLS + 1):
        with process(database, "--port", port) as (child, client):
            doomed.append((kill * MESSAGES // (KILLS + 1), child.pid))
            shown = last_shown(child, client)
        settled, waiting = left_behind(database)
        assert waiting
        assert settled >= recorded | shown
        recorded |= settled
    with process(database, "--port", port) as (_, client):
        publisher.join()
        until(lambda: len(shown_as_delivered(client)) >= MESSAGES)
        assert sorted(shown_as_delivered(client)) == sorted(publisher.accepted)
    assert len(publisher.accepted) == len(set(publisher.accepted)) == MESSAGES
    assert seen == set(publisher.accepted)
    assert repeated == []
    assert len(destination.arrivals) <= MESSAGES + KILLS * LIMITS["payg"].parallelism


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
