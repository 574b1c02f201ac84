"""What others' rules say of the stacks: CloudFormation's own by cfn-lint, and those of good practice by cdk-nag."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import Validations
from cdk_nag import AwsSolutionsChecks

from infra.aws.app import add_stacks, new_app
from infra.aws.context import Context
from infra.aws.nag import ACKNOWLEDGED, Finding, findings, open_findings
from tests.conftest import ROOT
from tests.infra.conftest import Packages, Stacks

VARIANTS = {
    "plain": {},
    "aurora": {"database": "aurora", "database_proxy": "true", "reserved_concurrency": "options"},
}


@pytest.fixture(scope="module")
def found(built: Packages, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    """What cdk-nag finds in each variant."""
    said = {}
    for name, context in VARIANTS.items():
        folder = tmp_path_factory.mktemp(name)
        app = new_app(folder)
        add_stacks(app, Context.read({"stage": "prod", **context}), built, root=ROOT)
        Validations.of(app).add_plugins(AwsSolutionsChecks())
        with pytest.raises(RuntimeError, match=r"^ValidationFailed"):  # there are acknowledged ones
            app.synth()
        said[name] = findings(json.loads((folder / "validation-report.json").read_text()))
    return said


@pytest.mark.parametrize("variant", VARIANTS)
def test_cdk_nag_finds_nothing_that_is_not_meant(found: dict[str, list[Finding]], variant: str) -> None:
    """Each finding is one of `infra/aws/nag.py`, with its reason."""
    assert found[variant]
    assert open_findings(found[variant]) == []


def test_every_acknowledgement_is_needed(found: dict[str, list[Finding]]) -> None:
    """One that covers nothing would hide the next finding of its kind."""
    everything = [one for some in found.values() for one in some]
    assert [known for known in ACKNOWLEDGED if not any(known.covers(one) for one in everything)] == []
    assert all(len(known.reason) > 40 and known.reason.endswith(".") for known in ACKNOWLEDGED)


def test_a_finding_of_another_construct_is_not_covered() -> None:
    """An acknowledgement is for what it names, and for no more."""
    assert open_findings(
        [Finding("AwsSolutions-S1", "App/Other/Resource"), Finding("AwsSolutions-S1", "App/Files/Resource")]
    ) == [Finding("AwsSolutions-S1", "App/Other/Resource")]


def test_cfn_lint_finds_nothing(stacks: Stacks, aurora: Stacks, tmp_path: Path) -> None:
    """But that CDK says some dependencies twice (W3005)."""
    paths = []
    for variant, some in {"plain": stacks, "aurora": aurora}.items():
        for name, template in some.items():
            paths.append(tmp_path / f"{variant}-{name}.json")
            paths[-1].write_text(json.dumps(template))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("cfn-lint")),
            "--ignore-checks",
            "W3005",
            "--regions",
            "eu-central-1",
            "--",
            *map(str, paths),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
