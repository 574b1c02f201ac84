"""What differs between the drivers of Postgres, and what each needs in order to behave as the others do."""

from __future__ import annotations

import contextlib
import functools
import math
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

from qstash_jobs.dsn import Dsn

Row = Sequence[Any]

CONNECTION_FAILURE = "08006"

KEEPALIVE = {"idle": 60, "interval": 10, "count": 6}
"""In seconds, and how often: what lies between ends a connection on which nothing is said, AWS's NAT after 350 s, and a long
statement says nothing; the system's own default is two hours.
Source: https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html"""

_KEEPALIVE_OPTIONS = {
    "idle": getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None)),  # the latter is macOS's
    "interval": getattr(socket, "TCP_KEEPINTVL", None),
    "count": getattr(socket, "TCP_KEEPCNT", None),
}

_MESSAGE = struct.Struct(">cI")
"""What a message begins with: its kind, `d` for a row of a COPY, and its length, in which these four bytes count.
Source: https://www.postgresql.org/docs/current/protocol-message-formats.html"""

_QUOTING = "DWq"
"""The fields of an error that quote rows and statements: detail, where, internal query. Errors are logged, and shown to
people who are not to see a payload.
Source: https://www.postgresql.org/docs/current/protocol-error-fields.html"""


class Copied(NamedTuple):
    """What a COPY came to."""

    rows: int
    last_row: bytes
    """As it was written; empty when there was none."""


class Driver(Protocol):
    """What differs between drivers."""

    def connect(self, dsn: Dsn, timeout_seconds: float) -> Any:
        """A DBAPI connection in autocommit mode."""

    def run(self, connection: Any, sql: str) -> list[Row]:
        """Run one message; the rows of all its statements, in order."""

    def copy_out(self, connection: Any, sql: str, write: Callable[[bytes], object]) -> Copied:
        """Run a `COPY … TO STDOUT` and hand what comes to `write`, in pieces of one row or several."""

    def copy_in(self, connection: Any, sql: str, messages: Iterator[bytes]) -> None:
        """Run a `COPY … FROM STDIN` of these rows, each message of one or several."""

    def set_timeout(self, connection: Any, seconds: float) -> None:
        """How long to wait for each answer."""

    def set_autocommit(self, connection: Any, on: bool) -> None:
        """Switch between messages of our own and SQLAlchemy's transactions."""

    def sqlstate(self, error: Exception) -> str | None:
        """What Postgres said; None for an error that is not Postgres's and not the network's either."""


class Pg8000:
    """The default: pure Python, small."""

    def connect(self, dsn: Dsn, timeout_seconds: float) -> Any:
        options = dsn.pg8000(timeout_seconds)
        address = options.pop("unix_sock", None) or (options["host"], options.pop("port"))
        stream = _stream(address, options.pop("timeout"))
        connection = _pg8000_connection()(sock=stream, **options)
        connection.autocommit = True
        return connection

    def run(self, connection: Any, sql: str) -> list[Row]:
        cursor = connection.cursor()
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []

    def copy_out(self, connection: Any, sql: str, write: Callable[[bytes], object]) -> Copied:
        # A cursor would look for parameters in the query, and take a `%` for one.
        if not (connection.autocommit or connection._in_transaction):
            connection.execute_simple("BEGIN")
        context = connection.execute_unnamed(sql, stream=SimpleNamespace(write=write))
        return Copied(int(context.row_count), getattr(context, "last_row", b""))

    def copy_in(self, connection: Any, sql: str, messages: Iterator[bytes]) -> None:
        connection.cursor().execute(sql, stream=messages)

    def set_timeout(self, connection: Any, seconds: float) -> None:
        connection._usock.settimeout(seconds)

    def set_autocommit(self, connection: Any, on: bool) -> None:
        connection.autocommit = on

    def sqlstate(self, error: Exception) -> str | None:
        from pg8000.exceptions import DatabaseError, InterfaceError

        if isinstance(error, DatabaseError) and error.args and isinstance(error.args[0], dict):
            return str(error.args[0]["C"])
        return CONNECTION_FAILURE if isinstance(error, OSError | InterfaceError) else None


def _stream(address: str | tuple[str, int], timeout_seconds: float) -> socket.socket:
    """A connected socket; its timeout holds for connecting and for every read."""
    if isinstance(address, tuple):
        stream = socket.create_connection(address, timeout_seconds)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, option in _KEEPALIVE_OPTIONS.items():
            if option is not None:
                stream.setsockopt(socket.IPPROTO_TCP, option, KEEPALIVE[name])
        return stream
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.settimeout(timeout_seconds)
        stream.connect(address)
    except BaseException:
        stream.close()
        raise
    return stream


