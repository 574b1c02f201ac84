"""Why a seed does not begin. By itself, so that the command can name it without loading Alembic and SQLAlchemy."""

from __future__ import annotations


class SeedRefused(RuntimeError):
    """The tables are not such that they may be filled; the message says why, and what to do."""
