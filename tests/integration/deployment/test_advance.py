"""Migrations while others work with the database: in two parts, one at a time, never in anybody's way for long."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from infra import migrations
from infra.migrations import Part, advance, migrate, pending
from infra.migrations.advance import (
    DatabaseAhead,
    MigrationBroken,
    MigrationFailed,
    MigrationWaits,
)
from qstash_jobs.database import Database
from qstash_jobs.errors import DatabaseUnreachable
from tests.conftest import engine_for
from tests.integration.deployment.conftest import columns
from tests.integration.deployment.revisions import Package, column
from tests.integration.postgres.conftest import pooled
from tests.waiting import until

MINUTE = timedelta(minutes=1)
CONCURRENTLY = """\
with op.get_context().autocommit_block():
    op.drop_index("by_type", if_exists=True, postgresql_concurrently=True)
    op.create_index("by_type", "job_executions", ["job_type"], postgresql_concurrently=True)
op.add_column("job_executions", sa.Column("afterwards", sa.Text))"""


@pytest.fixture(params=["pg8000", "psycopg"])
def patient(request: pytest.FixtureRequest, database_url: str) -> Iterator[Database]:
    """The database, over each driver."""
    made = Database(database_url.replace("postgresql://", f"postgresql+{request.param}://"), MINUTE)
    yield made
    made.close()


@pytest.fixture
def one(database_url: str) -> Iterator[Database]:
    """The database, where the driver makes no difference."""
    made = Database(database_url, MINUTE)
    yield made
    made.close()


def run(database: Database, part: Part | None = None, *, saas: bool = False, within: timedelta = MINUTE) -> list[str]:
    return advance.advance(database, part=part, saas=saas, within=within)


def indexes(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(text("SELECT indexname FROM pg_indexes")).scalars())


def test_one_after_the_other(patient: Database, package: Package, engine: Engine) -> None:
    """Those that are missing, of both branches; and again nothing."""
    package.add("jobs_0002", column("second"))
    package.add("jobs_0003", column("third"))
    assert run(patient, saas=True) == ["jobs_0002", "jobs_0003", "saas_0001"]
    assert {"second", "third"} <= columns(engine)
    assert run(patient, saas=True) == []


def test_two_parts(one: Database, package: Package, engine: Engine) -> None:
    """What is of the part after waits for it, and only what is at the end can wait."""
    package.add("jobs_0002", column("second"))
    package.add("jobs_0003", "op.drop_column('job_executions', 'second')", part="after")
    assert run(one, Part.BEFORE) == ["jobs_0002"]
    assert "second" in columns(engine)
    assert run(one, Part.BEFORE) == []
    assert run(one, Part.AFTER) == ["jobs_0003"]
    assert "second" not in columns(engine)
    assert run(one, Part.AFTER) == []


def test_what_belongs_to_an_earlier_release_runs_before(one: Database, package: Package) -> None:
    """A database that missed a release: its part after lies below this one's part before."""
    package.add("jobs_0002", column("second"))
    package.add("jobs_0003", "pass", part="after")
    package.add("jobs_0004", column("fourth"), part="before")
    package.add("jobs_0005", "pass", part="after")
    package.add("jobs_0006", "pass", part="after")
    assert run(one, Part.BEFORE) == ["jobs_0002", "jobs_0003", "jobs_0004"]
    assert run(one, Part.AFTER) == ["jobs_0005", "jobs_0006"]


def test_each_branch_has_parts_of_its_own(one: Database, package: Package) -> None:
    """The starter's are only looked at when they are asked for."""
    package.add("jobs_0002", "pass", part="after")
    package.add("saas_0002", column("nickname", "users"))
    assert run(one, Part.BEFORE) == []
    assert run(one, Part.BEFORE, saas=True) == ["saas_0001", "saas_0002"]
    assert run(one, Part.AFTER, saas=True) == ["jobs_0002"]


def test_a_part_that_is_none(one: Database, package: Package) -> None:
    """It says which revision, and what there is."""
    package.add("jobs_0002", "pass", part="afterwards")
    with pytest.raises(ValueError, match="jobs_0002: its part is 'afterwards'; it is one of before, after"):
        run(one, Part.BEFORE)


def test_an_index_is_made_concurrently(patient: Database, package: Package, engine: Engine) -> None:
    """As the how-to says; and what comes after it in the revision is in a transaction again."""
    package.add("jobs_0002", CONCURRENTLY)
    assert run(patient) == ["jobs_0002"]
    assert "by_type" in indexes(engine)
    assert "afterwards" in columns(engine)


def test_two_deployments_at_once(database_url: str, package: Package) -> None:
    """Also while one makes an index concurrently, which waits for everybody who waits within a statement: each revision
    runs once, and both end."""
    package.add("jobs_0002", CONCURRENTLY)
    package.add("jobs_0003", column("third"))
    begin = threading.Barrier(4)

    def deploy(_number: int) -> list[str]:
        database = Database(database_url, MINUTE)
        begin.wait()
        try:
            return run(database)
        finally:
            database.close()

    with ThreadPoolExecutor(4) as threads:
        ran = sorted(threads.map(deploy, range(4)))
    assert ran == [[], [], [], ["jobs_0002", "jobs_0003"]]


