"""The command `jobs` against a whole desk: jobs that end, and what the doctor finds."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest

from infra.local.desk import declare_schedules
from qstash_jobs import dispatch
from qstash_jobs.database import database
from qstash_jobs.jobs.probe import Probe, ProbeMode
from qstash_jobs.relay import qstash
from qstash_jobs.settings import Settings
from tests.conftest import ROOT, engine_for, forget
from tests.e2e.conftest import World
from tests.integration.cli.conftest import Done, Jobs


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Jobs:
    """Away from any desk of this checkout."""
    monkeypatch.chdir(tmp_path)
    return Jobs(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("mode", "code", "said"),
    [
        ("succeed", 0, ""),
        ("fail-once", 0, ""),
        ("not-retryable", 1, "is failed: asked to fail for good"),
    ],
)
def test_enqueue_waits_for_the_end(world: World, jobs: Jobs, mode: str, code: int, said: str) -> None:
    """And its exit status says how the job ended."""
    done = jobs("enqueue", "probe", json.dumps({"mode": mode}), "--wait")
    assert done.code == code
    job_id, *rest = done.out.splitlines()
    assert world.status(UUID(job_id)) == ("failed" if code else "completed")
    assert said in " ".join(rest)


def test_show_has_the_traceback_of_each_attempt(world: World, jobs: Jobs) -> None:
    """As the function's process raised it."""
    job_id = dispatch.enqueue(Probe(mode=ProbeMode.FAIL_ALWAYS), retries=1)
    world.wait(job_id, "failed")
    done = jobs("show", str(job_id))
    assert done.out.count("Traceback (most recent call last):") == 2
    assert "functions.probe.handler.ProbeFailed: asked to fail always" in done.out


@pytest.fixture
def doctor(stack: World, monkeypatch: pytest.MonkeyPatch, jobs: Jobs) -> Iterator[Doctor]:
    """With the settings that lead to the desk, of which a test may change some."""
    for setting in Settings.model_fields.values():
        monkeypatch.delenv(str(setting.alias), raising=False)
    for name, value in stack.desk.environment.items():
        monkeypatch.setenv(name, value)
    forget()
    declare_schedules()
    yield Doctor(monkeypatch, jobs)
    forget()


