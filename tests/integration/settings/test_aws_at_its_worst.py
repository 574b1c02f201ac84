"""Secrets Manager refuses, is silent, or is slow: what was read last goes on being used, and nobody waits for long."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator

import boto3
import pytest

from qstash_jobs import aws as signer
from qstash_jobs import secrets
from qstash_jobs.errors import ConfigurationError, SettingsUnreachable
from qstash_jobs.settings import settings
from tests.integration.conftest import Aws
from tests.integration.settings.odd_aws import OddAws, in_the_place_of

PASSING = [
    (429, "RequestThrottled"),
    (403, ""),
    (400, "ExpiredTokenException"),
    (400, "InvalidSignatureException"),
    (400, "DecryptionFailure"),
    (400, "AccessDeniedException"),
    (400, "ThrottlingException"),
    (503, ""),
]
"""What Secrets Manager says for a while, to one who may read the secret."""


@pytest.fixture
def odd(aws: Aws) -> Iterator[OddAws]:
    """Secrets Manager behaves as the test says."""
    aws.set(RESEND_API_KEY=aws.keep("jobs/prod/resend", {"RESEND_API_KEY": "re_1"}))
    with in_the_place_of(aws) as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is short, so that the tests are."""
    monkeypatch.setattr(signer, "TIMEOUT_SECONDS", 0.3)


@pytest.mark.parametrize(("status", "code"), PASSING)
def test_what_was_read_last_outlives_a_refusal(
    aws: Aws, clock: Callable[[float], None], caplog: pytest.LogCaptureFixture, status: int, code: str
) -> None:
    """A delivery goes on with it, and people are told, by an error where it is theirs to mend."""
    aws.set(RESEND_API_KEY=aws.keep("jobs/prod/resend", {"RESEND_API_KEY": "re_1"}))
    assert settings().secret("RESEND_API_KEY") == "re_1"
    clock(301)
    with in_the_place_of(aws) as odd:
        odd.refuse(status, code)
        assert settings().secret("RESEND_API_KEY") == "re_1"
        assert not settings().read_anew("RESEND_API_KEY")
        asked = odd.requests
        assert not settings().read_anew("RESEND_API_KEY")
        assert (settings().secret("RESEND_API_KEY"), odd.requests) == ("re_1", asked)
    busy = status in {429, 503} or code == "ThrottlingException"
    told = [record.levelno for record in caplog.records if "Secret not read anew" in record.message]
    assert told == [logging.WARNING if busy else logging.ERROR] * 2


@pytest.mark.parametrize("days", [0, 7])
def test_what_was_read_last_does_not_outlive_its_secret(aws: Aws, clock: Callable[[float], None], days: int) -> None:
    """Whoever deletes a secret wants it used no more, also while it could still be restored."""
    arn = aws.keep("jobs/prod/resend", {"RESEND_API_KEY": "re_1"})
    aws.set(RESEND_API_KEY=arn)
    assert settings().secret("RESEND_API_KEY") == "re_1"
    how = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
    aws.client("secretsmanager").delete_secret(SecretId=arn, **how)
    clock(301)
    said = r"jobs/prod/resend-\w+ is to be deleted; .* restore-secret" if days else "is empty, or not there"
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=said):
            settings().secret("RESEND_API_KEY")
        clock(31)


@pytest.mark.usefixtures("quick")
def test_a_server_that_never_answers_is_left(odd: OddAws) -> None:
    """After two tries, each of its time."""
    odd.fall_silent()
    began = time.monotonic()
    with pytest.raises(SettingsUnreachable):
        settings().secret("RESEND_API_KEY")
    assert time.monotonic() - began < 4  # botocore pauses for a second at most between them
    assert odd.requests == 2


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("aws", ["in Lambda"], indirect=True)
def test_a_server_that_answers_byte_by_byte_is_left(odd: OddAws) -> None:
    """A function has its own deadline to keep: all of an answer counts, not its next byte."""
    odd.answer(100, pause_seconds=0.1)
    began = time.monotonic()
    with pytest.raises(SettingsUnreachable, match="TimeoutError"):
        settings().secret("RESEND_API_KEY")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("aws", ["in Lambda"], indirect=True)
def test_an_answer_without_end_is_not_read_to_its_end(odd: OddAws) -> None:
    """It would fill the function's memory."""
    odd.answer(1024 * 1024)
    with pytest.raises(SettingsUnreachable, match="answered 200, and more than 1048576 bytes"):
        settings().secret("RESEND_API_KEY")
    odd.answer(64 * 1024)
    assert secrets.Secrets().read("arn:aws:secretsmanager:eu-central-1:123456789012:secret:x") == {"": "x" * 64 * 1024}


def test_a_first_reading_that_failed_is_not_repeated_by_each_request(
    odd: OddAws, clock: Callable[[float], None]
) -> None:
    """Each would wait for it anew; after five seconds one tries again."""
    for refusal in ((503, ""), (400, "AccessDeniedException")):
        odd.refuse(*refusal)
        with pytest.raises((SettingsUnreachable, ConfigurationError)) as first:
            settings().secret("RESEND_API_KEY")
        asked = odd.requests
        for _ in range(3):
            with pytest.raises(first.type, match=re.escape(str(first.value))):
                settings().secret("RESEND_API_KEY")
        assert odd.requests == asked
        clock(6)
    odd.answer(8)
    assert settings().secret("RESEND_API_KEY") == "xxxxxxxx"


def test_nobody_waits_for_another_s_question_who_has_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same secret the last one, and of others whatever they are; who has none waits, and asks nothing himself."""
    asked: list[str] = []
    slow = threading.Event()
    asking = threading.Event()

    def ask(_service: str, _action: str, question: dict[str, str], _region: str) -> dict[str, str]:
        asked.append(question["SecretId"])
        if "slow" in question["SecretId"]:
            asking.set()
            assert slow.wait(10)
        return {"SecretString": f"value {len(asked)}"}

    monkeypatch.setattr(signer, "ask", ask)
    now = [0.0]
    held = secrets.Secrets(lambda: now[0])
    beginning = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"
    slow.set()
    assert held.read(f"{beginning}slow") == {"": "value 1"}
    slow.clear()
    asking.clear()
    now[0] = 301
    readers = [threading.Thread(target=held.read, args=[f"{beginning}slow"])]
    readers += [threading.Thread(target=held.read, args=[f"{beginning}slow, and new"]) for _ in range(3)]
    for one in readers:
        one.start()
    assert asking.wait(10)
    assert held.read(f"{beginning}other")
    began = time.monotonic()
    assert held.read(f"{beginning}slow") == {"": "value 1"}
    assert time.monotonic() - began < 1
    slow.set()
    for one in readers:
        one.join(10)
    assert sorted(asked) == [f"{beginning}{name}" for name in ("other", "slow", "slow", "slow, and new")]


@pytest.mark.parametrize("service", ["secretsmanager", "ssm"])
def test_services_are_asked_where_aws_has_them(service: signer.Service) -> None:
    """In every region that botocore knows, of every partition."""
    session = boto3.Session()
    regions = [
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions(service, partition)
    ]
    expected = {region: session.client(service, region_name=region).meta.endpoint_url for region in regions}
    assert expected == {region: signer.address(service, region) for region in regions}
    assert {"eusc-de-east-1", "cn-north-1", "us-iso-east-1", "us-gov-west-1", "eu-central-1"} <= expected.keys()
