"""`jobs list`, `jobs show` and `jobs watch`: what people see of the record."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from uuid import UUID

import pytest

from infra.cli.samples import MAILS
from qstash_jobs.database import Database
from qstash_jobs.job import Job
from qstash_jobs.jobs.cleanup_old_data import CleanupOldData
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.run import Outcome, Run
from qstash_jobs.serving import serve
from qstash_jobs.testing import Context, create_test_job, signed_event
from tests.conftest import forget
from tests.integration.cli.conftest import Jobs

UNKNOWN = "019a3f1c-0000-7000-8000-000000000000"
HOSTILE = "no [/] such [bold]tag[/dim] \x1b[2J"


def deliver(job: Job, error: Exception | None = None) -> UUID:
    """A job that was delivered once, and failed for good with the error, if there is one."""
    job_id = create_test_job(job, user_id=7, organization_id=3, retries=0)

    def function(_payload: Job, run: Run) -> Outcome:
        run.progress(0.5, "half [of] it")
        if error is not None:
            raise error
        return {"done": True}

    serve(type(job), function)(signed_event(job, job_id=job_id, by_reference=True), Context(timedelta(seconds=10)))
    return job_id


@pytest.fixture
def three(database: Database) -> list[UUID]:
    """One that waits, one that completed, one that failed; oldest first."""
    return [
        create_test_job(CleanupOldData(cleanup_type="logs", days_old=30), user_id=8),
        deliver(Probe()),
        deliver(Probe(), RuntimeError(HOSTILE)),
    ]


def ids_in(text: str) -> list[str]:
    return re.findall(r"^[0-9a-f]{8}-[0-9a-f-]{27}", text, re.MULTILINE)


def test_list_shows_the_newest_first_in_plain_text(three: list[UUID], jobs: Jobs) -> None:
    """Through a pipe there are no colours, nothing is cut off, and each job is one line."""
    done = jobs("list")
    assert done.code == 0
    assert ids_in(done.out) == [str(job_id) for job_id in reversed(three)]
    assert len(done.out.splitlines()) == 1 + len(three)
    assert "\x1b" not in done.out


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--status", "failed"], [2]),
        (["--status", "pending"], [0]),
        (["--status", "retrying"], []),
        (["--type", "probe"], [2, 1]),
        (["--type", "nothing-like-it"], []),
        (["--user", "8"], [0]),
        (["--organization", "3"], [2, 1]),
        (["--since", "1h"], [2, 1, 0]),
        (["--since", "1h", "--type", "probe", "--status", "completed"], [1]),
    ],
)
def test_list_filters(three: list[UUID], jobs: Jobs, arguments: list[str], found: list[int]) -> None:
    """Each filter, and several at once; when nothing matches it says so."""
    done = jobs("list", *arguments)
    assert done.code == 0
    assert ids_in(done.out) == [str(three[index]) for index in found]
    assert bool(found) != ("No job matches." in done.out)


def test_list_pages(three: list[UUID], jobs: Jobs) -> None:
    """The cursor that a page ends with stands whole on a line, and leads to the next one, until the last."""
    seen: list[str] = []
    following: list[str] = []
    for _ in three:
        done = jobs("list", "--limit", "1", *following)
        seen += ids_in(done.out)
        following = re.findall(r"^More: jobs list (--cursor) (\S+)$", done.out, re.MULTILINE)
        following = [word for pair in following for word in pair]
    assert seen == [str(job_id) for job_id in reversed(three)]
    assert following == []


def test_list_takes_what_an_error_says_as_text(three: list[UUID], jobs: Jobs) -> None:
    """Brackets are no markup, and escapes do not reach the terminal."""
    done = jobs("list", "--status", "failed")
    assert "no [/] such [bold]tag[/dim] \N{REPLACEMENT CHARACTER}[2J" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--status", "done"], "a status is one of pending,"),
        (["--since", "yesterday"], "one looks like 90s, 10m, 2h or 1d12h"),
        (["--since", "9999999w"], "is too long"),
        (["--since", "9" * 5000 + "s"], "is no duration"),
        (["--limit", "0"], "greater than or equal to 1"),
        (["--user", "me"], "should be a valid integer"),
    ],
)
def test_list_refuses_what_it_cannot_mean(
    nowhere: pytest.MonkeyPatch, jobs: Jobs, arguments: list[str], said: str
) -> None:
    """A wrong argument is exit status 2."""
    done = jobs("list", *arguments)
    assert done.code == 2
    assert said in done.sentence


@pytest.mark.parametrize("cursor", ["bm8=", "é", "="])
def test_list_refuses_a_cursor_that_no_page_gave(database: Database, jobs: Jobs, cursor: str) -> None:
    """However it is malformed."""
    done = jobs("list", "--cursor", cursor)
    assert done.code == 2
    assert "is no cursor of a page" in done.sentence


def test_list_says_that_a_number_is_beyond_the_column(database: Database, jobs: Jobs) -> None:
    """Postgres's refusal is one sentence."""
    done = jobs("list", "--user", "9" * 20)
    assert done.code == 1
    assert "out of range" in done.sentence


