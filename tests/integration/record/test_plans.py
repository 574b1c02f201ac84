"""Every query has an index that fits: looked up in the plans that Postgres makes for a table of 50,000 varied rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, event, text

from infra.local.postgres import EmbeddedPostgres
from qstash_jobs.drivers import Row
from qstash_jobs.executions import outbox, queries, upkeep
from qstash_jobs.executions.state import Status
from qstash_jobs.executions.upkeep import Carrier
from tests.conftest import engine_for

ROWS = 50_000
DATABASE = "plans"

FILL = f"""
    INSERT INTO job_executions (job_id, job_type, status, payload, attempts, budget, max_attempts, lease_owner,
        lease_until, available_at, idempotency_key, error, error_type, notified_at, user_id, organization_id,
        message_id, published_at, completed_at, created_at, updated_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
        CASE WHEN n % 100 IN (45, 50) THEN 'probe'
            ELSE (ARRAY['send-email', 'process-webhook', 'export-data'])[1 + n % 3] END,
        status, jsonb_build_object('n', n, 'text', repeat('x', 200)),
        CASE WHEN status = 'pending' THEN 0 ELSE 1 END, 3, 3,
        CASE WHEN status = 'processing' THEN gen_random_uuid() END,
        CASE WHEN status = 'processing' THEN now() + (n % 600 - 60) * interval '1 second' END,
        created + CASE WHEN status = 'pending' AND n % 3 > 0 THEN interval '40 days' ELSE interval '0' END,
        CASE WHEN n % 5 = 0 THEN 'key-' || n END,
        CASE WHEN status = 'failed' THEN 'no' END,
        CASE WHEN status = 'failed' THEN (ARRAY['Lost', 'KeyError', 'HTTPError', 'ValueError'])[1 + n / 50 % 4] END,
        CASE WHEN status = 'failed' AND n % 1000 > 99 THEN now() END,
        n % 1000, n % 100,
        'msg_' || n, CASE WHEN n % 7 > 0 OR status NOT IN ('pending', 'retrying') THEN created END,
        CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN created END,
        created, created
    FROM (
        SELECT n, now() - n * interval '40 seconds' AS created,
            CASE WHEN n % 50 = 0 THEN 'failed' WHEN n % 50 = 1 THEN 'cancelled' WHEN n % 100 = 2 THEN 'retrying'
                WHEN n % 500 = 3 THEN 'processing' WHEN n % 20 = 4 THEN 'pending' ELSE 'completed' END AS status
        FROM generate_series(1, {ROWS}) AS n
    ) AS rows
"""


@pytest.fixture(scope="module")
def filled(postgres: EmbeddedPostgres) -> Iterator[Engine]:
    """A record with a past: most of it completed, a little of everything else, and many delayed jobs."""
    admin = engine_for(postgres.url())
    autocommit = admin.connect().execution_options(isolation_level="AUTOCOMMIT")
    autocommit.execute(text(f"CREATE DATABASE {DATABASE} TEMPLATE template_jobs STRATEGY file_copy"))
    engine = engine_for(postgres.url(DATABASE))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # VACUUM takes no row for visible to all whose commit is not on disk yet.
        connection.execute(text("SET synchronous_commit = on"))
        connection.exec_driver_sql(FILL, execution_options={"no_parameters": True})
        for table, columns in (
            ("job_attempts", "job_id, attempt, generation, publication, lease_owner, cold_start, started_at"),
            ("job_actions", "job_id, generation, action, actor"),
        ):
            values = "job_id, 1, 1, 1, gen_random_uuid(), false, now()" if "lease" in columns else "job_id, 1, 'c', 'a'"
            connection.execute(text(f"INSERT INTO {table} ({columns}) SELECT {values} FROM job_executions"))
            connection.execute(text(f"VACUUM ANALYZE {table}"))
        # Every row is in the sample, so that the plans do not depend on which are.
        connection.execute(text("SET default_statistics_target = 1000"))
        connection.execute(text("VACUUM ANALYZE job_executions"))
    yield engine
    engine.dispose()
    autocommit.execute(text(f"DROP DATABASE {DATABASE} WITH (FORCE)"))
    autocommit.close()
    admin.dispose()


@dataclass(frozen=True)
class Scan:
    """One access to a table in a plan."""

    kind: str
    table: str | None
    index: str | None
    condition: str
    """What is looked up in the index; the rest is filtered afterwards."""


class Plans:
    """Runs what reads, and asks for the plan of every statement of it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.scans: list[Scan] = []

    def run(self, sql: str) -> list[Row]:
        """As `outbox` runs its statements."""
        self._explain(sql, None)
        result = self.connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
        return [tuple(row) for row in result] if result.returns_rows else []

    def of(self, read: Callable[[Connection], object]) -> None:
        """As people read."""
        statements: list[tuple[str, Any]] = []

        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
            statements.append((statement, parameters))

        event.listen(self.connection, "before_cursor_execute", note)
        read(self.connection)
        event.remove(self.connection, "before_cursor_execute", note)
        for statement, parameters in statements:
            self._explain(statement, parameters)

    def _explain(self, sql: str, parameters: Any) -> None:
        explain = f"EXPLAIN (FORMAT JSON) {sql}"
        options = {"no_parameters": True} if parameters is None else {}
        found = self.connection.exec_driver_sql(explain, parameters, execution_options=options).scalar_one()
        plan = found if isinstance(found, list) else json.loads(found)
        self._walk(plan[0]["Plan"])

    def _walk(self, node: dict[str, Any]) -> None:
        if "Scan" in node["Node Type"] and ("Relation Name" in node or "Index Name" in node):
            condition = node.get("Index Cond", "")
            self.scans.append(Scan(node["Node Type"], node.get("Relation Name"), node.get("Index Name"), condition))
        for inner in node.get("Plans", []):
            self._walk(inner)

    @property
    def indexes(self) -> set[str]:
        return {scan.index.removeprefix("job_executions_") for scan in self.scans if scan.index is not None}

    def looked_up(self, index: str) -> str:
        """What is looked up in an index."""
        return next(scan.condition for scan in self.scans if scan.index == f"job_executions_{index}")

    def assert_no_table_is_read_through(self) -> None:
        assert [scan for scan in self.scans if scan.kind == "Seq Scan"] == []
        assert self.scans != []


@pytest.fixture
def plans(filled: Engine) -> Iterator[Plans]:
    with filled.connect() as connection:
        found = Plans(connection)
        yield found
        found.assert_no_table_is_read_through()


JOB_ID = UUID("00000000-0000-7000-8000-000000000190")
"""Failed."""
NOW = datetime.now(UTC)


def named(filters: object) -> str:
    """The same in each process that collects the tests, whatever time it is there."""
    return re.sub(r"datetime\.datetime\([^)]*\)", "…", str(filters))


CURSOR = queries._cursor_at(NOW - timedelta(days=10), JOB_ID)


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({}, "recent"),
        ({"since": NOW - timedelta(hours=1)}, "recent"),
        ({"until": NOW - timedelta(days=20)}, "recent"),
        ({"status": Status.FAILED}, "by_status"),
        ({"status": Status.PROCESSING}, "by_status"),
        ({"job_type": "probe"}, "by_type"),
        ({"user_id": 17}, "by_user"),
        ({"organization_id": 17}, "by_organization"),
        ({"error_type": "Lost"}, "by_error"),
        ({"error_type": "Unheard"}, "by_error"),
        ({"user_id": 17, "status": Status.COMPLETED}, "by_user"),
    ],
    ids=named,
)
@pytest.mark.parametrize("cursor", [None, CURSOR], ids=["first page", "later page"])
def test_search(plans: Plans, asked: dict[str, Any], index: str, cursor: str | None) -> None:
    """Each filter has its index, which gives the rows in order; a later page begins where the one before ended."""
    plans.of(lambda connection: queries.search(connection, cursor=cursor, **asked))
    assert plans.indexes == {index}
    assert cursor is None or "created_at" in plans.looked_up(index)


