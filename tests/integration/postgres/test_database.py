"""Messages, transactions and pooled connections, while the server, the wire or the process misbehaves."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pg8000.exceptions import InterfaceError
from sqlalchemy import text as sql_text
from sqlalchemy.exc import DBAPIError

from infra.local.postgres import EmbeddedPostgres
from qstash_jobs.database import Database, copy_out
from qstash_jobs.deadline import deadline
from qstash_jobs.drivers import _pg8000_connection
from qstash_jobs.errors import ConfigurationError, DatabaseUnreachable, JobTimeout, StatementRefused
from qstash_jobs.executions.literals import integer, text
from tests.integration.postgres.conftest import PATIENCE_SECONDS, Connect, Wire, until, with_driver

SHORT = timedelta(seconds=0.5)
CLIENTS = 20


def backend(database: Database) -> int:
    """The server process that a message reaches."""
    return int(database.run("SELECT pg_backend_pid()")[0][0])


def terminate(database: Database, pid: int) -> None:
    """End a server process, and wait until it has."""
    database.run(f"SELECT pg_terminate_backend({integer(pid)}, {integer(30_000)})")


# One message


def test_rows_come_back_as_python_values(connect: Connect) -> None:
    """Whichever the driver, a row is what the store expects of it."""
    row = connect().run("SELECT 1, 2::bigint, 'x', NULL, true, '{\"a\": [1]}'::jsonb")[0]
    assert list(row) == [1, 2, "x", None, True, {"a": [1]}]


def test_a_message_without_rows_has_none(connect: Connect) -> None:
    """Also when a statement of it did something."""
    database = connect()
    assert database.run("CREATE TABLE t (n int)") == []
    assert database.run("INSERT INTO t VALUES (1)") == []
    assert database.run("") == []


def test_the_rows_of_each_statement_come_back_in_order(connect: Connect) -> None:
    """The drivers agree on what a message of several statements returns."""
    database = connect()
    assert [list(row) for row in database.run("SELECT 1; SELECT 2 WHERE false; SELECT 3")] == [[1], [3]]
    assert [list(row) for row in database.run("SELECT 4; CREATE TABLE t ()")] == [[4]]


def test_a_message_is_atomic(connect: Connect) -> None:
    """When its second statement fails, its first has not happened."""
    database = connect()
    database.run("CREATE TABLE t (n int PRIMARY KEY)")
    with pytest.raises(StatementRefused):
        database.run("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); INSERT INTO t VALUES (1)")
    assert database.run("SELECT count(*) FROM t")[0][0] == 0


@pytest.mark.parametrize(
    ("statement", "sqlstate"),
    [
        ("INSERT INTO t VALUES (1), (1)", "23505"),
        ("INSERT INTO t VALUES (-1)", "23514"),
        ("INSERT INTO t VALUES (NULL)", "23502"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT nothing FROM t", "42703"),
        ("SELEC 1", "42601"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT 'x'::int", "22P02"),
        ("DO $$ BEGIN RAISE 'no' USING ERRCODE = 'QJ001'; END $$", "QJ001"),
    ],
)
def test_a_refused_statement_says_why(connect: Connect, statement: str, sqlstate: str) -> None:
    """With Postgres's own code, whatever the driver's exception is called; the connection stays."""
    database = connect()
    database.run("CREATE TABLE t (n int PRIMARY KEY CHECK (n > 0))")
    pid = backend(database)
    with pytest.raises(StatementRefused, match=sqlstate) as caught:
        database.run(statement)
    assert caught.value.sqlstate == sqlstate
    assert backend(database) == pid
    with pytest.raises(StatementRefused, match=sqlstate):
        database.run_pooled(statement)
    assert database.run_pooled("SELECT 1")[0][0] == 1


def test_a_refusal_does_not_quote_the_statement(connect: Connect) -> None:
    """The sentence ends up in logs, and values in the statement may be personal."""
    with pytest.raises(StatementRefused) as caught:
        connect().run("SELECT 'secret word', nothing FROM pg_class WHERE relname = 'secret word'")
    assert str(caught.value) == 'column "nothing" does not exist (SQLSTATE 42703)'


@pytest.mark.parametrize(
    "sqlstate", ["40001", "40P01", "55P03", "53300", "53200", "57P01", "57P03", "57014", "08006", "08P01"]
)
def test_what_passes_by_itself_is_called_unreachable(connect: Connect, sqlstate: str) -> None:
    """Serialisation, deadlocks, lock and statement timeouts, shutdowns, exhausted resources."""
    with pytest.raises(DatabaseUnreachable):
        connect().run(f"DO $$ BEGIN RAISE 'no' USING ERRCODE = '{sqlstate}'; END $$")


def test_an_error_that_is_not_postgres_s_is_raised_as_it_is(connect: Connect) -> None:
    """A mistake of ours is not mistaken for an outage, and the next message works."""
    database = connect()
    with pytest.raises((UnicodeEncodeError, TypeError)):
        database.run("SELECT '\ud800'")
    assert database.run("SELECT 1")[0][0] == 1


def test_the_server_ends_a_statement_that_takes_too_long(connect: Connect) -> None:
    """It is reported as unreachable, well before it would have ended, and does not run on."""
    database, other = connect(timeout=SHORT), connect()
    began = time.monotonic()
    with pytest.raises(DatabaseUnreachable, match="statement timeout"):
        database.run("SELECT pg_sleep(60)")
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert other.run("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND state = 'active'")[0][
        0
    ] == (0)
    assert database.run("SELECT 1")[0][0] == 1


@pytest.mark.parametrize("timeout", [timedelta(microseconds=1), SHORT, timedelta(minutes=10)])
def test_the_limit_holds_for_one_message_only(connect: Connect, timeout: timedelta) -> None:
    """It is never off, and it is no setting of the session, which a pooler would hand to someone else."""
    database = connect(timeout=timedelta(minutes=20))
    database.run("")
    limited = connect(timeout=timeout)
    shown = limited._limit + "SELECT current_setting('statement_timeout')"
    assert database.run(shown)[0][0] not in {"0", "20min"}
    assert database.run("ROLLBACK; SELECT current_setting('statement_timeout')")[0][0] == "0"


# Broken connections


@pytest.mark.parametrize("tls", [False, ssl.create_default_context()], ids=["plain", "TLS"])
def test_a_server_that_goes_before_the_greeting_leaves_no_socket_open(tls: object) -> None:
    """Its remains would otherwise complain, from wherever they are collected, that they cannot say goodbye."""
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises((OSError, InterfaceError)):
        _pg8000_connection()(user="u", host="db.example", ssl_context=tls, sock=ours)
    assert ours.fileno() == -1


def test_nothing_is_opened_before_it_is_used(connect: Connect, wire: Wire, clean_url: str) -> None:
    """Neither by a `Database` nor by its engine; each use opens what it needs."""
    database = connect(wire.url(clean_url))
    engine = database.engine
    assert wire.connections == 0
    database.run("SELECT 1")
    database.run("SELECT 1")
    assert wire.connections == 1
    database.run_pooled("SELECT 1")
    database.run_pooled("SELECT 1")
    assert wire.connections == 2
    with engine.connect() as connection:
        connection.execute(sql_text("SELECT 1"))
    assert wire.connections == 3


def test_no_server_is_unreachable(driver: str) -> None:
    """Nothing listens at that port."""
    database = Database(with_driver("postgresql://postgres@127.0.0.1:1/none", driver), SHORT)
    with pytest.raises(DatabaseUnreachable):
        database.run("SELECT 1")
    with pytest.raises(DatabaseUnreachable):
        database.run_pooled("SELECT 1")


def test_no_socket_is_unreachable(driver: str) -> None:
    """The folder of the unix socket does not exist."""
    database = Database(with_driver("postgresql://postgres@/none?host=/nowhere/at/all", driver), SHORT)
    with pytest.raises(DatabaseUnreachable):
        database.run("SELECT 1")


def test_a_database_that_does_not_exist_is_a_wrong_setting(postgres: EmbeddedPostgres) -> None:
    """Waiting will not help: the sentence names the setting and holds what Postgres said."""
    database = Database(postgres.url("no_such_database"), SHORT)
    for run in (database.run, database.run_pooled):
        with pytest.raises(ConfigurationError, match=r'DATABASE_URL.*"no_such_database" does not exist'):
            run("SELECT 1")


def test_a_terminated_connection_is_replaced(connect: Connect) -> None:
    """The message that finds it dead is not repeated by itself; the next goes through."""
    database, other = connect(), connect()
    pid = backend(database)
    terminate(other, pid)
    with pytest.raises(DatabaseUnreachable):
        database.run("SELECT 1")
    assert backend(database) != pid


@pytest.mark.parametrize("end", ["reset", "hang_up"])
def test_a_cut_connection_is_replaced(connect: Connect, wire: Wire, clean_url: str, end: str) -> None:
    """While it was idle, by RST or by FIN."""
    database = connect(wire.url(clean_url))
    pid = backend(database)
    getattr(wire, end)()
    with pytest.raises(DatabaseUnreachable):
        database.run("SELECT 1")
    assert backend(database) != pid


@pytest.mark.parametrize("end", ["reset", "hang_up"])
def test_a_connection_that_is_cut_within_a_statement_is_replaced(
    connect: Connect, wire: Wire, clean_url: str, end: str
) -> None:
    """The answer never comes, and that is said at once."""
    database, other = connect(wire.url(clean_url)), connect()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(database.run, "SELECT pg_sleep(30)")
        until(lambda: other.run("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)'")[0][0])
        getattr(wire, end)()
        with pytest.raises(DatabaseUnreachable):
            waiting.result(PATIENCE_SECONDS)
    assert database.run("SELECT 1")[0][0] == 1


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="the system names it otherwise")
def test_a_connection_on_which_nothing_is_said_is_kept_open(connect: Connect, wire: Wire, clean_url: str) -> None:
    """A statement may take longer than the 350 s after which AWS's NAT forgets a connection that is silent."""
    database = connect(wire.url(clean_url))
    database.run("SELECT 1")
    connection = database._kept
    number = connection._usock.fileno() if hasattr(connection, "_usock") else connection.fileno()
    with socket.socket(fileno=os.dup(number)) as stream:
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, interval, count = (
            stream.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
    assert (idle, idle + interval * count < 350) == (60, True)


def test_a_black_hole_is_given_up(connect: Connect, wire: Wire, clean_url: str) -> None:
    """A peer that swallows everything costs the timeout and a second, on a connection that stands or on a new one."""
    database = connect(wire.url(clean_url), SHORT)
    database.run("SELECT 1")
    wire.block()
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(DatabaseUnreachable):
            database.run("SELECT 1")
        assert SHORT.total_seconds() < time.monotonic() - began < 8
    wire.unblock()
    assert database.run("SELECT 1")[0][0] == 1


def test_a_black_hole_does_not_hold_a_transaction(connect: Connect, wire: Wire, clean_url: str) -> None:
    """The handler gets an error, and the next transaction a connection that works."""
    database = connect(wire.url(clean_url), SHORT)
    began = time.monotonic()
    with pytest.raises((DBAPIError, OSError)), database.transaction() as connection:  # noqa: PT012
        connection.execute(sql_text("SELECT 1"))
        wire.block()
        connection.execute(sql_text("SELECT 2"))
    assert time.monotonic() - began < PATIENCE_SECONDS
    wire.unblock()
    with database.transaction() as connection:
        assert connection.scalar(sql_text("SELECT 3")) == 3


def test_a_restarted_server_is_found_again(connect: Connect, postgres: EmbeddedPostgres) -> None:
    """One message each way fails, however many connections were idle; then all is as before."""
    database = connect()
    database.run("SET LOCAL synchronous_commit = on; CREATE TABLE t (n int)")
    gate = threading.Barrier(4)

    def hold(_n: int) -> None:
        connection = database._checkout()
        gate.wait(PATIENCE_SECONDS)
        connection.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(hold, range(4)))
    postgres.restart()
    for run in (database.run, database.run_pooled):
        with pytest.raises(DatabaseUnreachable):
            run("INSERT INTO t VALUES (1)")
        for _ in range(5):
            run("INSERT INTO t VALUES (2)")
    assert [list(row) for row in database.run("SELECT n, count(*) FROM t GROUP BY n")] == [[2, 10]]