def test_show_tells_a_job_s_life(three: list[UUID], jobs: Jobs) -> None:
    """Its row, its attempt with the traceback as it was raised, line by line and with nothing cut off."""
    done = jobs("show", str(three[2]))
    assert done.code == 0
    for words in ("failed", "1 of 1", "50% half [of] it", "RuntimeError: no [/] such", '{"mode": "succeed"'):
        assert words in done.out
    assert re.search(r"^Traceback \(most recent call last\):$", done.out, re.MULTILINE)
    assert re.search(r'^  File ".*", line \d+, in function$', done.out, re.MULTILINE)
    assert "\x1b" not in done.out


def test_show_tells_what_people_did(three: list[UUID], jobs: Jobs) -> None:
    """Who cancelled it, and when."""
    assert jobs("cancel", str(three[0])).code == 0
    done = jobs("show", str(three[0]))
    assert re.search(r"^cancel +\S+ \(jobs\) +.* ago$", done.out, re.MULTILINE)


def test_show_as_json_is_for_programs(three: list[UUID], jobs: Jobs) -> None:
    """All of it, under the record's names."""
    document = json.loads(jobs("show", str(three[2]), "--json").out)
    assert document["execution"]["job_id"] == str(three[2])
    assert document["execution"]["payload"] == {"mode": "succeed", "seconds": 0.0}
    assert [attempt["outcome"] for attempt in document["attempts"]] == ["failed"]
    assert HOSTILE in document["attempts"][0]["error"]
    assert document["actions"] == []


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_a_sensitive_payload_is_not_shown(database: Database, jobs: Jobs, options: list[str]) -> None:
    """Neither the address nor the reset link of a mail."""
    job_id = create_test_job(MAILS[1])
    out = jobs("show", str(job_id), *options).out
    assert '"redacted": true' in out
    assert "ada@example.com" not in out
    assert "reset?token" not in out


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_an_unknown_job_is_said_to_be_unknown(database: Database, jobs: Jobs, options: list[str]) -> None:
    """One sentence on standard error, nothing on standard output."""
    done = jobs("show", UNKNOWN, *options)
    assert (done.code, done.out) == (1, "")
    assert done.sentence == f"Error: no job has the id {UNKNOWN}"


@pytest.mark.parametrize("command", ["show", "cancel", "requeue"])
def test_what_is_no_job_id_is_refused(nowhere: pytest.MonkeyPatch, jobs: Jobs, command: str) -> None:
    """With what one looks like."""
    done = jobs(command, "42")
    assert done.code == 2
    assert "'42' is no job id" in done.sentence


def test_watch_counts_by_type_and_status(three: list[UUID], jobs: Jobs) -> None:
    """Once, and also when nobody sits at a terminal."""
    for done in (jobs("watch", "--once"), jobs("watch")):
        assert done.code == 0
        assert re.search(r"^cleanup-old-data +1\b", done.out, re.MULTILINE)
        assert re.search(r"^probe +1 +1\b", done.out, re.MULTILINE)
        assert "1 could run now" in done.out
        assert "1 failures untold" in done.out


@pytest.mark.parametrize(
    "command",
    [
        *(["list"], ["show", UNKNOWN], ["watch", "--once"], ["cancel", UNKNOWN], ["requeue", UNKNOWN], ["requeue"]),
        *(["relay", "--once"], ["enqueue", "probe"]),
    ],
    ids=" ".join,
)
def test_every_command_says_that_the_database_is_away(
    nowhere: pytest.MonkeyPatch, jobs: Jobs, command: list[str]
) -> None:
    """One sentence, and how to start one."""
    nowhere.setenv("DATABASE_URL", "postgresql://nobody@/nothing?host=/nowhere")
    nowhere.setenv("QSTASH_TOKEN", "token")
    nowhere.setenv("JOBS_BASE_URL", "http://127.0.0.1:9")
    done = jobs(*command)
    assert done.code == 1
    assert done.sentence.startswith("Error: Postgres cannot be reached: ")
    assert "make dev" in done.sentence


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_every_command_says_that_the_tables_are_missing(
    environment: pytest.MonkeyPatch, empty_database_url: str, jobs: Jobs, driver: str
) -> None:
    """With either driver, and how to make them."""
    environment.setenv("DATABASE_URL", empty_database_url.replace("postgresql", driver, 1))
    forget()
    for command in (
        "list",
        f"show {UNKNOWN}",
        "watch --once",
        f"cancel {UNKNOWN}",
        f"requeue {UNKNOWN}",
        "relay --once",
    ):
        done = jobs(*command.split())
        assert done.code == 1
        assert "does not exist" in done.sentence
        assert "jobs migrate" in done.sentence
    forget()


@pytest.mark.parametrize("command", [["list"], ["enqueue", "probe"], ["relay", "--once"], ["migrate"]], ids=" ".join)
def test_every_command_says_which_setting_is_missing(
    nowhere: pytest.MonkeyPatch, jobs: Jobs, command: list[str]
) -> None:
    """Its name, and where to get it."""
    nowhere.setenv("QSTASH_TOKEN", "token")
    done = jobs(*command)
    assert done.code == 1
    assert done.sentence.startswith("Error: DATABASE_URL: it is not set. Postgres, as its provider prints it")
