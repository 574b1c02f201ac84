"""What is refused, before anything is stored or sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from pydantic import JsonValue
from sqlalchemy import Engine

from qstash_jobs.dispatch import EnqueueOptions, enqueue, enqueue_many
from qstash_jobs.errors import ConfigurationError, InvalidJob
from qstash_jobs.job import Job
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.jobs.process_webhook import ProcessWebhook
from tests.conftest import forget
from tests.integration.dispatch.conftest import count
from tests.integration.dispatch.standin import QStashStandIn
from tests.integration.serving.conftest import Record


@pytest.fixture(autouse=True)
def nothing_stored(record: Record, emptied_engine: Engine, qstash: QStashStandIn) -> Iterator[None]:
    """Whatever a test asks for, no row and no request is left."""
    yield
    with emptied_engine.connect() as connection:
        assert count(connection) == 0
    assert qstash.requests == []


def webhook(data: JsonValue) -> ProcessWebhook:
    return ProcessWebhook(source="custom", name="crm", event="e", data={"it": data})


def nested(depth: int) -> JsonValue:
    value: JsonValue = None
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1},
        {"retries": 10_001},
        {"delay": timedelta(seconds=-1)},
        {"delay": timedelta(seconds=1), "not_before": datetime(2030, 1, 1, tzinfo=UTC)},
        {"delay": timedelta.max},
        {"not_before": datetime(2030, 1, 1)},  # that it has no zone is the point
        {"not_before": datetime.max.replace(tzinfo=UTC)},
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 256},
        {"idempotency_key": "a\0b"},
        {"user_id": 2**63},
        {"organization_id": -(2**63) - 1},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options: EnqueueOptions) -> None:
    """Each with a sentence that says what would be right."""
    with pytest.raises(InvalidJob):
        enqueue(Probe(), **options)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "1\r\nUpstash-Retries: 0"},
        {"X-A": "1\n"},
        {"X-A\r\nX-B": "1"},
        {"X A": "1"},
        {"": "1"},
        {"X-A:": "1"},
        {"X-A": "é"},
        {"X-A": "a\0"},
        {"X-A": " padded"},
        {"X-A": "padded "},
        {"X-A": 5},
        {"X-É": "1"},
        {"upstash-delay": "1s"},
        {"Upstash-Forward-X": "1"},
        {"Content-Type": "text/html"},
    ],
    ids=str,
)
def test_headers_that_would_be_more_than_headers_are_refused(headers: dict[str, str]) -> None:
    """No line break, nothing that QStash would take as meant for itself, nothing that HTTP cannot carry."""
    with pytest.raises(InvalidJob, match="header"):
        enqueue(Probe(), headers=headers)


@pytest.mark.parametrize("option", ["callback", "failure_callback"])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://example.com/\r\nUpstash-Retries: 0",
        "https://example.com/a b",
        "https://exämple.com/",
        "https://example.com/ü",
        "https://[::1",
        "https://example.com:port/",
    ],
)
def test_callbacks_that_nobody_could_call_are_refused(option: str, url: str) -> None:
    """An address is http(s), ASCII, and without blanks."""
    options = cast("EnqueueOptions", {option: url})
    with pytest.raises(InvalidJob, match=option):
        enqueue(Probe(), **options)


@pytest.mark.parametrize(
    "value",
    ["a\0b", "\ud800", {"\0": 1}, [["\0"]], 10**1000, nested(201)],
    ids=["nul", "surrogate", "nul in a key", "nul deep inside", "too many digits", "too deep"],
)
@pytest.mark.parametrize("how", [enqueue, lambda job: enqueue_many([webhook("fine"), job])], ids=["one", "many"])
def test_payloads_that_postgres_cannot_store_are_refused(how: Callable[[Job], object], value: Any) -> None:
    """At the call, in the app; also as one of many."""
    job = ProcessWebhook.model_construct(source="custom", name="crm", event="e", data={"it": value}, signature=None)
    with pytest.raises(InvalidJob):
        how(job)


def test_what_is_no_job_is_refused() -> None:
    """The class instead of an instance, a dict, and a base without options."""
    for thing in (Probe, {"mode": "succeed"}, None, Job()):
        with pytest.raises(InvalidJob, match="a job is an instance"):
            enqueue(cast("Job", thing))


def test_one_invalid_job_of_many_stops_them_all() -> None:
    """Nothing is stored of the others."""
    with pytest.raises(InvalidJob):
        enqueue_many([Probe(), Probe(), cast("Job", object())])


def test_keys_of_many_are_one_for_each() -> None:
    """A single key for many jobs, and fewer keys than jobs, are mistakes."""
    with pytest.raises(InvalidJob, match="idempotency_keys"):
        enqueue_many([Probe(), Probe()], idempotency_key="k")
    with pytest.raises(InvalidJob, match="2 jobs, and 1 idempotency keys"):
        enqueue_many([Probe(), Probe()], idempotency_keys=["k"])


def test_a_connection_that_is_none_is_refused() -> None:
    """What cannot run a statement is named."""
    with pytest.raises(TypeError, match="not str"):
        enqueue(Probe(), connection="postgresql://")


@pytest.mark.parametrize("missing", ["QSTASH_TOKEN", "JOBS_BASE_URL"])
def test_a_missing_setting_is_heard_of_before_anything_is_stored(environment: pytest.MonkeyPatch, missing: str) -> None:
    """A service without the token, or the functions' address, is told at its first job."""
    environment.delenv(missing)
    forget()
    with pytest.raises(ConfigurationError, match=missing):
        enqueue(Probe())


def test_one_missing_address_is_heard_of(environment: pytest.MonkeyPatch) -> None:
    """Of many job types, the one without an address is named."""
    environment.delenv("JOBS_BASE_URL")
    environment.setenv("JOBS_URLS", '{"probe": "http://127.0.0.1:9/", "failure-callback": "http://127.0.0.1:9/"}')
    forget()
    with pytest.raises(ConfigurationError, match="'process-webhook'"):
        enqueue_many([Probe(), webhook(1)])


@pytest.mark.parametrize("own_connection", [False, True])
def test_a_missing_database_is_heard_of(
    environment: pytest.MonkeyPatch, emptied_engine: Engine, own_connection: bool
) -> None:
    """Also by who brings a connection: the publisher needs one of its own after the commit."""
    environment.delenv("DATABASE_URL")
    forget()
    with emptied_engine.begin() as connection, pytest.raises(ConfigurationError, match="DATABASE_URL"):
        enqueue(Probe(), connection=connection if own_connection else None)
