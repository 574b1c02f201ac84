"""The publisher: sends what was committed, waits for no one, and leaves the rest to the relay."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from qstash_jobs import relay
from qstash_jobs.database import database
from qstash_jobs.dispatch import enqueue, publish, uuid7
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.relay import Publisher
from tests.conftest import ROOT
from tests.integration.dispatch.conftest import PATIENCE, await_that, published, reread
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.serving.conftest import Record


def start(script: str) -> subprocess.Popen[str]:
    """A process of an app service, with this test's settings."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "shared"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE.total_seconds())


def test_a_job_that_was_rolled_back_is_not_waited_for(
    psycopg_app: Engine, record: Record, environment: pytest.MonkeyPatch
) -> None:
    """A transaction's rows become visible together: once some are, those that are not never will be."""
    environment.setattr(relay, "_VISIBLE_WITHIN_SECONDS", PATIENCE.total_seconds() * 2)
    with psycopg_app.begin() as connection:
        enqueue(Probe(), connection=connection)
        savepoint = connection.begin_nested()
        enqueue(Probe(), connection=connection)
        savepoint.rollback()
    published()


def test_a_job_that_waits_in_its_row_is_not_waited_for(
    psycopg_app: Engine, qstash: QStashStandIn, record: Record, environment: pytest.MonkeyPatch
) -> None:
    """One whose delay is beyond QStash's limit is left to the relay from the start."""
    environment.setattr(relay, "_VISIBLE_WITHIN_SECONDS", PATIENCE.total_seconds() * 2)
    with psycopg_app.begin() as connection:
        enqueue(Probe(), connection=connection, delay=timedelta(days=30))
    published()
    assert qstash.requests == []


def test_a_slow_commit_holds_up_no_other(
    psycopg_app: Engine, qstash: QStashStandIn, record: Record, environment: pytest.MonkeyPatch
) -> None:
    """While the publisher waits for one transaction, another is published; the first, as soon as it is committed."""
    environment.setattr(relay, "_VISIBLE_WITHIN_SECONDS", PATIENCE.total_seconds() * 2)
    with psycopg_app.begin() as slow:
        first = enqueue(Probe(), connection=slow)
        publish([first])
        with psycopg_app.begin() as connection:
            second = enqueue(Probe(), connection=connection)
        await_that(lambda: qstash.messages, "the second transaction's job is sent")
        assert not relay.publisher.flush(timedelta(0)), "the first transaction is still waited for"
    published()
    assert [message.envelope["jobId"] for message in qstash.messages] == [str(second), str(first)]


def test_a_job_that_was_just_sent_is_waited_for_no_more(
    qstash: QStashStandIn, record: Record, environment: pytest.MonkeyPatch
) -> None:
    """Its commit woke the publisher while that was looking, so it is sent for the waking before, and not looked for."""
    environment.setattr(relay, "_VISIBLE_WITHIN_SECONDS", PATIENCE.total_seconds() * 2)
    job_id = enqueue(Probe(), publish="relay")
    look = relay.outbox.unpublished

    def woken_meanwhile(*asked: Any) -> Any:
        environment.setattr(relay.outbox, "unpublished", look)
        relay.publisher.wake([job_id])
        return look(*asked)

    environment.setattr(relay.outbox, "unpublished", woken_meanwhile)
    relay.publisher.wake([job_id])
    published()
    assert [message.envelope["jobId"] for message in qstash.messages] == [str(job_id)]


def test_what_takes_its_time_is_left_to_the_relay(
    hurried: None, qstash: QStashStandIn, record: Record, environment: pytest.MonkeyPatch
) -> None:
    """The publisher gives a row up that does not appear; the relay finds it when it does."""
    environment.setattr(relay, "_VISIBLE_WITHIN_SECONDS", 0.05)
    publish([uuid7()])
    published()
    job_id = enqueue(Probe(), publish="relay")
    await_that(lambda: relay.publish_due(record.database.run_pooled), "the relay finds it")
    assert [message.envelope["jobId"] for message in qstash.messages] == [str(job_id)]