class Doctor:
    """`doctor(QSTASH_TOKEN="wrong")` asks it with that setting; None takes one away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, jobs: Jobs) -> None:
        self._monkeypatch = monkeypatch
        self._jobs = jobs

    def __call__(self, **settings: str | None) -> Findings:
        for name, value in settings.items():
            if value is None:
                self._monkeypatch.delenv(name)
            else:
                self._monkeypatch.setenv(name, value)
        forget()
        return Findings(self._jobs("doctor"))


class Findings:
    """What it said of each part."""

    def __init__(self, done: Done) -> None:
        assert done.sentence == "", "the doctor itself is well"
        self.code = done.code
        found = re.findall(r"^([✓✗–]) (\S+(?: \S+)*?) {2,}(.+)$", done.out, re.MULTILINE)
        self.of: dict[str, tuple[str, str]] = {name: (mark, text) for mark, name, text in found}

    def names(self, mark: str) -> set[str]:
        return {name for name, (found, _) in self.of.items() if found == mark}

    def text(self, name: str) -> str:
        return self.of[name][1]


ALL = {"settings", "database", "tables", "QStash", "signing keys", "functions", "files", "queue"}


def test_the_doctor_finds_the_desk_well(doctor: Doctor) -> None:
    """Everything has a tick, and the exit status is 0."""
    found = doctor()
    assert (found.code, found.names("✓")) == (0, ALL)


def test_the_doctor_misses_a_schedule(doctor: Doctor) -> None:
    """Without reconcile-jobs nothing would be recovered."""
    qstash().delete_schedule("jobs.reconcile-jobs")
    found = doctor()
    assert found.names("✗") == {"QStash"}
    assert "has no schedule jobs.reconcile-jobs" in found.text("QStash")


def test_the_doctor_sees_jobs_that_wait_for_too_long(doctor: Doctor) -> None:
    """Nobody has moved them for more than two passes of reconcile-jobs."""
    job_id = dispatch.enqueue(Probe(), publish="relay", delay=timedelta(days=1))
    database().run_pooled(
        f"UPDATE job_executions SET available_at = now() - interval '1 hour' WHERE job_id = '{job_id}'"
    )
    found = doctor()
    assert found.names("✗") == {"queue"}
    assert "waits for too long" in found.text("queue")
    dispatch.cancel(job_id)


def test_no_settings(doctor: Doctor) -> None:
    """Each part says which setting it lacks, and where to get it."""
    found = doctor(**{str(field.alias): None for field in Settings.model_fields.values() if str(field.alias) in GIVEN})
    assert (found.code, found.names("✗")) == (1, {"settings", "database", "QStash", "functions"})
    assert found.text("settings").startswith("DATABASE_URL: it is not set. Postgres, as its provider prints it")
    assert found.text("QStash").startswith("QSTASH_TOKEN: it is not set. The token that publishes: Upstash console")
    assert found.text("functions").startswith("JOBS_BASE_URL: it is not set")


GIVEN = {
    *("DATABASE_URL", "QSTASH_TOKEN", "QSTASH_URL", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"),
    *("JOBS_BASE_URL", "QSTASH_PLAN"),
}


def test_the_database_is_away(doctor: Doctor) -> None:
    """It says where it looked; what stands on the database is not looked at."""
    found = doctor(DATABASE_URL="postgresql://u@/x?host=/nowhere")
    assert (found.code, found.names("✗"), found.names("–")) == (1, {"database"}, {"tables", "queue"})
    assert "no answer at /nowhere" in found.text("database")
    assert "is DATABASE_URL right?" in found.text("database")
    assert found.text("tables") == "not looked at: mend the database first"


def test_the_tables_are_missing(doctor: Doctor, stack: World) -> None:
    """It says what to run."""
    assert stack.desk.postgres is not None
    engine = engine_for(stack.desk.postgres.url())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CREATE DATABASE untouched")
    engine.dispose()
    found = doctor(DATABASE_URL=stack.desk.postgres.url("untouched"))
    assert (found.code, found.names("✗"), found.names("–")) == (1, {"tables"}, {"queue"})
    assert found.text("tables") == "missing jobs_0001; run: jobs migrate"


def test_the_token_is_wrong(doctor: Doctor) -> None:
    """It says which setting to set anew."""
    found = doctor(QSTASH_TOKEN="wrong")
    assert (found.code, found.names("✗"), found.names("–")) == (1, {"QStash"}, {"signing keys"})
    assert re.search(r"refuses our token, in the region http://\S+; set QSTASH_TOKEN anew", found.text("QStash"))


def test_qstash_is_away(doctor: Doctor) -> None:
    """It says where it looked."""
    found = doctor(QSTASH_URL="http://127.0.0.1:9")
    assert (found.code, found.names("✗")) == (1, {"QStash"})
    assert "http://127.0.0.1:9" in found.text("QStash")
    assert "is QSTASH_URL right?" in found.text("QStash")


def test_the_bucket_is_missing(doctor: Doctor) -> None:
    """It says which one, and what to look at; to have none is no illness."""
    found = doctor(JOBS_BUCKET="no-such-bucket")
    assert (found.code, found.names("✗")) == (1, {"files"})
    assert "the bucket no-such-bucket does not answer" in found.text("files")
    assert doctor(JOBS_BUCKET=None).names("✓") == ALL


def test_the_signing_keys_are_of_another_account(doctor: Doctor) -> None:
    """Every delivery would be refused."""
    found = doctor(QSTASH_CURRENT_SIGNING_KEY="sig_" + "a" * 28, QSTASH_NEXT_SIGNING_KEY="sig_" + "b" * 28)
    assert (found.code, found.names("✗")) == (1, {"signing keys"})
    assert "none of ours is QStash's" in found.text("signing keys")


def test_one_signing_key_is_old(doctor: Doctor) -> None:
    """QStash has rolled them: there is time, but not for ever."""
    found = doctor(QSTASH_CURRENT_SIGNING_KEY="sig_" + "a" * 28)
    assert (found.code, found.names("✗")) == (1, {"signing keys"})
    assert "set both anew" in found.text("signing keys")


def test_the_functions_are_silent(doctor: Doctor) -> None:
    """They are named, and where they were looked for."""
    found = doctor(JOBS_BASE_URL="http://127.0.0.1:9")
    assert (found.code, found.names("✗")) == (1, {"functions"})
    folders = sorted(path.parent.name.replace("_", "-") for path in (ROOT / "functions").glob("*/handler.py"))
    assert found.text("functions").startswith(f"{', '.join(folders)}: not answering as they should")
    assert f"http://127.0.0.1:9/{folders[0]}" in found.text("functions")


@pytest.mark.parametrize(("status", "mark"), [(429, "✓"), (500, "✗"), (200, "✗"), (404, "✗")])
def test_a_function_that_is_busy_is_there(doctor: Doctor, status: int, mark: str) -> None:
    """It takes no more at the moment. Whatever answers otherwise than a function would is not one."""

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        do_DELETE = do_POST  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = doctor(JOBS_BASE_URL=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert found.of["functions"][0] == mark


def test_a_malformed_setting_is_said_once_for_each_part(doctor: Doctor) -> None:
    """And is never a traceback."""
    found = doctor(QSTASH_PLAN="gold")
    assert (found.code, found.names("✓")) == (1, set())
    assert found.text("settings").startswith("QSTASH_PLAN: ")