@pytest.mark.parametrize(
    "asked",
    [
        {"status": Status.FAILED, "job_type": "probe"},
        {"job_type": "probe", "user_id": 3},
        {"organization_id": 4, "error_type": "Lost", "since": NOW - timedelta(days=3)},
        {"status": Status.FAILED, "until": NOW - timedelta(days=3)},
    ],
    ids=named,
)
def test_search_by_several(plans: Plans, asked: dict[str, Any]) -> None:
    """Some index narrows it down."""
    plans.of(lambda connection: queries.search(connection, **asked))
    assert plans.indexes


def test_one_job(plans: Plans) -> None:
    """By its id: the row, its attempts and its actions."""
    plans.of(lambda connection: queries.get(connection, JOB_ID))
    plans.of(lambda connection: queries.attempts(connection, JOB_ID))
    plans.of(lambda connection: queries.actions(connection, JOB_ID))
    assert {"pkey", "job_attempts_pkey", "job_actions_job_id"} == plans.indexes


def test_counts(plans: Plans) -> None:
    """All rows are counted, but from an index: the payloads are not read."""
    plans.of(queries.counts)
    assert [(scan.kind, scan.index) for scan in plans.scans] == [("Index Only Scan", "job_executions_counts")]


def test_health(plans: Plans) -> None:
    """Each figure from its own small index; delayed jobs, however many, are not looked at."""
    plans.of(queries.health)
    assert plans.indexes == {"unpublished", "awaited", "leases", "unnotified"}
    for index in ("unpublished", "awaited"):
        assert "available_at" in plans.looked_up(index)


