"""Alembic's entry: runs the migrations on the connection that `infra.migrations` hands over."""

from __future__ import annotations

from alembic import context

from infra.migrations import VERSION_TABLE
from qstash_jobs.executions.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
