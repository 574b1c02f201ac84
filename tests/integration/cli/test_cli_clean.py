"""`jobs clean` and the desk do not get in each other's way."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.cli.desk import clean
from infra.local.desk import only_one
from infra.local.service import DeskFailed


def test_nothing_is_removed_while_a_desk_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Postgres would lose its data under its feet."""
    monkeypatch.chdir(tmp_path)
    folder = Path(".local")
    folder.mkdir()
    with only_one(folder), pytest.raises(DeskFailed, match="runs already"):
        clean()
    assert folder.exists()
    clean()
    assert not folder.exists()
