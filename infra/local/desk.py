"""Everything that jobs need, on one machine: Postgres, QStash, the functions' URLs, a mailbox, S3, the relay.

Each part can be another one: a `DATABASE_URL` or a `QSTASH_URL` in the environment takes its place.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError

from infra.local.gateway import Gateway, discover
from infra.local.postgres import EmbeddedPostgres
from infra.local.service import ROOT, DeskFailed, Log, Service, free_port, taken
from infra.migrations import has_saas, migrate
from qstash_jobs.drivers import Pg8000
from qstash_jobs.dsn import Dsn

RELAY_INTERVAL_SECONDS = 1.0
DUPLICATE_TABLE = "42P07"
BUCKET = "jobs-desk"
DEVELOPMENT_LINK_KEY = "a-key-for-a-desk-and-for-nothing-else"
DEVELOPMENT_WEBHOOK_SECRETS = {
    "STRIPE_WEBHOOK_SECRET": "whsec_for_a_desk_and_for_nothing_else",
    "RESEND_WEBHOOK_SECRET": "whsec_Zm9yIGEgZGVzayBhbmQgZm9yIG5vdGhpbmcgZWxzZQ==",
    "CUSTOM_WEBHOOK_SECRETS": '{"crm": "whsec_Zm9yIGEgZGVzayBhbmQgZm9yIG5vdGhpbmcgZWxzZQ=="}',
}
"""`jobs webhook` signs with them."""


@dataclass(frozen=True)
class Ports:
    """Where the parts listen; 0 takes a free port."""

    qstash: int = 8080
    functions: int = 9000
    mailbox: int = 8025
    s3: int = 9025


class Desk:
    """The whole stack, for as long as the `with` lasts. `environment` then holds the settings that lead to it."""

    def __init__(
        self,
        folder: Path,
        *,
        ports: Ports | None = None,
        given: Mapping[str, str] | None = None,
        time_scale: float = 1.0,
        reload: bool = False,
        log: Log = lambda _part, _line: None,
        environments: int = 4,
        postgres_settings: Mapping[str, str] | None = None,
    ) -> None:
        """`given`: settings that were made already, such as a `DATABASE_URL` of one's own."""
        self._folder = folder
        self._ports = ports or Ports()
        self._given = {name: value for name, value in (given or {}).items() if value}
        self._time_scale = time_scale
        self._reload = reload
        self._log = log
        self._environments = environments
        self._postgres_settings = postgres_settings
        self._parts = contextlib.ExitStack()
        self.environment: dict[str, str] = {}
        self.postgres: EmbeddedPostgres | None = None
        self.gateway: Gateway | None = None
        self.qstash: Service | None = None
        self.mailbox: Service | None = None
        self.s3: Service | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._parts.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.close()

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._parts.enter_context(only_one(self._folder))
        self.environment = {
            "JOBS_TIME_SCALE": f"{self._time_scale:g}",
            "JOBS_PROBE": "true",
            **DEVELOPMENT_WEBHOOK_SECRETS,
            **self._given,
        }
        self._start_postgres()
        self._start_qstash()
        self._start_mailbox()
        self._start_s3()
        self._start_functions()
        state = self._folder / "desk.json"
        state.write_text(json.dumps(self.environment, indent=2))
        state.chmod(0o600)
        self._parts.callback(state.unlink)

    def _start_postgres(self) -> None:
        if "DATABASE_URL" not in self.environment:
            self.postgres = EmbeddedPostgres(self._folder / "postgres", settings=self._postgres_settings)
            self.postgres.start()
            self._parts.callback(self.postgres.stop)
            self.environment["DATABASE_URL"] = self.postgres.url()
        engine = create_engine("postgresql+pg8000://", creator=_connect(self.environment["DATABASE_URL"]))
        with engine.begin() as connection:
            self._migrate(connection)
        engine.dispose()

    def _migrate(self, connection: Connection) -> None:
        """The starter's tables too, for jobs to work on; in a database that is not the desk's own only if it has them."""
        migrate(connection, saas=has_saas(connection))
        if self.postgres is None or has_saas(connection):
            return
        try:
            with connection.begin_nested():
                migrate(connection, saas=True)
        except DBAPIError as error:
            if not isinstance(error.orig, Exception) or Pg8000().sqlstate(error.orig) != DUPLICATE_TABLE:
                raise
            self._log("postgres", "without the starter's tables, because there is another by the name of one of them")

    def _start_qstash(self) -> None:
        if "QSTASH_URL" in self.environment:
            return
        self.qstash = self._service(
            "qstash",
            "infra.local.qstash",
            self._ports.qstash,
            ["--database", str(self._folder / "qstash.db"), "--time-scale", f"{self._time_scale:g}"],
            "/v2/keys",
        )
        from infra.local.qstash.settings import DEVELOPMENT_TOKEN

        keys = _get(f"{self.qstash.url}/v2/keys", DEVELOPMENT_TOKEN)
        self.environment |= {
            "QSTASH_URL": self.qstash.url,
            "QSTASH_TOKEN": DEVELOPMENT_TOKEN,
            "QSTASH_CURRENT_SIGNING_KEY": keys["current"],
            "QSTASH_NEXT_SIGNING_KEY": keys["next"],
            "QSTASH_PLAN": "payg",
        }

    def _start_mailbox(self) -> None:
        if "RESEND_API_KEY" in self.environment:
            return
        self.mailbox = self._service(
            "mailbox", "infra.local.mailbox", self._ports.mailbox, ["--folder", str(self._folder / "mailbox")], "/"
        )
        self.environment |= {"RESEND_API_URL": self.mailbox.url, "RESEND_API_KEY": "re_desk"}

    def _start_s3(self) -> None:
        self.environment.setdefault("JOBS_LINK_KEY", DEVELOPMENT_LINK_KEY)
        if "JOBS_BUCKET" in self.environment:
            return
        self.s3 = self._service("s3", "infra.local.s3", self._ports.s3, ["--bucket", BUCKET], f"/{BUCKET}")
        self.environment |= {
            "JOBS_BUCKET": BUCKET,
            "AWS_ENDPOINT_URL_S3": self.s3.url,
            "AWS_ACCESS_KEY_ID": "desk",
            "AWS_SECRET_ACCESS_KEY": "desk",
        }

    def _start_functions(self) -> None:
        port = self._ports.functions or free_port()
        find = functools.partial(discover, ROOT / "functions", environments=self._environments)
        self.environment.setdefault("JOBS_BASE_URL", f"http://127.0.0.1:{port}")
        self.gateway = Gateway(
            find(),
            environment=self.environment,
            log=self._log,
            find=find,
            reload=(ROOT / "functions", ROOT / "shared") if self._reload else (),
            port=port,
        )
        try:
            self._parts.enter_context(self.gateway)
        except OSError as error:
            raise DeskFailed(taken("functions", port)) from error

    def _service(self, name: str, module: str, port: int, arguments: list[str], path: str) -> Service:
        service = Service(name, module, port or free_port(), arguments, self._log)
        self._parts.callback(service.stop)
        service.start(path)
        return service

    @contextlib.contextmanager
    def relay(self) -> Iterator[None]:
        """Publish every second what transactions left behind, on a thread; needs the settings in this process."""
        stop = threading.Event()
        thread = threading.Thread(target=self._relay_until, args=(stop,), name="relay", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _relay_until(self, stop: threading.Event) -> None:
        from qstash_jobs.database import database
        from qstash_jobs.errors import DatabaseUnreachable
        from qstash_jobs.relay import publish_due

        while not stop.wait(RELAY_INTERVAL_SECONDS):
            try:
                publish_due(database().run_pooled)
            except DatabaseUnreachable as error:
                self._log("relay", f"Postgres cannot be reached, trying again: {error}")


def declare_schedules() -> None:
    """Let QStash have the declared schedules; needs the settings in this process."""
    from qstash_jobs import schedule_changes
    from qstash_jobs.relay import qstash
    from qstash_jobs.schedules import SCHEDULES
    from qstash_jobs.settings import settings

    wanted = schedule_changes.wanted_schedules(SCHEDULES)
    schedule_changes.apply(schedule_changes.changes(wanted, qstash().schedules(), settings().schedule_prefix), qstash())


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder, or raise `DeskFailed` when another process does."""
    lock = (folder / "desk.lock").open("a+")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DeskFailed(
                f"it runs already (process {lock.read().strip() or 'unknown'}); stop it there with Ctrl-C"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def read_state(folder: Path) -> dict[str, str]:
    """The settings of the desk that runs in that folder; empty when none does."""
    try:
        state: dict[str, str] = json.loads((folder / "desk.json").read_text())
    except FileNotFoundError:
        return {}
    return state


def _connect(url: str) -> Callable[[], object]:
    def connect() -> object:
        driver = Pg8000()
        connection = driver.connect(Dsn.parse(url), 10)
        driver.set_autocommit(connection, False)
        return connection

    return connect


def _get(url: str, token: str) -> dict[str, str]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        found: dict[str, str] = json.load(answer)
        return found
