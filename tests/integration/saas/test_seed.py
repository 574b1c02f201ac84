"""`jobs seed`: how much it writes, that it is the same each time, and when it refuses to."""

from __future__ import annotations

import hashlib
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from infra.cli import seed as command
from infra.migrations import migrate
from infra.seed import load
from infra.seed.scale import DAYS, SCALES, Period, spread
from qstash_jobs.database import Database
from saas.tables import metadata
from tests.conftest import forget
from tests.integration.cli.conftest import Jobs, run_process
from tests.integration.saas.test_saas_migrations import schema

DAY = date(2026, 11, 1)
FILLED = set(load.TABLES)


def fill(database: Database, until: date = DAY, *, replace: bool = False) -> list[load.Step]:
    with database.transaction(timedelta(minutes=1)) as connection:
        return list(load.seed(connection, SCALES["small"], until, replace=replace))


def ask(engine: Engine, question: str) -> Any:
    """The one value that answers it."""
    with engine.connect() as connection:
        return connection.execute(text(question)).scalar_one()


def counts(engine: Engine) -> dict[str, int]:
    return {table: ask(engine, f"SELECT count(*) FROM {table}") for table in metadata.tables}


def fingerprint(engine: Engine) -> dict[str, str]:
    """Of all rows of each table, as text."""
    found = {}
    with engine.connect() as connection:
        for table in metadata.tables:
            rows = connection.execute(text(f"SELECT t::text FROM {table} t ORDER BY 1")).scalars()
            found[table] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return found


@pytest.fixture
def seeded(started: Engine, database: Database) -> Engine:
    """An engine on the small scale's data."""
    fill(database)
    return started


def test_the_small_scale_is_as_large_as_it_says(seeded: Engine) -> None:
    """Exactly in what it names, and with rows in all that follows from it; what jobs write stays empty."""
    found = counts(seeded)
    assert (found["users"], found["organizations"], found["activity_logs"]) == (500, 40, 20_000)
    assert {table for table, rows in found.items() if rows} == FILLED
    assert min(found[table] for table in FILLED) > 20


@pytest.mark.parametrize("driver", ["postgresql://", "postgresql+psycopg://"])
def test_the_same_day_gives_the_same_rows(driver: str, seeded: Engine, database_url: str, database: Database) -> None:
    """Down to the last byte, over either driver; another day's end where they should."""
    first = fingerprint(seeded)
    database.close()
    other = Database(database_url.replace("postgresql://", driver), timedelta(seconds=5))
    fill(other, replace=True)
    assert fingerprint(seeded) == first
    fill(other, date(2026, 11, 8), replace=True)
    assert fingerprint(seeded) != first
    assert str(ask(seeded, "SELECT max(created_at)::date FROM activity_logs")) == "2026-11-07"
    other.close()