def test_an_interrupt_within_a_message_discards_the_connection(connect: Connect) -> None:
    """Its answer is still to come, and must not be taken for the next message's."""
    database = connect(timeout=timedelta(seconds=60))
    pid = backend(database)
    with pytest.raises(JobTimeout), deadline(timedelta(seconds=0.2)):
        database.run("SELECT 'late' FROM pg_sleep(30)")
    assert database.run("SELECT 'next', pg_backend_pid() <> " + integer(pid)) in ([["next", True]], [("next", True)])


def test_closing_twice_is_no_error(connect: Connect) -> None:
    """And what was closed opens again when it is used."""
    database = connect()
    for _ in range(2):
        database.run("SELECT 1")
        database.run_pooled("SELECT 1")
        database.close()
        database.close()


# Transactions for handlers


def test_a_transaction_commits(connect: Connect) -> None:
    """At the end of the block, on the connection that is kept."""
    database = connect()
    database.run("CREATE TABLE t (n int)")
    pid = backend(database)
    with database.transaction() as connection:
        assert database.in_transaction
        connection.execute(sql_text("INSERT INTO t VALUES (:n)"), {"n": 7})
        assert connection.scalar(sql_text("SELECT pg_backend_pid()")) == pid
        assert database.run_pooled("SELECT count(*) FROM t")[0][0] == 0
    assert not database.in_transaction
    assert database.run("SELECT n FROM t")[0][0] == 7
    assert backend(database) == pid


