"""A deployment whose first attempt failed can be repeated, though `prod` is protected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from infra.aws.after_failure import ASSEMBLY, unprotect
from tests.conftest import ROOT
from tests.infra.conftest import Packages, synthesised


@pytest.fixture(scope="module")
def assembly(built: Packages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `prod`, as CDK reads it."""
    folder = tmp_path_factory.mktemp("assembly")
    synthesised(built, folder, region="eu-central-1")
    return folder


@contextmanager
def account(**stacks: tuple[str, bool]) -> Iterator[Stubber]:
    """CloudFormation with these stacks, by their status and protection; it takes no request but those expected here, in the
    shapes of the real one."""
    stubber = Stubber(boto3.client("cloudformation", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="a"))
    for part in ("secrets", ""):
        name = f"jobs-prod-{part}".rstrip("-")
        if part not in stacks:
            stubber.add_client_error("describe_stacks", "ValidationError", f"Stack with id {name} does not exist")
            continue
        status, protected = stacks[part]
        described: dict[str, Any] = {
            "StackName": name, "StackStatus": status, "EnableTerminationProtection": protected,
            "CreationTime": datetime.now(UTC),
        }  # fmt: skip
        stubber.add_response("describe_stacks", {"Stacks": [described]}, {"StackName": name})
        if protected and status.startswith("ROLLBACK"):
            stubber.add_response(
                "update_termination_protection", {}, {"StackName": name, "EnableTerminationProtection": False}
            )
    with stubber:
        yield stubber


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED"])
def test_a_stack_that_could_not_be_made_may_be_deleted(assembly: Path, status: str) -> None:
    """The one that stands stays protected."""
    with account(secrets=("CREATE_COMPLETE", True), **{"": (status, True)}) as stubber:
        (said,) = unprotect(assembly, lambda _: stubber.client)
        stubber.assert_no_pending_responses()
    assert said == "jobs-prod could not be made: the next `make deploy` deletes what is left of it and begins anew."


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"])
def test_a_stack_that_was_there_stays_protected(assembly: Path, status: str) -> None:
    """Whatever became of the deployment."""
    with account(secrets=(status, True)) as stubber:
        assert list(unprotect(assembly, lambda _: stubber.client)) == []
        stubber.assert_no_pending_responses()


def test_whoever_may_not_is_told_what_an_administrator_types(assembly: Path) -> None:
    """A role that may only deploy with CDK, for one."""
    client = boto3.client("cloudformation", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="a")
    with Stubber(client) as stubber:
        for _ in range(2):
            stubber.add_client_error("describe_stacks", "AccessDenied", "not authorized")
        said = list(unprotect(assembly, lambda _: client))
    assert said[1].endswith("update-termination-protection --no-enable-termination-protection --stack-name jobs-prod")


def test_a_deployment_that_failed_before_the_synth_says_nothing(tmp_path: Path) -> None:
    """There is nothing to look for."""
    assert list(unprotect(tmp_path, boto3.client)) == []


def test_the_assembly_is_where_cdk_writes_it() -> None:
    """As cdk.json says."""
    assert ROOT / json.loads((ROOT / "cdk.json").read_text())["output"] == ASSEMBLY
