"""Ways to reach Postgres: each driver, through a pooler, and through a wire that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest

from infra.local.postgres import EmbeddedPostgres
from qstash_jobs.database import Database
from tests.conftest import PGBOUNCER

DRIVERS = ("pg8000", "psycopg")
PATIENCE_SECONDS = 30.0

Connect = Callable[..., Database]
T = TypeVar("T")


@pytest.fixture
def clean_url(postgres: EmbeddedPostgres) -> str:
    """A database without any table, and without anybody in it. To make one anew would take a third of a second."""
    database = Database(postgres.url(), timedelta(seconds=PATIENCE_SECONDS))
    database.run("""SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()""")
    database.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    database.close()
    return postgres.url()


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver in turn."""
    return str(request.param)


@pytest.fixture
def connect(driver: str, clean_url: str) -> Iterator[Connect]:
    """Makes a `Database` with the driver in turn, and closes it in the end."""
    made = []

    def make(url: str = clean_url, timeout: timedelta = timedelta(seconds=10)) -> Database:
        made.append(Database(with_driver(url, driver), timeout))
        return made[-1]

    yield make
    for database in made:
        database.close()


def with_driver(url: str, driver: str) -> str:
    """The same address for one of the drivers."""
    return url.replace("postgresql://", f"postgresql+{driver}://")


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE_SECONDS} s"
        time.sleep(0.005)


class Wire:
    """A TCP proxy in front of a unix socket, whose connections a test can cut or block. It runs in its own thread."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._writers: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._blocked = False
        self.connections = 0
        """How many were ever made through it."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def url(self, original: str) -> str:
        """The same database through this wire."""
        return f"postgresql://postgres@127.0.0.1:{self.port}{urlsplit(original).path}"

    def reset(self) -> None:
        """End every connection with RST, as a firewall or a crashed host does."""
        self._do(self._end(abruptly=True))

    def hang_up(self) -> None:
        """End every connection with FIN."""
        self._do(self._end(abruptly=False))

    def block(self) -> None:
        """Forward nothing from now on: what is sent is swallowed, and new connections get no answer."""
        self._blocked = True

    def unblock(self) -> None:
        """Forward again; what was blocked is lost, with its connections."""
        self.reset()
        self._blocked = False

    def refuse(self) -> None:
        """End every connection, and let nobody in from now on, as a server that is down."""
        self._do(self._let_nobody_in())
        self.reset()

    def listen(self) -> None:
        """Let connections in again."""
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", self.port))

    def close(self) -> None:
        """Stop."""
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, step: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(PATIENCE_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        if not self._server.is_serving():
            writer.transport.abort()
            server_writer.transport.abort()
        self._writers.append((writer, server_writer))
        await asyncio.gather(self._forward(reader, server_writer), self._forward(server_reader, writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self._blocked:
                    writer.write(data)
        writer.close()

    async def _end(self, *, abruptly: bool) -> None:
        pairs, self._writers = self._writers, []
        for client, server in pairs:
            if abruptly and not client.transport.is_closing():
                socket_ = client.get_extra_info("socket")
                socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.transport.abort()
            server.transport.abort()
            for writer in (client, server):
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _let_nobody_in(self) -> None:
        # A connection that was just accepted could not be attached to a closed server, and nobody would close it.
        for listener in self._server.sockets:
            self._loop.remove_reader(listener.fileno())
        await asyncio.sleep(0)
        self._server.close()

    async def _stop(self) -> None:
        await self._let_nobody_in()
        await self._end(abruptly=False)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)


@contextlib.contextmanager
def wired(url: str) -> Iterator[Wire]:
    """A wire to the server of a database."""
    folder = parse_qs(urlsplit(url).query)["host"][0]
    made = Wire(str(Path(folder) / ".s.PGSQL.5432"))
    yield made
    made.close()


@pytest.fixture
def wire(clean_url: str) -> Iterator[Wire]:
    """A wire to the server of this test's database."""
    with wired(clean_url) as made:
        yield made


@pytest.fixture
def pooler(clean_url: str) -> Iterator[str]:
    """The same database through PgBouncer in transaction mode, with two server connections for everybody."""
    with pooled(clean_url) as url:
        yield url


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """A database through PgBouncer in transaction mode, with two server connections for everybody."""
    if PGBOUNCER is None:
        if os.environ.get("CI"):
            pytest.fail("no PgBouncer on this machine, and CI is to have one: apt-get install pgbouncer")
        pytest.skip("NO PGBOUNCER: what happens behind a pooler is not tested; apt-get install pgbouncer")
    address = urlsplit(url)
    name, server = address.path.lstrip("/"), parse_qs(address.query)["host"][0]
    folder = Path(tempfile.mkdtemp(prefix="qj-bouncer-"))
    process = _start_pgbouncer(folder, f"{name} = host={server} port=5432 dbname={name} user=postgres")
    try:
        yield f"postgresql://postgres@/{name}?host={folder}&port=6432"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _start_pgbouncer(folder: Path, database: str) -> subprocess.Popen[bytes]:
    (folder / "users.txt").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(f"""\
[databases]
{database}
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 2
max_client_conn = 200
logfile = {folder}/log
""")
    identity: dict[str, object] = {}
    if os.geteuid() == 0:  # which PgBouncer refuses to be
        nobody = pwd.getpwnam("nobody")
        for path in (folder, *folder.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    process: subprocess.Popen[bytes] = subprocess.Popen(
        [PGBOUNCER, "-q", folder / "pgbouncer.ini"], stderr=subprocess.DEVNULL, **identity
    )  # type: ignore[call-overload]
    ready = folder / ".s.PGSQL.6432"
    end = time.monotonic() + PATIENCE_SECONDS
    while not ready.exists():
        assert process.poll() is None, f"PgBouncer ended: {(folder / 'log').read_text()}"
        assert time.monotonic() < end, "PgBouncer does not start"
        time.sleep(0.01)
    return process
