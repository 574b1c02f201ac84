"""A database as Postgres itself describes it, to compare what different ways have made."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, text


def engine_of(url: str) -> Engine:
    """An engine that keeps no connection: each sees what the last one left."""
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)


def schema_of(tables: Collection[str], connection: Connection) -> dict[str, list[Any]]:
    """Columns, constraints and indexes with their predicates, as Postgres itself writes them down."""
    names = f"({', '.join(repr(name) for name in tables)})"
    questions = {
        "columns": f"""
            SELECT attrelid::regclass::text, attnum, attname, format_type(atttypid, atttypmod), attnotnull,
                attidentity::text, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)
            FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
            WHERE attrelid::regclass::text IN {names} AND attnum > 0 ORDER BY 1, 2""",
        "constraints": f"""
            SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE conrelid::regclass::text IN {names} ORDER BY 1, 2""",
        "indexes": f"SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN {names} ORDER BY 1",
    }
    return {name: [tuple(row) for row in connection.execute(text(sql))] for name, sql in questions.items()}
