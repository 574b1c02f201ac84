"""`Custom::Migration` on a real Postgres: each request that CloudFormation makes, in a deployment and on the way back."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from infra.deployment import custom_resource, migrate
from infra.deployment.custom_resource import DeploymentStopped
from infra.migrations import advance, heads
from qstash_jobs.testing import Context
from tests.conftest import engine_for, forget
from tests.integration.deployment.conftest import columns, sample
from tests.integration.deployment.revisions import Package, column

BEFORE, AFTER = "migrations-before", "migrations-after"
AWAY = "postgresql://ada:s3cret@127.0.0.1:9/jobs"

pytestmark = pytest.mark.usefixtures("environment")


def ask(event: dict[str, Any], seconds: float = 60) -> tuple[str, str]:
    """The physical id, and what was said."""
    answer = json.loads(json.dumps(migrate.handler(event, Context(timedelta(seconds=seconds)))))
    return answer["PhysicalResourceId"], answer["Data"]["Said"]


def request(name: str, *, was: str | None = None, **properties: str | None) -> dict[str, Any]:
    """A sample event for the package as it is; `was` is the Head of before."""
    event = sample(name, **{"Head": ", ".join(heads()), **properties})
    if was is not None:
        event["OldResourceProperties"]["Head"] = was
    return event


def test_a_first_deployment(environment: pytest.MonkeyPatch, empty_database_url: str) -> None:
    """All is made before the functions come, and nothing is left for after."""
    environment.setenv("DATABASE_URL", empty_database_url)
    assert ask(request("migration-before-create")) == (BEFORE, "2 migrations ran: jobs_0001, saas_0001")
    assert ask(request("migration-after-create")) == (AFTER, "up to date")


def test_without_the_starter(environment: pytest.MonkeyPatch, empty_database_url: str) -> None:
    """An app has tables of its own by those names."""
    environment.setenv("DATABASE_URL", empty_database_url)
    event = request("migration-before-create", Starter="false", Head="jobs_0001")
    assert ask(event) == (BEFORE, "1 migration ran: jobs_0001")


def test_an_update_in_two_parts(package: Package, engine: Engine) -> None:
    """The new column comes first, the old one goes last."""
    package.add("jobs_0002", column("second"))
    package.add("jobs_0003", "op.drop_column('job_executions', 'second')", part="after")
    before = request("migration-before-update", was="jobs_0001", Starter="false", Head="jobs_0003")
    assert ask(before) == (BEFORE, "1 migration ran: jobs_0002")
    assert ask(before) == (BEFORE, "up to date")
    assert "second" in columns(engine)
    after = request("migration-after-update", was="jobs_0001", Starter="false", Head="jobs_0003")
    assert ask(after) == (AFTER, "1 migration ran: jobs_0003")
    assert "second" not in columns(engine)


def test_the_properties_of_an_older_version() -> None:
    """Without a head, or anything else."""
    event = request("migration-before-create", Head=None, Starter=None, Part=None)
    assert ask(event) == (BEFORE, "up to date")


def test_a_delete_takes_nothing_away(engine: Engine, environment: pytest.MonkeyPatch) -> None:
    """Not even a connection is made: the stack goes, the jobs stay."""
    environment.setenv("DATABASE_URL", AWAY)
    for name, physical_id in (("migration-before-delete", BEFORE), ("migration-after-delete", AFTER)):
        assert ask(request(name)) == (physical_id, "the tables and all that is in them stay")
    assert ask(sample("migration-before-delete", Part="nonsense"))[0] == BEFORE
    assert "job_id" in columns(engine)


def test_a_rollback_while_the_package_is_still_the_newer(package: Package, engine: Engine) -> None:
    """CloudFormation asks for the older head: the migration that failed is not tried again, for that would fail the
    rollback too; not even Postgres is needed."""
    package.add("jobs_0002", "op.drop_column('job_executions', 'nowhere')")
    with pytest.raises(DeploymentStopped):
        ask(request("migration-before-update", was="jobs_0001, saas_0001"))
    back = request("migration-before-update", was="jobs_0002, saas_0001", Head="jobs_0001, saas_0001")
    physical_id, said = ask(back)
    assert physical_id == BEFORE
    assert said.startswith("nothing was taken back to jobs_0001, saas_0001")


def test_a_rollback_with_the_older_package(
    package: Package, engine: Engine, environment: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration had run and something else failed: the column stays. It is waited for Postgres, which need not come."""
    monkeypatch.setattr(migrate, "REACHING", timedelta(seconds=1))
    package.add("jobs_0002", column("second"))
    assert ask(request("migration-before-update", was="jobs_0001", Head="jobs_0002", Starter="false"))[1].startswith(
        "1 "
    )
    package.remove("jobs_0002")
    back = request("migration-before-update", was="jobs_0002", Head="jobs_0001", Starter="false")
    for url in (None, AWAY, ""):
        if url is not None:
            environment.setenv("DATABASE_URL", url)
        assert ask(back)[1].startswith("nothing was taken back to jobs_0001")
    assert "second" in columns(engine)


