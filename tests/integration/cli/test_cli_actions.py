"""Commands that move jobs on: enqueue, cancel, requeue, relay, migrate."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from infra.local.qstash import QStashServer
from qstash_jobs import dispatch
from qstash_jobs.database import Database
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.jobs.reconcile_jobs import ReconcileJobs
from qstash_jobs.testing import create_test_job
from tests.conftest import forget
from tests.integration.cli.conftest import Jobs, row, sql
from tests.integration.cli.test_cli_record import UNKNOWN, deliver

WELCOME = {"template": "welcome", "to": "ada@example.com", "data": {"recipientName": "Ada"}}


def test_enqueue_prints_the_id_alone(qstash: QStashServer, jobs: Jobs) -> None:
    """For scripts; the job is in the record and at QStash."""
    done = jobs("enqueue", "probe", '{"mode": "fail-once"}', "--user", "7", "--organization", "3")
    assert (done.code, done.err) == (0, "")
    found = row(done.out.strip())
    assert (found["payload"]["mode"], found["user_id"], found["organization_id"]) == ("fail-once", 7, 3)
    assert found["message_id"]


def test_enqueue_reads_a_file_and_standard_input(qstash: QStashServer, jobs: Jobs, tmp_path: Path) -> None:
    """`@file` and `-`."""
    (tmp_path / "welcome.json").write_text(json.dumps(WELCOME))
    from_file = jobs("enqueue", "send-email", "@welcome.json")
    from_input = jobs("enqueue", "send-email", "-", given=json.dumps(WELCOME))
    assert [row(done.out.strip())["payload"]["to"] for done in (from_file, from_input)] == [
        "ada@example.com",
        "ada@example.com",
    ]


def test_enqueue_knows_delay_and_idempotency_key(qstash: QStashServer, jobs: Jobs) -> None:
    """The same key is the same job, and the delay is in its row."""
    ids = {jobs("enqueue", "probe", "--delay", "1h30m", "--idempotency-key", "k").out for _ in range(2)}
    assert len(ids) == 1
    seconds = sql("SELECT extract(epoch FROM available_at - created_at)::int FROM job_executions")
    assert [timedelta(minutes=90).total_seconds()] == list(seconds[0])


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        (["probe", "{"], "", "the payload is not JSON"),
        (["probe", "[1]"], "", "must be a JSON object"),
        (["probe", "@missing.json"], "", "missing.json cannot be read: No such file"),
        (["probe", "@."], "", "cannot be read: Is a directory"),
        (["probe", "@bytes"], "", "the payload is not JSON"),
        (["probe", "-"], "", "the payload is not JSON"),
        (["probe", "-"], "[" * 100_000, "the payload is not JSON"),
        (["probe", '{"seconds": ' + "1" * 5000 + "}"], "", "the payload is not JSON"),
        (["probe", '{"mode": "sing"}'], "", "mode: Input should be 'succeed'"),
        (["probe", '{"tone": 1}'], "", "tone: Extra inputs are not permitted"),
        (["send-email", json.dumps({**WELCOME, "data": {}})], "", "recipientName"),
        (["probe", "--delay", "soon"], "", "is no duration"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_enqueue_refuses_what_is_no_payload(
    nowhere: pytest.MonkeyPatch, jobs: Jobs, tmp_path: Path, arguments: list[str], given: str, said: str
) -> None:
    """The fields are named; nothing was stored, for there is no database."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    done = jobs("enqueue", *arguments, given=given)
    assert done.code == 2
    assert said in done.sentence