def test_a_transaction_rolls_back(connect: Connect) -> None:
    """On any error of the block, which comes out as it was."""
    database = connect()
    database.run("CREATE TABLE t (n int)")
    with pytest.raises(KeyError, match="mine"), database.transaction() as connection:  # noqa: PT012
        connection.execute(sql_text("INSERT INTO t VALUES (1)"))
        raise KeyError("mine")
    assert not database.in_transaction
    assert database.run("SELECT count(*) FROM t")[0][0] == 0


def test_messages_are_atomic_again_after_a_transaction(connect: Connect) -> None:
    """Each stands by itself: nothing is left open."""
    database = connect()
    database.run("CREATE TABLE t (n int)")
    for n in range(3):
        with database.transaction() as connection:
            connection.execute(sql_text("INSERT INTO t VALUES (:n)"), {"n": n})
        database.run(f"INSERT INTO t VALUES ({integer(n)})")
        assert connect().run("SELECT count(*) FROM t")[0][0] == 2 * (n + 1)


def test_an_interrupt_within_a_transaction_discards_the_connection(connect: Connect) -> None:
    """Nothing of it is kept, and the next statement gets its own answer."""
    database = connect(timeout=timedelta(seconds=60))
    database.run("CREATE TABLE t (n int)")
    with pytest.raises(JobTimeout), deadline(timedelta(seconds=0.3)), database.transaction() as connection:  # noqa: PT012
        connection.execute(sql_text("INSERT INTO t VALUES (1)"))
        connection.execute(sql_text("SELECT pg_sleep(30)"))
    assert not database.in_transaction
    assert database.run("SELECT count(*) FROM t")[0][0] == 0