def test_a_release_without_the_starter(package: Package, engine: Engine, environment: pytest.MonkeyPatch) -> None:
    """It deletes the starter's revision, as the how-to says, and brings one of the record: that is no way back."""
    package.remove("saas_0001")
    package.add("jobs_0002", column("second"))
    event = request("migration-before-update", was="jobs_0001, saas_0001", Starter="true")
    assert ask(event) == (BEFORE, "1 migration ran: jobs_0002")
    assert "second" in columns(engine)


def test_a_revision_that_gave_way_to_another(package: Package, engine: Engine) -> None:
    """Before it ran it is as if it had never been; after that the deployment stops, because nobody has tried both."""
    package.add("jobs_0003", column("third"), behind="jobs_0001")
    event = request("migration-before-update", was="jobs_0002", Starter="false", Head="jobs_0003")
    assert ask(event) == (BEFORE, "1 migration ran: jobs_0003")
    package.remove("jobs_0003")
    package.add("jobs_0004", column("fourth"), behind="jobs_0001")
    event = request("migration-before-update", was="jobs_0003", Starter="false", Head="jobs_0004")
    with pytest.raises(
        DeploymentStopped, match=r"has jobs_0003, .* and lacks jobs_0004: two versions went different ways"
    ):
        ask(event)
    assert "fourth" not in columns(engine)


def test_a_way_back_to_what_the_database_lacks(package: Package, engine: Engine) -> None:
    """The newer revision was taken back by hand, and a backup knows nothing of either: what is missing comes."""
    package.add("jobs_0002", column("second"))
    event = request("migration-before-update", was="jobs_0003", Starter="false", Head="jobs_0002")
    assert ask(event) == (BEFORE, "1 migration ran: jobs_0002")
    assert "second" in columns(engine)


def test_a_release_that_was_reverted(package: Package, engine: Engine) -> None:
    """Deployed anew after that, e.g. with another schedule: the database is ahead, and that is said."""
    package.add("jobs_0002", column("second"))
    ask(request("migration-before-update", was="jobs_0001", Head="jobs_0002", Starter="false"))
    package.remove("jobs_0002")
    event = request("migration-before-update", was="jobs_0001", Head="jobs_0001", Starter="false")
    assert ask(event) == (BEFORE, "up to date; the database is ahead, with jobs_0002")


def test_a_template_that_is_newer_than_the_package() -> None:
    """Somebody deployed without building: nothing would be migrated, and nobody would know."""
    with pytest.raises(DeploymentStopped, match=r"asks for jobs_0099, which this package does not have.*make build"):
        ask(request("migration-before-update", was="jobs_0001", Head="jobs_0099, saas_0001"))


@pytest.mark.parametrize("part", ["before", "after"])
def test_a_migration_that_fails_stops_the_deployment(package: Package, engine: Engine, part: str) -> None:
    """With the revision, Postgres's sentence, what stands now, and what to do."""
    package.add("jobs_0002", f"{column('second')}\nop.drop_column('job_executions', 'nowhere')")
    with pytest.raises(DeploymentStopped) as caught:
        ask(request(f"migration-{part}-update", was="jobs_0001", Head="jobs_0002", Starter="false"))
    said = str(caught.value)
    assert said.startswith(
        'the migration jobs_0002 failed: column "nowhere" of relation "job_executions" does not exist'
    )
    assert {"before": "functions of the version before go on", "after": "functions are the new ones"}[part] in said
    assert said.endswith("Mend it, and deploy again.")
    assert "second" not in columns(engine)


