"""`jobs schedules …` against the local QStash: what is declared, and what is there."""

from __future__ import annotations

import re

import pytest

from infra.local.qstash import QStashServer
from qstash_jobs import dispatch, relay, schedules
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.jobs.reconcile_jobs import ReconcileJobs
from qstash_jobs.schedules import Schedule
from tests.conftest import forget
from tests.integration.cli.conftest import Jobs, row

TICK = Schedule(id="reconcile-jobs", job=ReconcileJobs(), cron="*/5 * * * *")
NIGHTLY = Schedule(id="nightly", job=Probe(seconds=1), cron="30 2 * * *", timezone="Europe/Berlin")
AS_DECLARED = "QStash has the schedules as they are declared.\n"


@pytest.fixture
def declared(qstash: QStashServer, environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Two schedules; a test declares others with `declare`."""
    declare(environment, TICK, NIGHTLY)
    return environment


def declare(environment: pytest.MonkeyPatch, *declared: Schedule) -> None:
    environment.setattr(schedules, "SCHEDULES", declared)


def found() -> dict[str, bool]:
    """The schedules that QStash has, and whether each is paused."""
    return {one.id: one.paused for one in relay.qstash().schedules()}


def test_apply_makes_what_is_declared_and_again_nothing(declared: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """With each fact of its message; a second time finds nothing to do, and so does diff."""
    before = jobs("schedules", "diff")
    assert (before.code, before.out) == (1, "+ create jobs.nightly\n+ create jobs.reconcile-jobs\n")
    assert found() == {}
    assert jobs("schedules", "apply").code == 0
    assert found() == {"jobs.nightly": False, "jobs.reconcile-jobs": False}
    for command in ("diff", "apply"):
        done = jobs("schedules", command)
        assert (done.code, done.out) == (0, AS_DECLARED)


def test_a_change_says_what_differs(declared: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """As it is, and as it is to be; a pause is kept over it."""
    jobs("schedules", "apply")
    assert jobs("schedules", "pause", "nightly").out == "jobs.nightly: paused\n"
    declare(declared, TICK, Schedule(id="nightly", job=Probe(seconds=2), cron="45 2 * * *", timezone="Europe/Berlin"))
    done = jobs("schedules", "diff")
    assert done.code == 1
    assert "~ replace jobs.nightly\n" in done.out
    assert "    cron: CRON_TZ=Europe/Berlin 30 2 * * * → CRON_TZ=Europe/Berlin 45 2 * * *\n" in done.out
    assert re.search(r'body: \{.*"seconds":1\.0.*\} → \{.*"seconds":2\.0.*\}', done.out)
    assert "reconcile-jobs" not in done.out
    jobs("schedules", "apply")
    assert found() == {"jobs.nightly": True, "jobs.reconcile-jobs": False}
    assert jobs("schedules", "diff").out == AS_DECLARED
    assert jobs("schedules", "resume", "nightly").out == "jobs.nightly: runs\n"
    assert found()["jobs.nightly"] is False


def test_only_what_carries_our_prefix_is_removed(declared: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """A schedule that an app made, and those of another stage, are none of our business."""
    jobs("schedules", "apply")
    dispatch.schedule(Probe(), "0 4 * * *", id="made-by-an-app")
    dispatch.schedule(Probe(), "0 4 * * *", id="jobs-staging.nightly")
    declare(declared, TICK)
    done = jobs("schedules", "apply")
    assert done.out == "- remove jobs.nightly\n"
    assert set(found()) == {"jobs.reconcile-jobs", "made-by-an-app", "jobs-staging.nightly"}
    declared.setenv("JOBS_SCHEDULE_PREFIX", "jobs-staging")
    forget()
    jobs("schedules", "apply")
    assert set(found()) == {"jobs.reconcile-jobs", "made-by-an-app", "jobs-staging.reconcile-jobs"}


def test_list_shows_what_is_there(declared: pytest.MonkeyPatch, qstash: QStashServer, jobs: Jobs) -> None:
    """When each fires next, how the last firing fared, and which rests."""
    assert "jobs schedules apply" in jobs("schedules", "list").out
    jobs("schedules", "apply")
    jobs("schedules", "pause", "nightly")
    lines = jobs("schedules", "list").out.splitlines()
    assert re.match(r"jobs\.nightly +CRON_TZ=Europe/Berlin 30 2 \* \* \* +paused +–", lines[1])
    assert re.match(r"jobs\.reconcile-jobs +\*/5 \* \* \* \* +in \d", lines[2])
    qstash.advance(300)
    assert re.match(r".* (in progress|fail) *$", jobs("schedules", "list").out.splitlines()[2])


def test_run_now_is_a_job_like_any_other(declared: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """With the payload of the schedule, besides its firings."""
    job_id = jobs("schedules", "run-now", "nightly").out.strip()
    assert (row(job_id)["job_type"], row(job_id)["payload"]["seconds"]) == ("probe", 1.0)
    assert "declared are reconcile-jobs, nightly" in jobs("schedules", "run-now", "weekly").sentence


def test_next_shows_firings_in_the_zone_of_each(declared: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """Every five minutes, and every night at half past two in Berlin; ten of each unless told otherwise."""
    done = jobs("schedules", "next")
    assert done.code == 0
    tick, nightly = re.split(r"^nightly .*\n", done.out, flags=re.MULTILINE)
    assert len(re.findall(r"^  \w{3} [\d-]{10} \d\d:[0-5][05] UTC  in ", tick, re.MULTILINE)) == 10
    assert len(re.findall(r"^  \w{3} [\d-]{10} 02:30 CES?T  in ", nightly, re.MULTILINE)) == 10
    assert len(jobs("schedules", "next", "--count", "2").out.splitlines()) == 6