@functools.cache
def _pg8000_connection() -> Any:
    import pg8000.dbapi

    class Connection(pg8000.dbapi.Connection):  # type: ignore[misc]
        _usock: Any = None
        _sock: Any = None

        def __init__(self, *, sock: socket.socket, **options: Any) -> None:
            try:
                super().__init__(sock=sock, **options)
            except BaseException:  # pg8000 leaves the socket open when the other side goes before it says hello
                self.close()
                sock.close()  # which pg8000 may not have come to call its own
                raise

        def handle_COPY_DATA(self, data: bytes, context: Any) -> None:  # noqa: N802  # pg8000's name
            """Take all rows that have arrived at once: each is a message of its own, and to read these one by one takes
            longer than Postgres takes to write them."""
            pieces, arrived, at = [data], self._sock.peek(), 0
            last = len(arrived) - _MESSAGE.size
            while at <= last:
                kind, size = _MESSAGE.unpack_from(arrived, at)
                end = at + 1 + size
                if kind != b"d" or end > len(arrived):
                    break
                pieces.append(arrived[at + 5 : end])
                at = end
            self._sock.read(at)
            context.last_row = pieces[-1]
            context.stream_write(b"".join(pieces))

        def handle_ERROR_RESPONSE(self, data: bytes, context: Any) -> None:  # noqa: N802  # pg8000's name
            super().handle_ERROR_RESPONSE(data, context)
            for field in _QUOTING:
                context.error.args[0].pop(field, None)

        def close(self) -> None:
            stream = self._sock  # which pg8000's own close leaves open until it is garbage
            lost = (OSError, pg8000.dbapi.InterfaceError)  # then there is nobody to say goodbye to
            with contextlib.suppress(*lost):
                super().close()
            if stream is not None:
                with contextlib.suppress(*lost):
                    stream.close()

    return Connection


class Psycopg:
    """For who has it already, and wants its speed."""

    def connect(self, dsn: Dsn, timeout_seconds: float) -> Any:
        # Without prepared statements, which a transaction pooler would look for on another connection.
        connection = _psycopg_connection().connect(
            **dsn.psycopg(timeout_seconds),
            keepalives_idle=KEEPALIVE["idle"],
            keepalives_interval=KEEPALIVE["interval"],
            keepalives_count=KEEPALIVE["count"],
            autocommit=True,
            prepare_threshold=None,
        )
        connection.timeout_seconds = timeout_seconds
        return connection

    def run(self, connection: Any, sql: str) -> list[Row]:
        cursor = connection.execute(sql)
        rows: list[Row] = []
        while True:
            if cursor.description:
                rows += cursor.fetchall()
            if not cursor.nextset():
                return rows

    def copy_out(self, connection: Any, sql: str, write: Callable[[bytes], object]) -> Copied:
        last_row = b""
        with connection.cursor() as cursor:
            with cursor.copy(sql) as copy:
                for row in copy:
                    last_row = bytes(row)
                    write(last_row)
            return Copied(int(cursor.rowcount), last_row)

    def copy_in(self, connection: Any, sql: str, messages: Iterator[bytes]) -> None:
        with connection.cursor() as cursor, cursor.copy(sql) as copy:
            for message in messages:
                copy.write(message)

    def set_timeout(self, connection: Any, seconds: float) -> None:
        connection.timeout_seconds = seconds

    def set_autocommit(self, connection: Any, on: bool) -> None:
        connection.autocommit = on

    def sqlstate(self, error: Exception) -> str | None:
        import psycopg

        if isinstance(error, psycopg.Error) and error.sqlstate:
            return error.sqlstate
        lost = isinstance(error, OSError | psycopg.OperationalError | psycopg.InterfaceError)
        return CONNECTION_FAILURE if lost else None


@functools.cache
def _psycopg_connection() -> Any:
    import psycopg

    class Connection(psycopg.Connection[Any]):
        timeout_seconds = math.inf

        def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
            return super().wait(self._within_time(gen), *arguments, **options)

        def _within_time(self, steps: Any) -> Generator[Any, Any, Any]:
            """The same steps, but not for ever: libpq itself waits for an answer as long as the network stands."""
            until = time.monotonic() + self.timeout_seconds
            ready = None
            while True:
                try:
                    wanted = steps.send(ready)
                except StopIteration as end:
                    return end.value  # what psycopg's own steps do
                except psycopg.Error as error:
                    if error.diag.message_primary:  # without the rows that the detail quotes
                        error.args = (error.diag.message_primary, *error.args[1:])
                    raise
                ready = yield wanted
                if not ready and time.monotonic() > until:
                    raise psycopg.OperationalError(f"no answer within {self.timeout_seconds:.3g} s")

    return Connection


DRIVERS: dict[str, Driver] = {"pg8000": Pg8000(), "psycopg": Psycopg()}
