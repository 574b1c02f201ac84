"""Indexes and keys, put aside while a table is filled: made at its end they take a fraction of being kept up row by row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

CONSTRAINTS = """
    SELECT quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = to_regclass(:table) AND contype IN ('f', 'u') ORDER BY contype DESC, conname"""

INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid = to_regclass(:table)
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
    ORDER BY 1"""

MEMORY = "SET LOCAL maintenance_work_mem = '256MB'"


@contextmanager
def put_aside(connection: Connection, table: str) -> Iterator[None]:
    """All but the primary key, which others refer to, and the checks. What comes back is checked against all rows."""
    constraints = connection.execute(text(CONSTRAINTS), {"table": table}).all()
    indexes = connection.execute(text(INDEXES), {"table": table}).all()
    for name, _ in constraints:
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, _ in indexes:
        connection.exec_driver_sql(f"DROP INDEX {name}")
    yield
    connection.exec_driver_sql(MEMORY)
    for _, definition in indexes:
        connection.exec_driver_sql(definition)
    for name, definition in constraints:
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