def test_a_reason_that_is_long(package: Package, caplog: pytest.LogCaptureFixture) -> None:
    """CloudFormation refuses an answer of more than 4 kB, and would wait for another for an hour: the rest is in the log."""
    package.add("jobs_0002", "op.execute(\"DO $$ BEGIN RAISE '%', repeat('é', 6000); END $$\")")
    with pytest.raises(
        DeploymentStopped, match=r"^the migration jobs_0002 failed: é+ … \(all of it is in the log of"
    ) as caught:
        ask(request("migration-before-update", was="jobs_0001", Head="jobs_0002", Starter="false"))
    assert len(str(caught.value).encode()) < 2200
    assert "é" * 6000 in caplog.text


def test_the_starter_where_an_app_has_such_tables(engine: Engine) -> None:
    """The app's own are left as they are."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE users (id int)"))
    with pytest.raises(DeploymentStopped, match='saas_0001 failed: relation "users" already exists'):
        ask(request("migration-before-create"))
    assert columns(engine, "users") == {"id"}


def test_a_lock_that_is_not_to_be_had(package: Package, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends within the function's time, names who is in the way, and does not leave a statement behind."""
    monkeypatch.setattr(advance, "LOCK_TIMEOUT", timedelta(milliseconds=200))
    monkeypatch.setattr(migrate, "ANSWERING", timedelta(seconds=1))
    package.add("jobs_0002", column("second"))
    with engine.connect() as long:
        pid = long.execute(
            text("SELECT pg_backend_pid() FROM (SELECT 1) one LEFT JOIN job_executions ON true")
        ).scalar()
        began = time.monotonic()
        with pytest.raises(DeploymentStopped, match=f"others hold it .*process {pid} .*Then deploy again"):
            ask(request("migration-before-update", was="jobs_0001", Head="jobs_0002", Starter="false"), seconds=4)
        assert time.monotonic() - began < 4


def test_a_database_that_is_away(environment: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried for a while; the sentence has neither the DSN nor the password."""
    monkeypatch.setattr(migrate, "REACHING", timedelta(seconds=1))
    environment.setenv("DATABASE_URL", AWAY)
    with pytest.raises(DeploymentStopped) as caught:
        ask(request("migration-before-create"))
    assert "Postgres cannot be reached" in str(caught.value)
    assert "DATABASE_URL" in str(caught.value)
    assert not [secret for secret in ("s3cret", "ada", AWAY) if secret in str(caught.value)]


def test_a_database_that_wakes_up(environment: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sleeps refuses the first connections."""
    monkeypatch.setattr(custom_resource, "FIRST_PAUSE_SECONDS", 0.01)
    from qstash_jobs.database import Database
    from qstash_jobs.errors import DatabaseUnreachable

    asleep = iter(range(3))
    connect = Database._connect

    def waking(self: Database, seconds: float | None = None) -> Any:
        if next(asleep, None) is not None:
            raise DatabaseUnreachable("the database system is starting up")
        return connect(self, seconds)

    monkeypatch.setattr(Database, "_connect", waking)
    assert ask(request("migration-before-create", Starter="false", Head="jobs_0001")) == (BEFORE, "up to date")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", r"DATABASE_URL: it is not set.*Then deploy again"),
        ("postgresql://ada:p/s@h/x", r"DATABASE_URL: there is an @ behind its host"),
        ("mysql://h/x", r"DATABASE_URL: it must begin with postgresql://"),
    ],
)
def test_a_database_that_is_not_named(environment: pytest.MonkeyPatch, value: str, says: str) -> None:
    """Which setting it is."""
    environment.setenv("DATABASE_URL", value)
    forget()
    with pytest.raises(DeploymentStopped, match=says):
        ask(request("migration-before-create"))


def test_a_role_that_may_not_read(saas_database_url: str, environment: pytest.MonkeyPatch) -> None:
    """Postgres's sentence, and neither the statement nor the driver's words."""
    engine = engine_for(saas_database_url)
    with engine.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS newcomer"))
        connection.execute(text("CREATE ROLE newcomer LOGIN"))
    environment.setenv("DATABASE_URL", saas_database_url.replace("//postgres", "//newcomer"))
    forget()
    try:
        with pytest.raises(DeploymentStopped) as caught:
            ask(request("migration-before-create"))
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP ROLE newcomer"))
        engine.dispose()
    assert str(caught.value).startswith(
        "Postgres refuses what is asked of it: permission denied for table job_migrations"
    )
    assert str(caught.value).endswith("and deploy again.")
    assert not [word for word in ("pg8000", "SELECT", "{", "sqlalche") if word in str(caught.value)]


def test_a_part_that_is_none() -> None:
    """The property is named."""
    with pytest.raises(DeploymentStopped, match="the property Part"):
        ask(request("migration-before-create", Part="during"))
