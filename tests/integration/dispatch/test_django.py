"""Django: the row joins `transaction.atomic`, and `on_commit` wakes the publisher.

Django is configured once a process, so each test runs a service of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from urllib.parse import parse_qs, urlsplit

from tests.conftest import ROOT
from tests.integration.dispatch.conftest import PATIENCE
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.serving.conftest import Record

SERVICE = """
import os

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["NAME"], "USER": "postgres",
                           "HOST": os.environ["HOST"]}},
    DEBUG=True,
)
django.setup()
from django.db import connection, transaction
from qstash_jobs import enqueue, enqueue_many
from qstash_jobs.jobs.probe import Probe

def stop():
    raise ZeroDivisionError
"""


def service(script: str, database_url: str) -> str:
    """What a Django service prints."""
    parts = urlsplit(database_url)
    done = subprocess.run(
        [sys.executable, "-c", SERVICE + textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "shared", "NAME": parts.path[1:], "HOST": parse_qs(parts.query)["host"][0]},
        capture_output=True,
        text=True,
        timeout=PATIENCE.total_seconds() * 2,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def jobs(record: Record) -> set[str]:
    return {str(row[0]) for row in record.run("SELECT job_id FROM job_executions")}


def sent(qstash: QStashStandIn) -> set[str]:
    return {message.envelope["jobId"] for message in qstash.messages}


def test_atomic_blocks(qstash: QStashStandIn, record: Record, database_url: str) -> None:
    """A commit publishes; a rollback, of the whole or of a savepoint, leaves nothing of what was inside."""
    output = service(
        """
        with transaction.atomic():
            print(enqueue(Probe(), connection=connection, idempotency_key="100%s"))
            try:
                with transaction.atomic():
                    enqueue(Probe(), connection=connection)
                    stop()
            except ZeroDivisionError:
                pass
            with transaction.atomic():
                print(enqueue(Probe(), connection=connection))
            assert enqueue(Probe(), connection=connection, idempotency_key="100%s")
        try:
            with transaction.atomic():
                enqueue_many([Probe(), Probe()], connection=connection)
                stop()
        except ZeroDivisionError:
            pass
        """,
        database_url,
    )
    assert jobs(record) == sent(qstash) == set(output.split())
    assert len(jobs(record)) == 2


def test_outside_of_a_transaction(qstash: QStashStandIn, record: Record, database_url: str) -> None:
    """In Django's autocommit mode the row is there, and published, at once."""
    output = service("print(enqueue(Probe(), connection=connection))", database_url)
    assert jobs(record) == sent(qstash) == {output.strip()}


def test_one_statement(record: Record, database_url: str) -> None:
    """Counted by Django itself."""
    output = service(
        """
        with transaction.atomic():
            before = len(connection.queries)
            enqueue(Probe(), connection=connection, user_id=1)
            print(len(connection.queries) - before)
        """,
        database_url,
    )
    assert output == "1\n"