def test_steps_say_how_far_it_is(started: Engine, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table begins with none and ends with all of its rows, however many statements it takes."""
    monkeypatch.setattr(load, "ROWS_OF_A_COPY", 8_000)
    steps = fill(database)
    logs = [(one.rows, one.begins, one.ends) for one in steps if one.table == "activity_logs"]
    assert logs == [
        (0, True, False),
        (8_000, False, False),
        (16_000, False, False),
        (20_000, False, False),
        (20_000, False, True),
    ]
    assert {one.table: one.rows for one in steps if one.ends} == {
        table: rows for table, rows in counts(started).items() if rows
    }


def test_indexes_and_keys_are_as_before(started: Engine, database: Database) -> None:
    """They are put aside while a table is filled."""
    with started.connect() as connection:
        before = schema(connection)
        connection.rollback()
        fill(database)
        assert schema(connection) == before


def test_rows_that_an_app_inserts_get_the_next_numbers(seeded: Engine) -> None:
    """The sequences stand where the data ends."""
    with seeded.begin() as connection:
        insert = "INSERT INTO users (email, name) VALUES ('new@example.com', 'New') RETURNING id"
        assert connection.execute(text(insert)).scalar_one() == 501
    with pytest.raises(IntegrityError, match="users_email"), seeded.begin() as connection:
        connection.execute(text("INSERT INTO users (email, name) VALUES ('NEW@example.com', 'Again')"))


@pytest.mark.parametrize(
    ("what", "question"),
    [
        ("an activity before its user came", "activity_logs a JOIN users u ON u.id = a.user_id WHERE a.created_at < u.created_at"),
        (
            "an activity in an organization that its user is not in",
            "activity_logs a LEFT JOIN organization_members m USING (organization_id, user_id) WHERE m.user_id IS NULL",
        ),
        (
            "a member before there was the organization",
            "organization_members m JOIN organizations o ON o.id = organization_id WHERE m.created_at < o.created_at",
        ),
        ("an organization without an owner", "organizations o WHERE NOT EXISTS (SELECT FROM organization_members WHERE organization_id = o.id AND role = 'owner')"),
        ("a session before its user", "sessions s JOIN users u ON u.id = user_id WHERE s.created_at < u.created_at"),
        ("a subscription unlike its last change", """subscriptions s JOIN LATERAL (
            SELECT * FROM subscription_changes WHERE subscription_id = s.id ORDER BY changed_at DESC, id DESC LIMIT 1
        ) c ON true WHERE (s.status, s.plan, s.quantity, s.amount) <> (c.status, c.plan, c.quantity, c.amount)"""),
        ("a subscription of another customer", "subscriptions s JOIN organizations o ON o.id = organization_id WHERE o.stripe_customer_id IS DISTINCT FROM s.stripe_customer_id"),
        ("an invoice without its subscription", "invoices LEFT JOIN subscriptions s USING (stripe_subscription_id) WHERE s.id IS NULL"),
        ("an invoice that is half paid", "invoices WHERE (status = 'paid') <> (amount_paid = amount_due AND paid_at IS NOT NULL)"),
        ("an address that somebody could have", "users WHERE email !~ '^[a-z]+\\.[a-z]+[0-9]+@[a-z0-9-]+\\.example$'"),
        ("something after the end", "activity_logs WHERE created_at >= '2026-11-01T00:00Z'"),
        ("a payment after the end", "invoices WHERE greatest(issued_at, paid_at, failed_at) >= '2026-11-01T00:00Z'"),
    ],
)  # fmt: skip
def test_there_is_nothing_that_cannot_be(seeded: Engine, what: str, question: str) -> None:
    """The rows of different tables tell the same story."""
    assert ask(seeded, f"SELECT count(*) FROM {question.replace(':', chr(92) + ':')}") == 0, what


@pytest.mark.parametrize(
    ("what", "question"),
    [
        ("weekends are quiet", """SELECT avg(n) FILTER (WHERE d >= 6) * 2 < avg(n) FILTER (WHERE d < 6) FROM (
            SELECT extract(isodow FROM created_at AT TIME ZONE 'UTC') d, count(*) n FROM activity_logs GROUP BY 1) days"""),
        ("it grows", """SELECT count(*) FILTER (WHERE created_at > '2026-02-01') > 2 * count(*) FILTER (
            WHERE created_at <= '2026-02-01') FROM activity_logs"""),
        ("over eighteen months", "SELECT max(created_at) - min(created_at) > '17 months' FROM users"),
        ("some sessions have expired", "SELECT count(*) FILTER (WHERE expires_at < '2026-11-01') BETWEEN 50 AND count(*) - 50 FROM sessions"),
        ("some invitations too, unanswered", "SELECT count(*) FILTER (WHERE expires_at < '2026-11-01') BETWEEN 5 AND count(*) - 5 FROM invitations WHERE accepted_at IS NULL"),
        ("payments fail", "SELECT count(failed_at) > 2 FROM invoices"),
        ("subscriptions end", "SELECT count(*) > 2 FROM subscriptions WHERE status = 'canceled'"),
        ("there are upgrades", "SELECT count(*) > 0 FROM subscription_changes a JOIN subscription_changes b USING (subscription_id) WHERE b.id > a.id AND b.amount > a.amount AND a.status = 'active'"),
        ("every plan is taken", "SELECT count(DISTINCT plan) = 3 FROM subscriptions"),
    ],
)  # fmt: skip
def test_it_looks_like_life(seeded: Engine, what: str, question: str) -> None:
    """There is something in it for each report and each clean-up."""
    assert ask(seeded, question.replace(":", "\\:")) is True, what


def test_a_seed_that_stops_leaves_nothing(started: Engine, database: Database) -> None:
    """It is one transaction."""

    def stop_at_the_last_table() -> None:
        with database.transaction(timedelta(minutes=1)) as connection:
            for step in load.seed(connection, SCALES["small"], DAY):
                if step.table == "activity_logs":
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_at_the_last_table()
    assert set(counts(started).values()) == {0}


@pytest.mark.parametrize(
    "weights", [[1.0], [0.0, 1.0, 0.0], [1 / 3] * 7, [Period(DAY).weight(day) for day in range(DAYS)]]
)
@pytest.mark.parametrize("total", [0, 1, 10, 999_983])
def test_a_total_is_spread_without_a_rest(total: int, weights: list[float]) -> None:
    """Whatever the weights do to floating point."""
    shares = list(spread(total, weights))
    assert (sum(shares), len(shares)) == (total, len(weights))
    assert min(shares) >= 0


def test_the_command_fills_the_tables_once(started: Engine, database: Database, jobs: Jobs) -> None:
    """It says what it wrote, in plain lines, and the second time that and how they can be emptied."""
    done = jobs("seed", "--until", "2026-11-01")
    assert done.code == 0
    assert done.out.startswith("users: 500 rows\norganizations: 40 rows\n")
    assert re.search(r"\nactivity_logs: 20,000 rows\n2\d,\d{3} rows after [\d.]+ m?s\.\n$", done.out)
    before = fingerprint(started)
    refused = jobs("seed")
    assert (refused.code, refused.out) == (1, "")
    assert "there are rows in users, organizations" in refused.sentence
    assert "--replace" in refused.sentence
    assert fingerprint(started) == before
    assert jobs("seed", "--replace", "--until", "2026-11-01").code == 0
    assert fingerprint(started) == before


def test_what_jobs_noted_before_does_not_clash(started: Engine, database: Database) -> None:
    """A file, an event and a mail of the time when there was nobody yet: they stay, and nothing need be deleted."""
    with started.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO files (s3_key, kind, content_type, bytes) VALUES ('exports/1.csv', 'export', 'text/csv', 1)"
            )
        )
        connection.execute(text("INSERT INTO email_deliveries (resend_id, address) VALUES ('1', 'ada@example.com')"))
    fill(database)
    assert {"files": 1, "email_deliveries": 1, "users": 500}.items() <= counts(started).items()


def test_on_a_terminal_there_is_a_bar(
    started: Engine, database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each table, and no plain lines beside them."""
    terminal = Console(force_terminal=True, width=100, highlight=False)
    monkeypatch.setattr(command, "console", terminal)
    out = jobs("seed").out
    assert "activity_logs" in out
    assert "━" in out
    assert "activity_logs: " not in out


def test_it_refuses_without_the_starters_tables(recorded: Engine, environment: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """Also when an app has users of its own, which it does not touch even when it is to replace what is there."""
    with recorded.begin() as connection:
        connection.execute(text("CREATE TABLE users (id int)"))
        connection.execute(text("INSERT INTO users VALUES (1)"))
    for arguments in (["seed"], ["seed", "--replace"]):
        refused = jobs(*arguments)
        assert refused.code == 1
        assert "jobs migrate --saas" in refused.sentence
    assert ask(recorded, "SELECT count(*) FROM users") == 1


def test_replacing_does_not_reach_beyond_the_starters_tables(seeded: Engine, jobs: Jobs) -> None:
    """A table of the app that refers to users is not emptied with them: Postgres refuses."""
    with seeded.begin() as connection:
        connection.execute(text("CREATE TABLE mine (user_id bigint REFERENCES users)"))
        connection.execute(text("INSERT INTO mine VALUES (1)"))
    refused = jobs("seed", "--replace")
    assert refused.code == 1
    assert "cannot truncate a table referenced in a foreign key constraint" in refused.sentence
    assert (ask(seeded, "SELECT count(*) FROM mine"), counts(seeded)["users"]) == (1, 500)


def test_it_refuses_a_database_elsewhere(environment: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """Without so much as asking it; `--remote` says that it is meant."""
    environment.setenv("DATABASE_URL", "postgresql://u@db.invalid/app")
    forget()
    refused = jobs("seed")
    assert refused.code == 1
    assert "DATABASE_URL leads to db.invalid" in refused.sentence
    assert "--remote" in refused.sentence
    away = jobs("seed", "--remote")
    assert away.code == 1
    assert "Postgres cannot be reached" in away.sentence


def test_it_says_what_is_no_size_and_no_day(jobs: Jobs) -> None:
    """Exit status 2."""
    assert jobs("seed", "--scale", "huge").code == 2
    assert jobs("seed", "--until", "yesterday").code == 2
    assert jobs("seed", "large").code == 2


def test_a_lost_connection_is_one_sentence(
    started: Engine, database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of a COPY, which goes past SQLAlchemy."""
    real = load._copy

    def cut(connection: Any, statement: str, lines: list[str]) -> None:
        if statement.startswith("COPY activity_logs"):
            connection.connection.driver_connection._usock.shutdown(2)
        real(connection, statement, lines)

    monkeypatch.setattr(load, "_copy", cut)
    done = jobs("seed")
    assert done.code == 1
    assert "Postgres cannot be reached" in done.sentence
    assert set(counts(started).values()) == {0}


def test_without_settings_it_says_which_is_missing(tmp_path: Path) -> None:
    """As a process of its own."""
    done = run_process("seed", cwd=tmp_path)
    assert done.code == 1
    assert "DATABASE_URL" in done.sentence


def test_the_starters_tables_can_be_filled_without_the_record(empty: Engine, empty_database_url: str) -> None:
    """Nothing of them leads into the record."""
    with empty.begin() as connection:
        migrate(connection, "saas_0001")
    database = Database(empty_database_url, timedelta(seconds=5))
    fill(database)
    database.close()
    assert counts(empty)["users"] == 500