def test_an_interrupt_before_a_transaction_discards_the_connection(
    connect: Connect, wire: Wire, clean_url: str
) -> None:
    """The answer that nobody waited for is not taken for that of the next statement."""
    database = connect(wire.url(clean_url), timedelta(seconds=60))
    pid = backend(database)
    wire.block()
    with pytest.raises(JobTimeout), deadline(timedelta(seconds=0.3)), database.transaction():
        raise AssertionError("it was never begun")
    wire.unblock()
    assert backend(database) != pid


def test_a_transaction_waits_for_its_connection_no_longer_than_it_may(
    connect: Connect, wire: Wire, clean_url: str
) -> None:
    """Though the database may take longer for what is not limited."""
    database = connect(wire.url(clean_url), timedelta(seconds=60))
    database.run("SELECT 1")
    wire.block()
    began = time.monotonic()
    with pytest.raises(JobTimeout), deadline(timedelta(seconds=5)), database.transaction(within=SHORT):
        raise AssertionError("it was never begun")
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert database._kept is None


def test_a_statement_that_fails_within_a_transaction_leaves_nothing(connect: Connect) -> None:
    """The database is as it was, and of use at once."""
    database = connect()
    database.run("CREATE TABLE t (n int PRIMARY KEY)")
    with pytest.raises(DBAPIError), database.transaction() as connection:  # noqa: PT012
        connection.execute(sql_text("INSERT INTO t VALUES (1)"))
        connection.execute(sql_text("INSERT INTO t VALUES (1)"))
    assert database.run("SELECT count(*) FROM t")[0][0] == 0
    with database.transaction() as connection:
        connection.execute(sql_text("INSERT INTO t VALUES (1)"))
    assert database.run("SELECT count(*) FROM t")[0][0] == 1