def test_nobody_else_migrates_meanwhile(one: Database, package: Package, engine: Engine) -> None:
    """It waits for whoever migrates in another way, and says so when that takes too long."""
    package.add("jobs_0002", "pass")
    with engine.connect() as other:
        migrations.lock(other)
        with pytest.raises(MigrationWaits, match="another deployment is migrating this database"):
            run(one, within=timedelta(seconds=1))
    assert run(one) == ["jobs_0002"]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are short."""
    monkeypatch.setattr(advance, "LOCK_TIMEOUT", timedelta(milliseconds=100))
    monkeypatch.setattr(advance, "_FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(advance, "PATIENCE", timedelta(seconds=2))


@pytest.mark.usefixtures("hurried")
def test_a_long_transaction_is_waited_for_without_holding_others_up(
    patient: Database, package: Package, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Between the tries others read and write as ever; once the transaction ends, the migration runs."""
    package.add("jobs_0002", column("second"))
    with ThreadPoolExecutor(1) as threads, engine.connect() as long, engine.connect() as other:
        long.execute(text("SELECT count(*) FROM job_executions"))
        ran = threads.submit(run, patient)
        until(lambda: caplog.text.count("Migration jobs_0002 tried again") >= 2)
        other.execute(text("SET lock_timeout = '1s'"))
        for _ in range(20):
            other.execute(text("SELECT count(*) FROM job_executions"))
            other.commit()
        assert not ran.done()
        long.commit()
        assert ran.result(30) == ["jobs_0002"]


@pytest.mark.usefixtures("hurried")
def test_a_transaction_that_does_not_end_is_named(one: Database, package: Package, engine: Engine) -> None:
    """By the process to end, for how long it has been open, and not by what it does; nothing of the revision stays."""
    package.add("jobs_0002", f"{column('second')}\nop.execute('LOCK TABLE job_attempts')")
    with engine.connect() as long:
        pid = long.execute(text("SELECT pg_backend_pid() FROM job_attempts RIGHT JOIN (SELECT 1) ON true")).scalar()
        with pytest.raises(MigrationWaits) as caught:
            run(one)
    said = str(caught.value)
    assert "the migration jobs_0002 does not get what it needs" in said
    assert "canceling statement due to lock timeout" in said
    assert f"process {pid} (no name, idle in transaction)" in said
    assert "second" not in columns(engine)


def test_what_postgres_refuses(patient: Database, package: Package, engine: Engine) -> None:
    """Which revision, and Postgres's sentence; what ran before it stays, and is not run again."""
    package.add("jobs_0002", column("second"))
    package.add("jobs_0003", f"{column('third')}\nop.drop_column('job_executions', 'nowhere')")
    with pytest.raises(MigrationFailed) as caught:
        run(patient)
    assert str(caught.value) == (
        'the migration jobs_0003 failed: column "nowhere" of relation "job_executions" does not exist (SQLSTATE 42703)'
    )
    assert (caught.value.revision, caught.value.sqlstate) == ("jobs_0003", "42703")
    assert {"second", "third"} & columns(engine) == {"second"}
    package.add("jobs_0003", column("third"))
    assert run(patient) == ["jobs_0003"]


def test_a_failure_tells_no_values(patient: Database, package: Package) -> None:
    """Postgres quotes the text that it cannot read; a row of anybody's may hold it."""
    package.add("jobs_0002", "op.execute(\"SELECT v::int FROM (VALUES ('ada@example.com')) AS t(v)\")")
    with pytest.raises(MigrationFailed, match="jobs_0002 failed: invalid input syntax") as caught:
        run(patient)
    assert "ada" not in str(caught.value)
    assert caught.value.sqlstate == "22P02"


def test_a_revision_whose_code_is_wrong(one: Database, package: Package, engine: Engine) -> None:
    """Which error and where, without its text, which may quote a row."""
    package.add("jobs_0002", f"{column('second')}\n{{}}['ada@example.com']")
    with pytest.raises(MigrationBroken) as caught:
        run(one)
    assert str(caught.value) == "the migration jobs_0002 failed: KeyError in jobs_0002_test.py, line 14"
    assert "second" not in columns(engine)


def test_a_database_that_is_ahead_is_left_alone(one: Database, package: Package, engine: Engine) -> None:
    """The package of the release before knows nothing of the newest revision, and takes nothing back."""
    package.add("jobs_0002", column("second"))
    run(one, saas=True)
    package.remove("jobs_0002")
    assert run(one, saas=True) == run(one, Part.AFTER) == []
    with engine.connect() as connection:
        assert migrations.unknown(connection) == ["jobs_0002"]
        assert pending(connection, saas=True) == []
    assert "second" in columns(engine)


