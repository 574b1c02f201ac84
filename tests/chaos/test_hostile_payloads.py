"""Payloads that were made to hurt, through the whole path of a delivery."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from qstash_jobs.jobs.probe import Probe
from qstash_jobs.run import Done
from qstash_jobs.settings import settings
from qstash_jobs.testing import create_test_job, signed_event
from tests.integration.serving.conftest import Answer, Function, Record

STORED: dict[str, Any] = {
    "quotes": "'; DROP TABLE job_executions; --",
    "backslashes": "\\'; SELECT pg_sleep(60); --\\",
    "dollar quotes": "$$; $q$ $1 %s %(x)s :name {0}",
    "a comment": "/* -- */ E'\\047'",
    "controls": "".join(map(chr, range(1, 32))) + "\x7f\x85\u2028\u2029",
    "right to left": "\u202eevil\u202c\u200b\ufeff",
    "beyond the basic plane": "\U0001f600\U0010ffff\uffff\ufffe",
    "an odd key": {"__proto__": 1, "": 2, "a\tb'\\": 3},
    "deep": json.loads("[" * 150 + "]" * 150),
    "a big integer": 10**300,
    "a small fraction": 5e-324,
    "long text": "x" * 300_000,
    "many keys": {str(n): n for n in range(5_000)},
}

REFUSED: dict[str, str] = {
    "NUL": r'"a\u0000b"',
    "NUL in a key": r'{"a\u0000b": 1}',
    "half a character": r'"\ud800"',
    "half a character in a key": r'{"\udfff": 1}',
    "halves in the wrong order": r'"\udc00\ud800"',
    "not a number": "NaN",
    "infinity": "-Infinity",
    "a number that is infinity": "1e400",
    "too many digits to read": "9" * 5_000,
    "too many digits to keep": "9" * 1_500,
    "a key that stands twice": '{"a": 1, "a": 2}',
    "too deep to keep": "[" * 300 + "]" * 300,
    "too deep to read": "[" * 100_000 + "]" * 100_000,
    "too deep by objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
}


def message(job_id: UUID, word: str) -> bytes:
    """A message that brings its own payload, with this JSON text in it."""
    return f'{{"jobId": "{job_id}", "type": "probe", "payload": {{"word": {word}}}}}'.encode()


def deliver(function: Function, body: bytes) -> Answer:
    return function.answer(signed_event(body, url=settings().url("probe")))


@pytest.mark.parametrize("name", STORED)
def test_text_is_text(function: Function, record: Record, name: str) -> None:
    """It is stored to the letter, the job completes, and its redelivery finds it equal."""
    job_id = uuid4()
    body = message(job_id, json.dumps(STORED[name]))
    assert [deliver(function, body).outcome for _ in range(2)] == ["completed", "duplicate"]
    [[stored]] = record.run(f"SELECT payload FROM job_executions WHERE job_id = '{job_id}'")
    assert stored == {"word": STORED[name]}
    assert len(function.runs) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused(function: Function, record: Record, name: str) -> None:
    """489, no row, and nothing ran; also when a job of that id exists, which is untouched."""
    known = create_test_job(Probe())
    before = record.row(known)
    for job_id in (uuid4(), known):
        answer = deliver(function, message(job_id, REFUSED[name]))
        assert (answer.status, answer.headers["Upstash-NonRetryable-Error"]) == (489, "true")
        assert answer.outcome in {"invalid_message", "not_storable", "conflict"}
    assert before == record.row(known)
    assert function.runs == []
    assert [list(row) for row in record.run("SELECT count(*) FROM job_executions")] == [[1]]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("wrapped", [lambda value: value, Done], ids=["bare", "Done"])
def test_a_hostile_result_leaves_the_job_completed(
    function: Function, record: Record, job_id: UUID, name: str, wrapped: Callable[[Any], Any]
) -> None:
    """What was done was done; the record says why the result is missing."""
    try:
        value = json.loads(REFUSED[name])
    except (ValueError, RecursionError):
        pytest.skip("Python itself does not read this")
    function.does = lambda _payload, _run: wrapped(value)
    assert function.deliver(job_id).outcome == "completed"
    assert record.status(job_id) == "completed"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe{}",
        b'{"type": "probe"}'.decode().encode("utf-16"),
        b'{"type": ["probe"]}',
        b'{"jobId": "x", "type": "probe"}',
        b'{"jobId": 5, "type": "probe"}',
        b'{"type": "probe", "generation": 0}',
        b'{"type": "probe", "publication": 99999999999999999999}',
        b'{"type": "probe", "payload": []}',
        b'{"type": "probe", "payload": {}, "metadata": {"userId": 1e400}}',
        b'{"type": "probe", "payload": {}, "metadata": {"idempotencyKey": "' + b"k" * 300 + b'"}}',
        b'{"type": "probe", "payload": {}, "metadata": {"idempotencyKey": "a\\u0000"}}',
        b'{"type": "probe\\u0000"}',
        b'{"type": "' + b"p" * 100_000 + b'"}',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_an_envelope_of_odd_shape_is_refused(function: Function, record: Record, body: bytes) -> None:
    """489, no row, and nothing ran."""
    assert deliver(function, body).status == 489
    assert function.runs == []
    assert record.run("SELECT 1 FROM job_executions") == []


@pytest.mark.parametrize("retried", ["", "-1", "1.5", "NaN", "99999999999", "٣", "x'; --"])
def test_a_header_that_is_no_number_is_no_harm(function: Function, job_id: UUID, retried: str) -> None:
    """Headers are not signed: what is odd about one is ignored."""
    function.raises(RuntimeError("no"))
    assert function.deliver(job_id, headers={"upstash-retried": retried}).status == 500


def test_a_message_id_is_text(function: Function, record: Record) -> None:
    """It ends up in the record, and nowhere else."""
    job_id = create_test_job(Probe())
    function.remaining = timedelta(seconds=30)
    assert function.deliver(job_id, message_id="msg'); DROP TABLE job_attempts; --\\").status == 200
    assert record.row(job_id)["message_id"] == "msg'); DROP TABLE job_attempts; --\\"
