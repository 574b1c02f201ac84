"""The revisions that docs/write-a-migration.md shows, as it says to write them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from infra.migrations import Part, revert
from infra.migrations.advance import advance
from qstash_jobs.database import Database
from tests.conftest import ROOT
from tests.docs.pages import snippets
from tests.integration.cli.conftest import Jobs, jobs  # noqa: F401
from tests.integration.deployment.conftest import columns
from tests.integration.deployment.revisions import Package

PAGE = ROOT / "docs/write-a-migration.md"


@pytest.fixture
def written(package: Package) -> None:
    """Both, in files named as the page says."""
    added, dropped = snippets(PAGE, "python")
    (package.versions / "jobs_0002_requested_by.py").write_text(added.code)
    (package.versions / "jobs_0003_forget_requested_by.py").write_text(dropped.code)


@pytest.fixture
def patient(database_url: str) -> Iterator[Database]:
    """The database, with time."""
    made = Database(database_url, timedelta(minutes=1))
    yield made
    made.close()


@pytest.mark.usefixtures("written")
def test_the_revisions_of_the_page(patient: Database, engine: Engine) -> None:
    """The column comes before the functions, goes after them, and both can be taken back on a desk."""
    within = timedelta(minutes=1)
    assert advance(patient, part=Part.BEFORE, within=within) == ["jobs_0002"]
    assert "requested_by" in columns(engine)
    assert advance(patient, part=Part.AFTER, within=within) == ["jobs_0003"]
    assert "requested_by" not in columns(engine)
    with engine.begin() as connection:
        revert(connection, "jobs_0002")
    assert "requested_by" in columns(engine)
    with engine.begin() as connection:
        revert(connection, "jobs_0001")
    assert "requested_by" not in columns(engine)


@pytest.mark.usefixtures("written", "environment")
def test_the_commands_of_the_page(jobs: Jobs, package: Package) -> None:  # noqa: F811
    """By hand it is the same, and a version that is older says that the database is ahead."""
    assert jobs("migrate", "--plan", "--before").out == "jobs_0002\n"
    assert jobs("migrate", "--before").out == "Applied jobs_0002.\n"
    assert jobs("migrate", "--before").out == "Up to date.\n"
    assert jobs("migrate", "--plan", "--after").out == "jobs_0003\n"
    assert jobs("migrate", "--after").out == "Applied jobs_0003.\n"
    for file in package.versions.glob("jobs_000[23]*.py"):
        file.unlink()
    said = jobs("migrate").out
    assert said == "The database is ahead: it has jobs_0003, which this version does not know.\nUp to date.\n"
    refused = jobs("migrate", "--before", "--down", "--to", "jobs_0001")
    assert refused.code == 2
    assert "a part goes up to the newest revision" in refused.sentence


@pytest.mark.usefixtures("environment")
def test_the_command_says_which_revision_fails(jobs: Jobs, package: Package) -> None:  # noqa: F811
    """In one sentence, with Postgres's."""
    package.add("jobs_0002", "op.drop_column('job_executions', 'nowhere')")
    failed = jobs("migrate")
    assert failed.code == 1
    assert 'the migration jobs_0002 failed: column "nowhere"' in failed.sentence