def test_a_transaction_within_a_transaction_is_refused(connect: Connect) -> None:
    """There is one connection: the inner block would commit what the outer one has done."""
    database = connect()
    database.run("CREATE TABLE t (n int)")
    with pytest.raises(RuntimeError, match="transaction"), database.transaction() as outer:  # noqa: PT012
        outer.execute(sql_text("INSERT INTO t VALUES (1)"))
        with database.transaction():
            pytest.fail("it was let in")
    assert database.run("SELECT count(*) FROM t")[0][0] == 0


def test_a_message_within_a_transaction_is_refused(connect: Connect) -> None:
    """It would be part of the handler's transaction, and lost with it."""
    database = connect()
    with pytest.raises(RuntimeError, match="transaction"), database.transaction():
        database.run("SELECT 1")
    assert database.run("SELECT 1")[0][0] == 1


# Threads, and engines


def test_many_threads_share_a_pool(connect: Connect) -> None:
    """Each gets the rows of its own message."""
    database = connect()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: database.run_pooled(f"SELECT {integer(n)}, {text(str(n))}")[0], range(400)))
    assert [list(row) for row in found] == [[n, str(n)] for n in range(400)]
    assert database.run("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'qstash-jobs'")[0][0] <= 21


def test_a_used_up_pool_is_unreachable(connect: Connect) -> None:
    """Who waits for a connection waits as long as for a statement."""
    database = connect(timeout=timedelta(seconds=0.01))
    taken = [database._checkout() for _ in range(20)]
    with pytest.raises(DatabaseUnreachable):
        database.run_pooled("SELECT 1")
    for connection in taken:
        connection.close()


def test_many_threads_survive_a_restart(connect: Connect, postgres: EmbeddedPostgres) -> None:
    """While the server is away they are told so, and nothing else; afterwards each goes on by itself."""
    database = connect()
    restarted, running = threading.Event(), threading.Semaphore(0)

    def client(_number: int) -> set[str]:
        said, good = set(), 0
        while good < 20:
            began_after = restarted.is_set()
            try:
                database.run_pooled("SELECT 1")
            except Exception as error:  # noqa: BLE001
                said.add(type(error).__name__)
            else:
                running.release()
                good += began_after
        return said

    with ThreadPoolExecutor(8) as threads:
        clients = [threads.submit(client, number) for number in range(8)]
        for _ in range(200):
            running.acquire()
        postgres.restart()
        restarted.set()
        said = set().union(*(one.result(PATIENCE_SECONDS) for one in clients))
    assert said == {"DatabaseUnreachable"}


@pytest.mark.parametrize("end", ["reset", "hang_up"])
def test_the_engine_survives_a_cut_connection(connect: Connect, wire: Wire, clean_url: str, end: str) -> None:
    """Each checkout is checked, so that people's queries do not see what happened while nobody looked."""
    engine = connect(wire.url(clean_url)).engine
    with engine.connect() as connection:
        connection.execute(sql_text("SELECT 1"))
    getattr(wire, end)()
    with engine.begin() as connection:
        assert connection.scalar(sql_text("SELECT :n + 1"), {"n": 1}) == 2


def test_the_engine_s_transactions_roll_back(connect: Connect) -> None:
    """It is an ordinary engine: nothing is committed behind its back."""
    engine = connect().engine
    with engine.begin() as connection:
        connection.execute(sql_text("CREATE TABLE t (n int)"))
    with engine.connect() as connection:
        connection.execute(sql_text("INSERT INTO t VALUES (1)"))
    with engine.connect() as connection:
        assert connection.scalar(sql_text("SELECT count(*) FROM t")) == 0