def test_enqueue_names_the_known_types(nowhere: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """When it is given another one."""
    done = jobs("enqueue", "send-mail")
    assert done.code == 1
    assert "unknown job type 'send-mail'; known are cleanup-old-data," in done.sentence


def test_enqueue_with_qstash_away_is_a_delay(database: Database, jobs: Jobs) -> None:
    """The id is printed all the same; the record says what QStash did not do."""
    done = jobs("enqueue", "probe")
    assert done.code == 0
    assert row(done.out.strip().splitlines()[-1])["publish_error"]


def test_cancel_ends_what_waits(database: Database, jobs: Jobs) -> None:
    """At once, and says so; a second time is no error."""
    job_id = create_test_job(Probe())
    for _ in range(2):
        done = jobs("cancel", str(job_id))
        assert (done.code, done.out) == (0, f"{job_id}: cancelled\n")
    assert row(job_id)["status"] == "cancelled"


@pytest.mark.parametrize("command", ["cancel", "requeue"])
def test_a_completed_job_stays_completed(database: Database, jobs: Jobs, command: str) -> None:
    """The sentence says what stands in the way."""
    job_id = deliver(Probe())
    done = jobs(command, str(job_id))
    assert (done.code, done.sentence) == (1, f"Error: cannot {command} job {job_id}: it is completed")


@pytest.mark.parametrize("command", ["cancel", "requeue"])
def test_a_job_that_is_not_there_cannot_be_moved(database: Database, jobs: Jobs, command: str) -> None:
    """It is said to be unknown."""
    done = jobs(command, UNKNOWN)
    assert (done.code, done.sentence) == (1, f"Error: no job has the id {UNKNOWN}")


def test_requeue_sends_one_round_again(qstash: QStashServer, jobs: Jobs) -> None:
    """As the next generation, under the name of who asked."""
    job_id = deliver(Probe(), RuntimeError("no"))
    done = jobs("requeue", str(job_id))
    assert (done.code, done.out) == (0, f"{job_id}: pending\n")
    assert (row(job_id)["status"], row(job_id)["generation"]) == ("pending", 2)
    assert jobs("requeue", str(job_id)).sentence == f"Error: cannot requeue job {job_id}: it is pending"


@pytest.fixture
def failed(qstash: QStashServer) -> list[UUID]:
    """Twelve probes that failed."""
    return [deliver(Probe(), RuntimeError(f"number {number} [/]")) for number in range(12)]


def test_requeue_shows_what_matches_and_asks(jobs: Jobs, failed: list[UUID]) -> None:
    """Ten of them and how many more; no changes nothing, yes requeues them all."""
    other = create_test_job(ReconcileJobs())
    dispatch.cancel(other)
    done = jobs("requeue", "--type", "probe", given="n\n")
    assert done.code == 1
    assert len(re.findall(r"^[0-9a-f-]{36}  probe  number \d+ \[/\]", done.out, re.MULTILINE)) == 10
    assert "… and 2 more" in done.out
    assert "Requeue 12 jobs?" in done.out
    assert {row(job_id)["status"] for job_id in failed} == {"failed"}
    assert "12 jobs requeued." in jobs("requeue", "--type", "probe", given="y\n").out
    assert {row(job_id)["status"] for job_id in failed} == {"pending"}
    assert row(other)["status"] == "cancelled"


def test_requeue_without_an_answer_changes_nothing(jobs: Jobs, failed: list[UUID]) -> None:
    """Standard input may be closed."""
    assert jobs("requeue").code == 1
    assert {row(job_id)["status"] for job_id in failed} == {"failed"}


def test_requeue_can_be_told_not_to_ask(jobs: Jobs, failed: list[UUID]) -> None:
    """For scripts; filters by error and time, and cancelled jobs too."""
    assert "No job matches." in jobs("requeue", "--yes", "--error", "Lost").out
    assert "No job matches." in jobs("requeue", "--yes", "--status", "cancelled").out
    assert "12 jobs requeued." in jobs("requeue", "-y", "--error", "RuntimeError", "--since", "1h").out
    dispatch.cancel(failed[0])
    assert "1 job requeued." in jobs("requeue", "-y", "--status", "cancelled").out


def test_cancel_shows_what_matches_and_asks(qstash: QStashServer, jobs: Jobs) -> None:
    """No changes nothing, yes cancels all that match and nothing else; what has ended meanwhile is passed over."""
    waiting = [create_test_job(Probe()) for _ in range(3)]
    other = create_test_job(ReconcileJobs())
    assert jobs("cancel", "--type", "probe", given="n\n").code == 1
    assert {row(job_id)["status"] for job_id in waiting} == {"pending"}
    done = jobs("cancel", "--type", "probe", "--since", "1h", given="y\n")
    assert "Cancel 3 jobs?" in done.out
    assert "3 jobs cancelled." in done.out
    assert {row(job_id)["status"] for job_id in waiting} == {"cancelled"}
    assert row(other)["status"] == "pending"
    assert "No job matches." in jobs("cancel", "--yes", "--status", "processing").out
    assert jobs("cancel", "--status", "failed").code == 2


def test_requeue_takes_no_other_status(nowhere: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """Nothing else has ended so that it could begin again."""
    done = jobs("requeue", "--status", "completed")
    assert done.code == 2
    assert "only failed and cancelled jobs" in done.sentence


@pytest.fixture
def hurried(qstash: QStashServer, environment: pytest.MonkeyPatch) -> None:
    """The relay leaves a job alone for two seconds, in case that somebody is publishing it; here for two milliseconds."""
    environment.setenv("JOBS_TIME_SCALE", "1000")
    forget()


def relayed(jobs: Jobs) -> str:
    """What the first pass says that finds a job: one leaves alone what was touched just now."""
    while not (said := jobs("relay", "--once").out):
        continue
    return said


@pytest.mark.usefixtures("hurried")
def test_relay_publishes_what_waits(jobs: Jobs) -> None:
    """Once it is due; a further pass has nothing to do."""
    job_id = create_test_job(Probe())
    said = relayed(jobs)
    assert said == f"{job_id}  {row(job_id)['message_id']}\n"
    done = jobs("relay", "--once")
    assert (done.code, done.out) == (0, "")


@pytest.mark.usefixtures("hurried")
def test_relay_says_what_qstash_did_not_take(qstash: QStashServer, jobs: Jobs) -> None:
    """And is no failure: the next pass tries again."""
    job_id = create_test_job(Probe())
    qstash.refuse_publishes(503)
    said = relayed(jobs)
    assert said.startswith(f"{job_id}  QStash answered 503: ")


def test_migrate_goes_up_and_down(environment: pytest.MonkeyPatch, empty_database_url: str, jobs: Jobs) -> None:
    """The plan, up, nothing to do, down to nothing, and up again."""
    environment.setenv("DATABASE_URL", empty_database_url)
    forget()
    assert jobs("migrate", "--plan").out == "jobs_0001\n"
    assert jobs("migrate", "--plan").out == "jobs_0001\n"
    assert jobs("migrate").out == "Applied jobs_0001.\n"
    assert jobs("migrate", "--plan").out == "Up to date.\n"
    assert jobs("migrate").out == "Up to date.\n"
    assert "No job matches." in jobs("list").out
    assert jobs("migrate", "--down", "--to", "base").out == "Back at base.\n"
    assert jobs("list").code == 1
    assert jobs("migrate", "--to", "jobs_0001").out == "Applied jobs_0001.\n"
    forget()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--down"], "say which revision to go back to"), (["--to", "nowhere"], "nowhere")],
)
def test_migrate_refuses_what_it_cannot_mean(database: Database, jobs: Jobs, arguments: list[str], said: str) -> None:
    """A revision that is none, and a way down without an end."""
    done = jobs("migrate", *arguments)
    assert done.code == 2
    assert said in done.sentence
