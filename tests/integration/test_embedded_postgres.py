"""The embedded Postgres: where it keeps its data, what it leaves alone, and that it keeps what was committed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.local import postgres as module
from infra.local.postgres import EmbeddedPostgres
from tests.conftest import engine_for


def ask(server: EmbeddedPostgres, sql: str) -> object:
    """One value."""
    engine = engine_for(server.url())
    try:
        with engine.begin() as connection:
            result = connection.execute(text(sql))
            return result.scalar_one() if result.returns_rows else None
    finally:
        engine.dispose()


def modes(folder: Path) -> dict[Path, int]:
    """The permissions of a folder and of all above it."""
    return {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents)}


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user may go through, as /var/lib is."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_no_other_folder_changes_its_mode(tmp_path: Path) -> None:
    """Neither above the folder that was asked for, nor above the binaries, also when root starts it."""
    watched = modes(tmp_path) | modes(Path(module.__file__).parent) | modes(module.packaged_binaries(18))
    server = EmbeddedPostgres(tmp_path / "server")
    server.start()
    server.remove()
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in watched} == watched


def test_what_was_committed_is_there_after_a_crash(tmp_path: Path) -> None:
    """Ended as by a crash, and started again, also by another object that finds its traces."""
    server = EmbeddedPostgres(tmp_path / "server")
    server.start()
    ask(server, "CREATE TABLE kept AS SELECT 7 AS number")
    server.restart()
    assert ask(server, "SELECT number FROM kept") == 7
    server.kill()
    with EmbeddedPostgres(tmp_path / "server") as again:
        assert ask(again, "SELECT number FROM kept") == 7
    again.remove()


def test_a_path_too_long_for_a_socket_is_no_obstacle(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket goes elsewhere, and goes away with the server."""
    deep = reachable.joinpath(*["a-folder-with-a-rather-long-name"] * 4)
    deep.mkdir(parents=True)
    monkeypatch.setattr(module, "FOLDER_AS_ROOT", deep)
    server = EmbeddedPostgres(deep / "server")
    server.start()
    sockets = Path(server.url().rpartition("=")[2])
    try:
        assert ask(server, "SELECT 1") == 1
        assert deep not in sockets.parents
    finally:
        server.remove()
    assert not sockets.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands Postgres to another user")
def test_binaries_that_the_other_user_cannot_reach_are_copied(
    reachable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a checkout below /root: a copy of them is run, and the checkout stays closed."""
    package = module.packaged_binaries(18).parents[1]
    closed = tmp_path / "closed"
    shutil.copytree(package / "pginstall18", closed / package.name / "pginstall18", symlinks=True)
    for libraries in package.parent.glob(f"{package.name}.libs"):
        shutil.copytree(libraries, closed / libraries.name)
    closed.chmod(0o700)
    monkeypatch.setattr(module, "FOLDER_AS_ROOT", reachable)
    monkeypatch.setattr(module, "packaged_binaries", lambda _version: closed / package.name / "pginstall18" / "bin")
    server = EmbeddedPostgres(tmp_path / "server")
    server.start()
    try:
        assert ask(server, "SELECT 1") == 1
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        server.remove()
