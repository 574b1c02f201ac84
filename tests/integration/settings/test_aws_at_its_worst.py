"""Secrets Manager is silent, or slow: nobody waits for long."""

from __future__ import annotations

import time
from collections.abc import Iterator

import boto3
import pytest

from qstash_jobs import aws as signer
from qstash_jobs import secrets
from qstash_jobs.errors import SettingsUnreachable
from qstash_jobs.settings import settings
from tests.integration.conftest import Aws
from tests.integration.settings.odd_aws import OddAws, in_the_place_of


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