# Behind a transaction pooler


def test_clients_of_a_pooler_get_their_own_rows(pooler: str, driver: str) -> None:
    """3,000 statements of 20 clients over two connections to the server."""

    def client(number: int) -> list[tuple[int, int, str]]:
        database = Database(with_driver(pooler, driver), timedelta(seconds=30))
        try:
            return [
                tuple(database.run(f"SELECT {integer(number)}, {integer(turn)}, {text('x' * (turn % 50))}")[0])
                for turn in range(3000 // CLIENTS)
            ]
        finally:
            database.close()

    with ThreadPoolExecutor(CLIENTS) as threads:
        for number, rows in enumerate(threads.map(client, range(CLIENTS))):
            assert rows == [(number, turn, "x" * (turn % 50)) for turn in range(3000 // CLIENTS)]


def test_transactions_pass_a_pooler(pooler: str, driver: str) -> None:
    """With parameters, many times: no prepared statement is expected on a connection that has not seen it."""

    def client(number: int) -> list[int]:
        database = Database(with_driver(pooler, driver), timedelta(seconds=30))
        found = []
        try:
            for _ in range(15):
                with database.transaction() as connection:
                    found.append(connection.scalar(sql_text("SELECT 1000 * :n"), {"n": number}))
                    found.append(connection.scalar(sql_text("SELECT 1000 * :n"), {"n": number}))
        finally:
            database.close()
        return found

    with ThreadPoolExecutor(4) as threads:
        for number, found in enumerate(threads.map(client, range(4))):
            assert found == [number * 1000] * 30


# A process that forks

FORK = """
import os, sys
from datetime import timedelta
from sqlalchemy import text
from qstash_jobs.database import Database

PID = "SELECT pg_backend_pid()"
database = Database(sys.argv[1], timedelta(seconds=10))

def pids():
    with database.engine.connect() as connection:
        engine = connection.scalar(text(PID))
    with database.transaction() as connection:
        transaction = connection.scalar(text(PID))
    return {database.run(PID)[0][0], database.run_pooled(PID)[0][0], engine, transaction}

before = pids()
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.write(write, repr(pids()).encode())
    database.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "the child failed"
assert not before & eval(os.read(read, 1000)), "the child used its parent's connections"
assert before == pids(), "the parent's connections did not survive the child"
database.close()
"""


def test_a_fork_does_not_share_connections(driver: str, clean_url: str) -> None:
    """A web server that loads the app before it forks: each process has its own, and closes its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, with_driver(clean_url, driver)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_query_is_streamed_as_postgres_writes_it(connect: Connect) -> None:
    """Whatever the driver, `copy_out` hands over the bytes of a COPY, and says how many rows they were."""
    pieces: list[bytes] = []

    with connect().transaction() as connection:
        copied = copy_out(
            connection, "SELECT i, 'ä,\"b\" %s' FROM generate_series(1, 3) AS i", "FORMAT csv", pieces.append
        )
        again = connection.execute(sql_text("SELECT 1")).scalar_one()

    assert b"".join(pieces).decode() == '1,"ä,""b"" %s"\n2,"ä,""b"" %s"\n3,"ä,""b"" %s"\n'
    assert (copied.rows, copied.last_row.decode()) == (3, '3,"ä,""b"" %s"\n')
    assert again == 1


def test_rows_of_every_length_are_streamed_whole(connect: Connect) -> None:
    """Short ones that arrive many at once, and long ones that arrive in pieces; also over several reads of the buffer."""
    query = "SELECT repeat('x', (i * i % 20000)::int) FROM generate_series(0, 2000::bigint) AS i"
    pieces: list[bytes] = []

    with connect().transaction() as connection:
        copied = copy_out(connection, query, "FORMAT text", pieces.append)
        nothing = copy_out(connection, "SELECT 1 WHERE false", "FORMAT text", pieces.append)

    expected = b"".join(b"x" * (i**2 % 20000) + b"\n" for i in range(2001))
    assert (copied.rows, b"".join(pieces) == expected) == (2001, True)
    assert copied.last_row == expected[-len(copied.last_row) :]
    assert len(copied.last_row) == 2000**2 % 20000 + 1
    assert nothing == (0, b"")