def test_versions_that_went_different_ways(one: Database, package: Package) -> None:
    """Ahead in one branch and behind in the other: nothing is run, for nobody has tried these together."""
    package.add("jobs_0002", column("second"))
    run(one)
    package.remove("jobs_0002")
    package.add("saas_0002", "pass")
    with pytest.raises(DatabaseAhead, match=r"the database has jobs_0002, .* and lacks saas_0001, saas_0002"):
        run(one, saas=True)


@pytest.mark.parametrize("of", Part)
@pytest.mark.parametrize("part", [None, *Part])
def test_a_revision_in_the_place_of_one_that_ran(one: Database, package: Package, part: Part | None, of: Part) -> None:
    """Two versions went different ways within one branch: that is found out in each part, before the functions change."""
    package.add("jobs_0002", column("second"))
    run(one)
    package.remove("jobs_0002")
    package.add("jobs_0003", column("third"), behind="jobs_0001", part=of.value)
    with pytest.raises(DatabaseAhead, match=r"the database has jobs_0002, .* and lacks jobs_0003"):
        run(one, part)


def test_a_branch_that_was_given_up(one: Database, package: Package) -> None:
    """With its tables still there the others do not go on; once they are taken away, they do."""
    run(one, saas=True)
    package.remove("saas_0001")
    assert run(one) == []
    package.add("jobs_0002", column("second"))
    with pytest.raises(
        DatabaseAhead, match=r"has saas_0001, .*If saas was given up: jobs migrate --down --to saas@base"
    ):
        run(one)
    with one.engine.begin() as connection:
        connection.execute(text("DELETE FROM job_migrations WHERE version_num = 'saas_0001'"))
    assert run(one) == ["jobs_0002"]


def test_a_connection_that_is_lost_within_a_revision(one: Database, package: Package, engine: Engine) -> None:
    """It is an outage, and nothing of the revision stays."""
    package.add("jobs_0002", f"{column('second')}\nop.execute('SELECT pg_terminate_backend(pg_backend_pid())')")
    with pytest.raises(DatabaseUnreachable):
        run(one)
    assert "second" not in columns(engine)
    package.add("jobs_0002", column("second"))
    assert run(one) == ["jobs_0002"]


def test_what_takes_too_long_is_ended_by_postgres(one: Database, package: Package, engine: Engine) -> None:
    """Before the function that waits for it is killed, and the statement would go on alone."""
    package.add("jobs_0002", "op.execute('SELECT pg_sleep(60)')")
    with pytest.raises(MigrationFailed, match="statement timeout"):
        run(one, within=timedelta(seconds=1))
    with engine.connect() as connection:
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(6%' AND state = 'active'"
        assert connection.execute(text(sleeping)).scalar() == 0


def test_behind_a_transaction_pooler(database_url: str, package: Package, engine: Engine) -> None:
    """Two deployments at once, through two server connections for both: the lock is a transaction's, and holds."""
    package.add("jobs_0002", CONCURRENTLY)
    with pooled(database_url) as url:

        def deploy(_number: int) -> list[str]:
            database = Database(url, MINUTE)
            try:
                return run(database, saas=True)
            finally:
                database.close()

        with ThreadPoolExecutor(2) as threads:
            assert sorted(threads.map(deploy, range(2))) == [[], ["jobs_0002", "saas_0001"]]
    assert "by_type" in indexes(engine)


def test_an_empty_database(empty_database_url: str) -> None:
    """The first deployment of all; two at once here too."""

    def deploy(_number: int) -> list[str]:
        database = Database(empty_database_url, MINUTE)
        try:
            return run(database, saas=True)
        finally:
            database.close()

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(deploy, range(2))) == [[], ["jobs_0001", "saas_0001"]]


def test_the_desk_s_way_still_is_one_transaction(empty_database_url: str, package: Package) -> None:
    """`migrate` on a connection of the caller's: all or nothing."""
    package.add("jobs_0002", "op.drop_column('job_executions', 'nowhere')")
    engine = engine_for(empty_database_url)
    with pytest.raises(Exception, match="nowhere"), engine.begin() as connection:
        migrate(connection)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT to_regclass('job_executions')")).scalar() is None
    engine.dispose()


def test_the_newest_revisions_are_known(package: Package) -> None:
    """The template names them, so that CloudFormation sees when there are others."""
    package.add("jobs_0002", "pass")
    assert migrations.heads() == ["jobs_0002", "saas_0001"]
    assert migrations.heads(saas=False) == ["jobs_0002"]
    assert migrations.known() == {"jobs_0001", "jobs_0002", "saas_0001"}


def test_every_revision_names_its_branch() -> None:
    """By that a database that is ahead is known to be ahead in this branch, and not behind in another."""
    versions = Path(migrations.__file__).parent / "versions"
    assert {path.name.partition("_")[0] for path in versions.glob("*.py")} == {"jobs", "saas"}
    assert {one.partition("_")[0] for one in migrations.known()} == {"jobs", "saas"}


def test_revisions_count_up_along_their_branch() -> None:
    """By that a revision which the database lacks is told from one that a newer version left behind."""
    for script in ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions():
        assert re.fullmatch(r"(jobs|saas)_\d{4}", script.revision)
        assert script.down_revision is None or str(script.down_revision) < script.revision