def test_the_publisher_outlives_what_goes_wrong(
    psycopg_app: Engine, qstash: QStashStandIn, record: Record, environment: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A statement that fails is logged and left to the relay; the next commit is published as ever."""
    record.run("ALTER TABLE job_executions RENAME TO elsewhere")
    with caplog.at_level(logging.ERROR, "qstash_jobs"):
        publish([uuid7()])
        published()
    record.run("ALTER TABLE elsewhere RENAME TO job_executions")
    assert "Publisher failed" in caplog.text
    with psycopg_app.begin() as connection:
        enqueue(Probe(), connection=connection)
    published()
    assert len(qstash.messages) == 1


def test_without_a_database_it_says_so_once(
    environment: pytest.MonkeyPatch, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    """What it was woken for is left to the relay, not tried again and again."""
    environment.delenv("DATABASE_URL")
    reread()
    kept = database.cache_info().currsize
    database.cache_clear()
    publish([uuid7()])
    published()
    assert (kept, caplog.text.count("Publisher failed")) == (1, 1)
    record.database.close()


def test_waking_for_nothing_starts_nothing() -> None:
    """A transaction without jobs costs no thread."""
    idle = Publisher()
    idle.wake([])
    assert idle.flush(timedelta(0))
    assert idle._thread is None


def test_a_crash_inside_the_callers_transaction_leaves_nothing(qstash: QStashStandIn, record: Record) -> None:
    """The process is killed before its commit: no row, no message."""
    process = start("""
        from qstash_jobs.database import database
        from qstash_jobs.dispatch import enqueue
        from qstash_jobs.jobs.probe import Probe
        with database().engine.begin() as connection:
            enqueue(Probe(), connection=connection)
            print("open", flush=True)
            input()
    """)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    kill(process)
    await_that(lambda: others(record) == 0, "Postgres notices that the process is gone")
    assert record.run("SELECT count(*) FROM job_executions")[0][0] == 0
    assert qstash.requests == []


def test_a_publisher_killed_between_commit_and_publish(hurried: None, qstash: QStashStandIn, record: Record) -> None:
    """The row is committed and its message unanswered when the process dies: the relay sends it, and QStash takes
    exactly one."""
    qstash.hangs()
    process = start("""
        from qstash_jobs.database import database
        from qstash_jobs.dispatch import enqueue
        from qstash_jobs.jobs.probe import Probe
        with database().engine.begin() as connection:
            enqueue(Probe(), connection=connection)
        import time
        time.sleep(60)
    """)
    await_that(lambda: qstash.requests, "the publisher asks QStash")
    kill(process)
    [[job_id]] = record.run("SELECT job_id FROM job_executions WHERE published_at IS NULL")
    qstash.works()
    await_that(lambda: relay.publish_due(record.database.run_pooled), "the relay finds it")
    time.sleep(0.01)
    assert relay.publish_due(record.database.run_pooled) == []
    assert [UUID(message.envelope["jobId"]) for message in qstash.messages] == [job_id]


def test_a_process_that_ends_publishes_first(qstash: QStashStandIn, record: Record) -> None:
    """A script that commits and ends does not leave its message to the relay."""
    process = start("""
        from qstash_jobs.database import database
        from qstash_jobs.dispatch import enqueue
        from qstash_jobs.jobs.probe import Probe
        with database().engine.begin() as connection:
            enqueue(Probe(), connection=connection)
    """)
    output, _ = process.communicate(timeout=PATIENCE.total_seconds())
    assert (process.returncode, output) == (0, "")
    assert len(qstash.messages) == 1


def test_a_commit_goes_through_where_no_thread_can_be_started(qstash: QStashStandIn, record: Record) -> None:
    """A machine that has no room for one more thread: the row is committed, and the relay has the job."""
    process = start("""
        import threading
        from qstash_jobs.database import database
        from qstash_jobs.dispatch import enqueue
        from qstash_jobs.jobs.probe import Probe
        threading.stack_size(2**46)
        with database().engine.begin() as connection:
            enqueue(Probe(), connection=connection)
    """)
    output, _ = process.communicate(timeout=PATIENCE.total_seconds())
    assert process.returncode == 0, output
    assert "No publisher; the relay will publish 1 jobs" in output
    assert record.run("SELECT count(*) FROM job_executions WHERE published_at IS NULL")[0][0] == 1
    assert qstash.requests == []


def test_a_forked_process_has_a_publisher_of_its_own(qstash: QStashStandIn, record: Record) -> None:
    """Threads do not survive a fork: workers of a pre-forking server publish all the same."""
    process = start("""
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from qstash_jobs.database import database
        from qstash_jobs.dispatch import enqueue
        from qstash_jobs.jobs.probe import Probe
        from qstash_jobs import relay
        from datetime import timedelta

        def one():
            with database().engine.begin() as connection:
                enqueue(Probe(), connection=connection)
            assert relay.publisher.flush(timedelta(seconds=20))

        one()
        database().close()
        child = os.fork()
        one()
        if child:
            sys.exit(os.waitpid(child, 0)[1])
        os._exit(0)
    """)
    output, _ = process.communicate(timeout=PATIENCE.total_seconds() * 2)
    assert (process.returncode, output) == (0, "")
    assert len(qstash.messages) == 3


def others(record: Record) -> int:
    """Connections to this database besides this test's own."""
    found = record.run("""
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'""")
    return int(found[0][0])
