"""What one would write by hand for the same work, with the same libraries and statements: the floors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pg8000.dbapi

from qstash_jobs.dsn import Dsn
from qstash_jobs.executions import store
from qstash_jobs.executions.outbox import NewExecution, insert_sql
from qstash_jobs.executions.state import Outcome, Verb
from qstash_jobs.executions.store import Arrival, Finish

COMPLETE = Finish(verb=Verb.COMPLETE, outcome=Outcome.COMPLETED)


def connect(url: str) -> pg8000.dbapi.Connection:
    """A bare connection in autocommit mode, for one message a statement."""
    connection = pg8000.dbapi.connect(**Dsn.parse(url).pg8000(30))
    connection.autocommit = True
    return connection


def execute(connection: pg8000.dbapi.Connection, sql: str) -> list[Any]:
    """One message."""
    cursor = connection.cursor()
    cursor.execute("SET LOCAL statement_timeout = 5000;" + sql)
    return list(cursor.fetchall()) if cursor.description else []


def deliver(connection: pg8000.dbapi.Connection, event: Mapping[str, Any], key: str, url: str) -> dict[str, Any]:
    """A hand-written worker: PyJWT, the two statements, an empty handler."""
    claims = jwt.decode(event["headers"]["upstash-signature"], key, algorithms=["HS256"], issuer="Upstash")
    assert claims["sub"] == url
    job_id, owner = UUID(json.loads(event["body"])["jobId"]), uuid4()
    arrival = Arrival(
        job_id=job_id,
        job_types=("probe",),
        generation=1,
        publication=1,
        lease_owner=owner,
        lease=timedelta(seconds=30),
        message_id=event["headers"]["upstash-message-id"],
        request_id=None,
        cold_start=False,
        new=None,
    )
    attempt = execute(connection, store._start_sql(arrival))[0][0]
    execute(connection, store._finish_sql(job_id, attempt, owner, COMPLETE))
    return {"statusCode": 200, "body": json.dumps({"jobId": str(job_id)})}


def enqueue(
    connection: pg8000.dbapi.Connection, client: httpx.Client, new: NewExecution, url: str, headers: Mapping[str, str]
) -> None:
    """A hand-written enqueue: INSERT, POST, UPDATE."""
    execute(connection, insert_sql([new]))
    answer = client.post(
        f"/v2/publish/{url}",
        content=json.dumps({"jobId": str(new.job_id), "type": new.job_type}),
        headers={**headers, "Upstash-Deduplication-Id": str(new.job_id)},
    )
    message_id = answer.raise_for_status().json()["messageId"]
    execute(
        connection,
        f"UPDATE job_executions SET published_at = clock_timestamp(), message_id = '{message_id}' "
        f"WHERE job_id = '{new.job_id}'",
    )