def test_what_is_due(plans: Plans) -> None:
    """The relay asks every second: it looks up what is due, and passes over what is delayed."""
    assert outbox.due(plans.run, timedelta(days=7), timedelta(seconds=2), 500)
    assert plans.indexes == {"unpublished"}
    assert "available_at" in plans.looked_up("unpublished")


def test_what_is_overdue(plans: Plans) -> None:
    """Likewise for messages whose delivery does not come."""
    assert upkeep.overdue(plans.run, timedelta(minutes=2), 100)
    assert plans.indexes == {"awaited"}
    assert "available_at" in plans.looked_up("awaited")


def test_expired_leases(plans: Plans) -> None:
    """Looked up by their end; each row is then moved by its id."""
    assert upkeep.reap(plans.run, timedelta(seconds=30), 500)
    assert plans.indexes == {"leases", "pkey"}
    assert "lease_until" in plans.looked_up("leases")


def test_untold_failures(plans: Plans) -> None:
    """All of them, or one job's."""
    assert upkeep.unnotified(plans.run, 500)
    assert plans.indexes == {"unnotified"}
    upkeep.unnotified(plans.run, 500, JOB_ID)
    assert plans.indexes <= {"unnotified", "pkey"}


@pytest.mark.parametrize("number", [1, 2, 200])
def test_idempotency_keys(plans: Plans, number: int) -> None:
    """However many are asked for."""
    found = plans.connection.execute(
        text("SELECT job_type, idempotency_key FROM job_executions WHERE idempotency_key <> '' LIMIT :n"), {"n": number}
    )
    keys = [(row.job_type, row.idempotency_key) for row in found]
    assert len(outbox.by_idempotency_key(plans.run, keys)) == number
    assert plans.indexes == {"idempotency"}


def test_depth(plans: Plans) -> None:
    """What reconcile reports each time."""
    assert upkeep.depth(plans.run).waiting > 0
    assert plans.indexes == {"unpublished", "awaited"}


def test_moves_of_one_job(plans: Plans) -> None:
    """Publication, confirmation and loss find their rows by id."""
    [[job_id]] = plans.connection.exec_driver_sql(
        "SELECT job_id FROM job_executions WHERE status = 'retrying' AND published_at IS NULL LIMIT 1"
    )
    [publication] = outbox.unpublished(plans.run, [job_id], timedelta(0))
    outbox.confirm(plans.run, [(publication, "msg_1")])
    outbox.refuse(plans.run, [(publication, "no", True)], timedelta(seconds=30), timedelta(hours=1))
    upkeep.lose(plans.run, Carrier(job_id=JOB_ID, generation=1, publication=1), timedelta(0), timedelta(0), None)
    assert plans.indexes == {"pkey", "job_attempts_pkey"}
