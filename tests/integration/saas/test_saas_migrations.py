"""The starter's branch of the migrations: by itself, beside the record's, and beside an app's own tables."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import ProgrammingError

from infra import migrations
from infra.cli import doctor
from infra.local.desk import Desk, Ports
from infra.local.postgres import EmbeddedPostgres
from infra.migrations import VERSION_TABLE, has_saas, migrate, pending, revert
from qstash_jobs.database import Database
from qstash_jobs.executions.tables import metadata as record_metadata
from saas.tables import metadata
from tests.conftest import FAST, forget
from tests.integration.cli.conftest import Jobs
from tests.schema import engine_of, schema_of

RECORD = set(record_metadata.tables)
STARTER = set(metadata.tables)


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {VERSION_TABLE}


schema = partial(schema_of, STARTER)


def test_by_default_only_the_record_is_migrated(empty: Engine) -> None:
    """And nothing else is said to be missing."""
    with empty.connect() as connection:
        assert pending(connection) == ["jobs_0001"]
        migrate(connection)
        assert (tables(connection), pending(connection), has_saas(connection)) == (RECORD, [], False)
        assert pending(connection, saas=True) == ["saas_0001"]


def test_both_up_down_and_up_again(empty: Engine) -> None:
    """Down leaves nothing but the table of versions, and up makes the same again."""
    with empty.connect() as connection:
        migrate(connection, saas=True)
        assert tables(connection) == RECORD | STARTER
        assert (pending(connection, saas=True), has_saas(connection)) == ([], True)
        first = schema(connection)
        revert(connection, "base", saas=True)
        assert (tables(connection), has_saas(connection)) == (set(), False)
        migrate(connection, saas=True)
        assert schema(connection) == first


@pytest.mark.parametrize(
    ("back", "left"),
    [("base", STARTER), ("jobs@base", STARTER), ("saas@base", RECORD), ("jobs_0001", RECORD | STARTER)],
)
def test_reverting_one_branch_leaves_the_other(started: Engine, back: str, left: set[str]) -> None:
    """`base` is the record's unless its branch is named, and the branch that was taken away comes back."""
    with started.connect() as connection:
        revert(connection, back)
        assert tables(connection) == left
        migrate(connection, saas=True)
        assert tables(connection) == RECORD | STARTER


def test_one_step_is_a_step_of_the_record(started: Engine) -> None:
    """As it was when there was no other branch."""
    with started.connect() as connection:
        revert(connection, "-1")
        assert tables(connection) == STARTER
        migrate(connection, "+1")
        assert tables(connection) == RECORD | STARTER


def test_a_revision_that_is_named_is_migrated_alone(empty: Engine) -> None:
    """The starter's tables do not need the record's."""
    with empty.connect() as connection:
        migrate(connection, "saas_0001")
        assert (tables(connection), pending(connection)) == (STARTER, ["jobs_0001"])


