"""Whose connection a caller hands over."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from qstash_jobs.callers import caller_of


class Dbapi:
    """A driver's own connection."""

    def cursor(self) -> None:
        """Never called here."""

    def commit(self) -> None:
        """Never called here."""


@pytest.mark.parametrize("name", ["sqlalchemy", "sqlalchemy.orm"])
def test_a_module_that_another_thread_is_importing_is_not_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has none of its names yet: the publisher's thread imports SQLAlchemy while the service, which uses another
    driver, enqueues its next job."""
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    connection = Dbapi()
    assert caller_of(connection).__dict__ == {"_connection": connection}
