"""Clean-ups on the whole desk: by hand, and as their schedule fires."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import httpx
import pytest

from infra.seed.load import seed
from infra.seed.scale import SCALES
from qstash_jobs import dispatch, schedule_changes
from qstash_jobs.database import database
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.relay import qstash
from qstash_jobs.schedules import SCHEDULES
from qstash_jobs.settings import settings
from qstash_jobs.testing import sign
from tests.e2e.conftest import World
from tests.waiting import until

DAY_SECONDS = 86_400
SCHEDULE = "jobs.cleanup-old-sessions"


@pytest.fixture
def seeded(world: World) -> World:
    """The desk with believable data in the starter's tables."""
    with database().engine.begin() as connection:
        for _ in seed(connection, SCALES["small"], date.today(), replace=True):
            pass
    return world


@pytest.fixture
def admin(world: World) -> Iterator[httpx.Client]:
    """The local QStash's own controls."""
    given = world.desk.environment
    headers = {"Authorization": f"Bearer {given['QSTASH_TOKEN']}"}
    with httpx.Client(base_url=given["QSTASH_URL"], headers=headers, timeout=30) as client:
        yield client


def sessions(world: World) -> tuple[int, int]:
    """How many there are, and how many of them ended more than thirty days ago."""
    asked = "SELECT count(*), count(*) FILTER (WHERE expires_at < now() - interval '30 days') FROM sessions"
    found = world.run(asked)[0]
    return found[0], found[1]


def test_a_dry_run_says_what_the_run_then_deletes(seeded: World) -> None:
    """Enqueued, delivered and served: the same figures, and all else is still there."""
    before, old = sessions(seeded)
    assert old > 20
    for dry_run in (True, False):
        job_id = dispatch.enqueue(CleanupOldData(cleanup_type="old-sessions", days_old=30, dry_run=dry_run))
        result = seeded.wait(job_id, "completed", "failed")["result"]
        assert (result["counts"], result["dryRun"]) == ({"sessions": old}, dry_run)
        assert sessions(seeded) == (before, old) if dry_run else (before - old, 0)


def fired(client: httpx.Client) -> set[str]:
    """The messages of the schedule's firings."""
    events: list[dict[str, Any]] = client.get("/v2/events", params={"scheduleId": SCHEDULE}).json()["events"]
    return {one["messageId"] for one in events if one["state"] == "DELIVERED"}


def test_a_firing_is_one_execution_though_it_is_delivered_twice(seeded: World, admin: httpx.Client) -> None:
    """Two days of firings, and each of them delivered again: as many executions as firings, one attempt each."""
    qstash().delete_schedule("jobs.reconcile-jobs")  # its hundreds of firings are none of this
    known = fired(admin)
    for _ in range(2):
        admin.post("/admin/advance", params={"seconds": DAY_SECONDS}).raise_for_status()
    until(lambda: len(fired(admin) - known) >= 2)

    def executions() -> list[Any]:
        return seeded.run(
            "SELECT message_id, status, attempts, payload FROM job_executions"
            f" WHERE schedule_id = '{SCHEDULE}' ORDER BY message_id"
        )

    until(lambda: {row[1] for row in executions()} == {"completed"}, otherwise=lambda: str(executions()))
    rows = executions()
    assert {row[0] for row in rows} >= fired(admin) - known

    (wanted,) = [one for one in schedule_changes.wanted_schedules(SCHEDULES) if one.id == SCHEDULE]
    body, url = wanted.message.body.encode(), wanted.message.url
    for message_id in fired(admin):
        headers = {
            "content-type": "application/json",
            "upstash-message-id": message_id,
            "upstash-schedule-id": SCHEDULE,
            "upstash-signature": sign(body, url, settings().signing_keys[0]),
        }
        assert httpx.post(url, content=body, headers=headers).json()["outcome"] == "duplicate"

    assert executions() == rows
    assert {(row[2], row[3]["cleanupType"], row[3]["daysOld"]) for row in rows} == {(1, "old-sessions", 30)}