def test_models_and_migrations_agree_as_alembic_sees_them(started: Engine) -> None:
    """`alembic revision --autogenerate` would find nothing to do."""

    def of_the_starter(_object: object, name: str | None, kind: str, *_rest: object) -> bool:
        return kind != "table" or name in STARTER

    with started.connect() as connection:
        options = {
            "version_table": VERSION_TABLE,
            "compare_type": True,
            "compare_server_default": True,
            "include_object": of_the_starter,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_models_and_migrations_agree_as_postgres_sees_them(started: Engine, empty: Engine) -> None:
    """Also in what Alembic does not compare: checks, predicates of indexes, order of columns, comments."""
    with empty.begin() as modelled, started.connect() as connection:
        metadata.create_all(modelled)
        for part, expected in schema(modelled).items():
            assert schema(connection)[part] == expected


def test_every_foreign_key_has_an_index(started: Engine) -> None:
    """Deleting a user or an organization reads no table from its beginning to its end."""
    question = """
        SELECT conrelid::regclass::text || '.' || attname FROM pg_constraint
        JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
        WHERE contype = 'f' AND conrelid::regclass::text = ANY(:names) AND NOT EXISTS (
            SELECT FROM pg_index WHERE indrelid = conrelid AND indkey[0] = conkey[1])"""
    with started.connect() as connection:
        assert connection.execute(text(question), {"names": list(STARTER)}).scalars().all() == []


def test_an_apps_own_users_are_not_disturbed(empty: Engine) -> None:
    """Neither by the default, nor by asking for the starter's tables, which is refused and leaves nothing."""
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE users (id int, mine text)"))
        connection.execute(text("INSERT INTO users VALUES (1, 'untouched')"))
    with pytest.raises(ProgrammingError, match='"users" already exists'), empty.begin() as connection:
        migrate(connection, saas=True)
    with empty.connect() as connection:
        assert tables(connection) == {"users"}
        migrate(connection)
        assert (tables(connection), has_saas(connection)) == ({"users"} | RECORD, False)
        revert(connection, "base")
        assert connection.execute(text("SELECT id, mine FROM users")).all() == [(1, "untouched")]


def test_who_removes_the_starters_migrations_can_still_migrate(
    empty: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both branches are then the record's alone."""
    folder = Path(migrations.__file__).parent
    (tmp_path / "versions").mkdir()
    for file in ("env.py", "versions/jobs_0001_record.py"):
        (tmp_path / file).write_text((folder / file).read_text())
    monkeypatch.setattr(migrations, "__file__", str(tmp_path / "__init__.py"))
    with empty.connect() as connection:
        migrate(connection, saas=True)
        assert (tables(connection), pending(connection, saas=True)) == (RECORD, [])


def test_what_is_missing_of_the_starter_is_said_where_it_is_used(
    started: Engine, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the doctor, who says what to run; a database without the starter lacks nothing."""
    versions = Path(migrations.__file__).parent / "versions"
    (tmp_path / "versions").mkdir()
    for file in versions.glob("*.py"):
        (tmp_path / "versions" / file.name).write_text(file.read_text())
    newer = "revision, down_revision, branch_labels, depends_on = 'saas_0002', 'saas_0001', None, None\n"
    (tmp_path / "versions/saas_0002_newer.py").write_text(newer)
    (tmp_path / "env.py").write_text((versions.parent / "env.py").read_text())
    environment.setattr(migrations, "__file__", str(tmp_path / "__init__.py"))
    assert doctor._tables() == doctor.Finding(False, "missing saas_0002; run: jobs migrate --saas")
    with started.begin() as connection:
        assert pending(connection) == []
        revert(connection, "saas@base")
    assert doctor._tables() == doctor.Finding(True, "up to date")


def test_on_postgres_16(tmp_path_factory: pytest.TempPathFactory, started: Engine) -> None:
    """The same tables, through the package's own engine, up and down."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres16") / "server", version=16, settings=FAST)
    server.start()
    try:
        database = Database(server.url(), timedelta(seconds=5))
        with database.engine.begin() as connection, started.connect() as newest:
            migrate(connection, saas=True)
            of_16, of_18 = schema(connection), schema(newest)
            # 18 writes NOT NULL down as constraints of their own, 16 as a property of the column.
            of_18["constraints"] = [row for row in of_18["constraints"] if not row[2].startswith("NOT NULL")]
            assert of_16 == of_18
            revert(connection, "base", saas=True)
            assert tables(connection) == set()
        database.close()
    finally:
        server.remove()


def test_the_command_migrates_both_when_it_is_asked_to(
    environment: pytest.MonkeyPatch, empty_database_url: str, jobs: Jobs
) -> None:
    """`--saas` with the plan, up and down; without it the starter's tables are left as they are."""
    environment.setenv("DATABASE_URL", empty_database_url)
    forget()
    assert jobs("migrate", "--plan", "--saas").out == "jobs_0001\nsaas_0001\n"
    assert jobs("migrate").out == "Applied jobs_0001.\n"
    assert jobs("migrate", "--plan").out == "Up to date.\n"
    assert jobs("migrate", "--plan", "--saas").out == "saas_0001\n"
    assert jobs("migrate", "--saas").out == "Applied saas_0001.\n"
    assert jobs("migrate", "--saas").out == "Up to date.\n"
    assert jobs("migrate", "--down", "--to", "saas@base").out == "Back at saas@base.\n"
    assert jobs("migrate", "--plan", "--saas").out == "saas_0001\n"
    assert jobs("migrate", "--to", "saas_0001").out == "Applied saas_0001.\n"
    assert jobs("migrate", "--down", "--to", "base", "--saas").out == "Back at base.\n"
    assert jobs("migrate", "--plan", "--saas").out == "jobs_0001\nsaas_0001\n"


def test_the_command_says_why_the_starters_tables_cannot_be_made(
    recorded: Engine, environment: pytest.MonkeyPatch, jobs: Jobs
) -> None:
    """In the database of an app that has users of its own."""
    with recorded.begin() as connection:
        connection.execute(text("CREATE TABLE users (id int)"))
    done = jobs("migrate", "--saas")
    assert done.code == 1
    assert 'relation "users" already exists' in done.sentence
    assert "Without --saas, only the record's tables are made." in done.sentence
    assert jobs("migrate", "--saas", "--to", "saas_0001").code == 2


@pytest.mark.parametrize(("started_with", "expected"), [("nothing", RECORD), ("the starter's", RECORD | STARTER)])
def test_a_desk_on_a_given_database_makes_the_record_s_tables_alone(
    empty: Engine, empty_database_url: str, tmp_path: Path, started_with: str, expected: set[str]
) -> None:
    """And brings the starter's up to date if they are there."""
    if started_with != "nothing":
        with empty.begin() as connection:
            migrate(connection, "saas_0001")
    with Desk(tmp_path / "desk", ports=Ports(0, 0, 0, 0), given={"DATABASE_URL": empty_database_url}):
        pass
    with empty.connect() as connection:
        assert tables(connection) == expected


def test_the_desk_s_own_database_has_the_starters_tables_unless_an_app_has_its_own_there(tmp_path: Path) -> None:
    """It says so in its log, and starts either way."""
    said: list[str] = []
    desk = Desk(tmp_path / "desk", ports=Ports(0, 0, 0, 0), log=lambda part, line: said.append(f"{part}: {line}"))
    try:
        with desk:
            assert desk.postgres is not None
            engine = engine_of(desk.postgres.url())
            with engine.begin() as connection:
                assert tables(connection) == RECORD | STARTER
                revert(connection, "saas@base")
                connection.execute(text("CREATE TABLE users (id int)"))
        with desk, engine.connect() as connection:
            assert tables(connection) == RECORD | {"users"}
        assert any(line.startswith("postgres: without the starter's tables") for line in said)
    finally:
        assert desk.postgres is not None
        desk.postgres.remove()
