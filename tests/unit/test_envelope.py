"""The body of a message: what any publisher may send, and what no parser should follow."""

from __future__ import annotations

import itertools
import json
from datetime import UTC
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qstash_jobs.envelope import Envelope, Metadata, firing
from qstash_jobs.errors import InvalidMessage
from qstash_jobs.executions.literals import NotStorable, storable_json

NO_NUMBERS: list[object] = [0, -1, 1.5, "x", 1_000_000_001, 10**100, None, [], "9" * 4000]
JOB_ID = "01977a6e-5f5e-7c33-9d4c-0f6a3ab2f3ce"

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
ENVELOPES = st.builds(
    Envelope,
    job_id=st.none() | st.uuids(),
    type=TEXT,
    generation=st.integers(1, 1_000_000_000),
    publication=st.integers(1, 1_000_000_000),
    payload=st.none() | st.dictionaries(TEXT, JSON, max_size=4),
    metadata=st.builds(
        Metadata,
        user_id=st.none() | st.integers(-(2**63), 2**63 - 1),
        organization_id=st.none() | st.integers(-(2**63), 2**63 - 1),
        created_at=st.none() | st.datetimes(timezones=st.just(UTC)),
        idempotency_key=st.none() | TEXT,
    ),
)


def said_of(body: bytes) -> str:
    """Why a body is no message."""
    with pytest.raises(InvalidMessage) as caught:
        Envelope.decode(body)
    assert caught.value.__cause__ is None
    return str(caught.value)


def message(**fields: object) -> bytes:
    return json.dumps({"type": "probe", **fields}).encode()


@given(ENVELOPES)
def test_a_message_comes_back_as_it_was(envelope: Envelope) -> None:
    """Whatever is in it, also null within the payload."""
    assert Envelope.decode(envelope.encode()) == envelope


def test_the_wire_speaks_camel_case() -> None:
    """So that a service in any language can publish the same."""
    envelope = Envelope(
        job_id=UUID(JOB_ID),
        type="send-email",
        generation=2,
        payload={"snake_case": 1},
        metadata=Metadata(user_id=1, organization_id=2, idempotency_key="k"),
    )
    assert json.loads(envelope.encode()) == {
        "jobId": JOB_ID,
        "type": "send-email",
        "generation": 2,
        "publication": 1,
        "payload": {"snake_case": 1},
        "metadata": {"userId": 1, "organizationId": 2, "idempotencyKey": "k"},
    }


def test_only_the_type_is_needed() -> None:
    """A schedule's message says no more; what is absent is 1, or none."""
    envelope = Envelope.decode(b'{"type": "probe"}')
    assert (envelope.job_id, envelope.generation, envelope.publication, envelope.payload) == (None, 1, 1, None)
    assert envelope.metadata == Metadata()


def test_a_message_is_frozen() -> None:
    """What was verified stays so."""
    with pytest.raises(ValidationError, match="frozen"):
        Envelope(type="probe").type = "other"  # type: ignore[misc]


def test_what_is_not_known_is_ignored() -> None:
    """A newer publisher may say more than an older function knows."""
    assert Envelope.decode(message(new=1, metadata={"newer": 2})) == Envelope(type="probe")


def test_an_unknown_type_is_a_message_all_the_same() -> None:
    """Whether there is such a job type is asked later."""
    assert Envelope.decode(b'{"type": "no-such-type"}').type == "no-such-type"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"not json",
        b"\xff\xfe",
        '{"type": "probe"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"type": "probe"}',
        b'{"type": "probe"',
        b'{"type": "probe"} x',
        b"{'type': 'probe'}",
        b'{"type": "probe",}',
        b'{"type": "probe", "payload": {"n": NaN}}',
        b'{"type": "probe", "payload": {"n": Infinity}}',
        b'{"type": "probe", "payload": {"n": [-Infinity]}}',
        b'{"type": "probe", "type": "probe"}',
        b'{"type": "probe", "payload": {"a": 1, "a": 2}}',
        b'{"type": "probe", "payload": {"l": [{"a": 1, "\\u0061": 2}]}}',
        b'{"type": "probe", "payload": {"n": ' + b"9" * 5000 + b"}}",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"type": "probe", "payload": {"l": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
    ids=lambda body: repr(body[:50]),
)
def test_what_is_not_strict_json_is_refused(body: bytes) -> None:
    """Not only by its grammar: NaN, a key that stands twice, numbers and depths that no parser should follow."""
    assert said_of(body).startswith("the message is not JSON: ")


@pytest.mark.parametrize("body", [b"null", b"1", b'"text"', b"[]", b"true"])
def test_what_is_not_an_object_is_refused(body: bytes) -> None:
    """JSON, but no message."""
    assert said_of(body).startswith("the message is not a job: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", None),
        ("type", 1),
        ("type", ["probe"]),
        ("jobId", "x"),
        ("jobId", 1),
        ("jobId", JOB_ID + "0"),
        ("jobId", f"{JOB_ID}'; DROP TABLE job_executions; --"),
        ("jobId", {}),
        *itertools.product(("generation", "publication"), NO_NUMBERS),
        ("payload", []),
        ("payload", "text"),
        ("payload", 1),
        ("metadata", None),
        ("metadata", []),
        ("metadata", "text"),
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_named(field: str, value: object) -> None:
    """In the reason, without its value."""
    said = said_of(message(**{field: value}))
    assert said.startswith(f"the message is not a job: {field}")
    assert "DROP" not in said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("userId", "x"),
        ("userId", 2**63),
        ("userId", -(2**63) - 1),
        ("organizationId", 10**400),
        ("organizationId", 1.5),
        ("createdAt", "yesterday"),
        ("createdAt", 1e300),
        ("idempotencyKey", 7),
        ("idempotencyKey", "x" * 256),
    ],
)
def test_metadata_of_another_type_is_named(field: str, value: object) -> None:
    """Numbers that no column can hold among them."""
    assert said_of(message(metadata={field: value})).startswith(f"the message is not a job: metadata.{field}")


@pytest.mark.parametrize("payload", ['{"n": 1e999}', '{"t": "\\ud800"}', '{"t": "\\u0000"}', '{"\\udfff": 1}'])
def test_json_that_postgres_has_no_place_for_is_never_stored(payload: str) -> None:
    """It is refused at the door, or when the row is written; the reason can be logged."""
    try:
        envelope = Envelope.decode(f'{{"type": "probe", "payload": {payload}}}'.encode())
        storable_json(envelope.payload)
    except (InvalidMessage, NotStorable) as error:
        said = str(error)
    assert json.dumps(said)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_message_or_are_refused(body: bytes) -> None:
    """Nothing else ever escapes the parser."""
    try:
        assert Envelope.decode(body)
    except InvalidMessage as error:
        assert str(error)  # noqa: PT017


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("jobId", "type", "generation", "payload", "metadata"), JSON)))
def test_any_fields_are_a_message_or_are_refused(document: dict[str, Any]) -> None:
    """Also where the right names hold the wrong things."""
    try:
        decoded = Envelope.decode(json.dumps(document).encode())
    except InvalidMessage:
        return
    assert decoded.type == document["type"]


def test_a_firing_is_named_after_its_message() -> None:
    """The same at each delivery of one message, another for the next; and never to change, or a deploy between two
    deliveries would run a job twice."""
    assert firing("msg_1") == UUID("5d73b47d-2574-57d2-90db-d4c9a7bcc50a")
    assert firing("msg_1") != firing("msg_2")
    assert firing("msg_1").version == 5
    assert firing(str(uuid4())) != firing(str(uuid4()))
