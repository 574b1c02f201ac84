"""What changes from one deployment to the next, and what never may."""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from infra.aws import node
from infra.aws.app import add_stacks, new_app
from infra.aws.context import Context
from infra.aws.functions import folders_of
from qstash_jobs.job import JobOptions, registry
from tests.conftest import ROOT
from tests.infra import logical_ids
from tests.infra.conftest import Packages, Stacks, Template, packages, synthesised
from tests.infra.logical_ids import LIST, lasting


def test_what_lasts_is_called_as_ever(aurora: Stacks) -> None:
    """CloudFormation replaces what has another logical id: a function with its address, a bucket with its files."""
    known, found = LIST.read_text(), logical_ids.text(lasting(aurora))
    if known != found:
        changed = "\n".join(
            difflib.unified_diff(known.splitlines(), found.splitlines(), "known", "found", lineterm="", n=1)
        )
        pytest.fail(
            f"Logical ids are not those of {LIST.name}. A line with a minus is deleted from each stage that is deployed, "
            "and one with a plus is made anew: functions get other addresses, files and logs are left behind. If there are "
            "only new ones: make docs. If the others are meant to go: .venv/bin/python -m tests.infra.logical_ids --forget"
            f"\n{changed}",
            pytrace=False,
        )


KNOWN = {"jobs-prod": {"AWS::Lambda::Url": ["FunctionsSendEmailUrl1"], "AWS::S3::Bucket": ["Files2"]}}


def test_what_is_new_is_added_to_the_list(tmp_path: Path) -> None:
    """As `make docs` does it after a job type was added."""
    path = tmp_path / "ids.json"
    path.write_text(logical_ids.text(KNOWN))
    more = {"jobs-prod": {**KNOWN["jobs-prod"], "AWS::Lambda::Url": ["FunctionsSendEmailUrl1", "FunctionsSendSmsUrl3"]}}
    assert logical_ids.renew(path, more) == 0
    assert json.loads(path.read_text()) == more


def test_what_has_vanished_stays_in_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also when it came back by another name, so that the test goes on failing, until a person says that it may go."""
    path = tmp_path / "ids.json"
    path.write_text(logical_ids.text(KNOWN))
    renamed = {"jobs-prod": {"AWS::Lambda::Url": ["FunctionsSendMailUrl4"]}}
    assert logical_ids.renew(path, renamed) == 1
    assert "has logical ids that are there no longer" in capsys.readouterr().err
    assert json.loads(path.read_text()) == {
        "jobs-prod": {
            "AWS::Lambda::Url": ["FunctionsSendEmailUrl1", "FunctionsSendMailUrl4"],
            "AWS::S3::Bucket": ["Files2"],
        }
    }
    assert logical_ids.renew(path, renamed, forget=True) == 0
    assert json.loads(path.read_text()) == renamed


def test_a_stage_without_aurora_has_the_same_names(stacks: Stacks, aurora: Stacks) -> None:
    """So the database can be exchanged without another address for any function, and its DSN is still there afterwards."""
    known, plain = lasting(aurora), lasting(stacks)
    assert plain["jobs-prod"] == known["jobs-prod"]
    secrets = {
        one: template["jobs-prod-secrets"]["Resources"] for one, template in (("dsn", stacks), ("aurora", aurora))
    }
    assert {id_: secrets["aurora"].pop(id_) for id_ in ["Aurora"]}
    assert secrets["aurora"] == secrets["dsn"]


def test_a_proxy_can_be_put_before_aurora_and_taken_away(built: Packages, aurora: Stacks) -> None:
    """Whatever the functions use of the network stays, and the stacks export what they exported."""
    without = synthesised(built, database="aurora", reserved_concurrency="options")["jobs-prod-database"]
    with_one = aurora["jobs-prod-database"]
    assert without["Outputs"] == with_one["Outputs"]
    gone = {id_ for id_, one in without["Resources"].items() if with_one["Resources"].get(id_) != one}
    assert {without["Resources"][id_]["Type"] for id_ in gone} == {"AWS::SSM::Parameter"}


def test_two_synths_are_equal(built: Packages, stacks: Stacks) -> None:
    """Nothing in a template depends on the time, on the order of a set, or on where it was made."""
    assert synthesised(built) == stacks


def test_nothing_of_this_machine_is_in_a_template(stacks: Stacks) -> None:
    """Neither a path nor an account."""
    for template in stacks.values():
        assert str(ROOT) not in json.dumps(template)
        assert re.findall(r"\b\d{12}\b", json.dumps(template)) == []


@pytest.fixture(scope="module")
def with_another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cloud assembly of `prod` with one more job type: a contract's options and a folder."""
    folder = tmp_path_factory.mktemp("another")
    for name in (*folders_of(ROOT), "send_sms"):
        (folder / "functions" / name).mkdir(parents=True)
        (folder / "functions" / name / "handler.py").touch()
    app = new_app(folder / "assembly")
    options = [
        *(one.options for one in registry.contracts()),
        JobOptions(name="send-sms", timeout=timedelta(seconds=20)),
    ]
    (folder / "packages").mkdir()
    add_stacks(
        app, Context.read({"stage": "prod"}), packages(folder / "packages", folder), root=folder, job_types=options
    )
    app.synth()
    return folder / "assembly"


OWN = {
    "AWS::CloudWatch::Alarm", "AWS::IAM::Role", "AWS::Lambda::Function", "AWS::Lambda::Permission", "AWS::Lambda::Url",
    "AWS::Logs::LogGroup", "AWS::SSM::Parameter",
}  # fmt: skip
SHARED = {"AWS::CloudWatch::Dashboard", "Custom::Migration", "Custom::Canary"}
"""What is told of a new job type: the dashboard gets a row, the migrations' second part waits for one more function, and the
canary runs for what is deployed anew."""


def test_a_job_type_changes_only_its_own_resources(stacks: Stacks, with_another: Path) -> None:
    """No other function, role or address is touched, so no other job notices."""
    before: Template = stacks["jobs-prod"]["Resources"]
    after: Template = json.loads((with_another / "App.template.json").read_text())["Resources"]
    added = after.keys() - before.keys()
    assert before.keys() <= after.keys()
    assert all(id_.startswith("FunctionsSendSms") for id_ in added)
    assert {after[id_]["Type"] for id_ in added} == OWN
    changed = {id_ for id_ in before if before[id_] != after[id_]}
    assert {before[id_]["Type"] for id_ in changed} == SHARED
    for id_ in changed:
        if before[id_]["Type"] == "Custom::Migration":
            assert before[id_]["Properties"] == after[id_]["Properties"]
            assert set(before[id_]["DependsOn"]) < set(after[id_]["DependsOn"])


def test_cdk_diff_shows_a_job_type_before_it_is_deployed(stacks: Stacks, with_another: Path, tmp_path: Path) -> None:
    """By CDK's own command line, which needs no account for that: what a person reads in review."""
    deployed = tmp_path / "deployed.json"
    deployed.write_text(json.dumps(stacks["jobs-prod"]))
    nobody = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        node.command("diff", "App", "--exclusively", "--app", str(with_another), "--template", str(deployed)),
        cwd=tmp_path,
        env={**nobody, "NO_COLOR": "1", "HOME": os.environ.get("HOME", str(tmp_path))},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    lines = re.findall(r"^\[(\S)\] (\S+) (\S+)", said, re.MULTILINE)
    assert {(sign, type_) for sign, type_, _ in lines} == {
        *(("+", type_) for type_ in OWN),
        *(("~", one) for one in SHARED),
    }
    assert all(path.startswith("Functions/SendSms/") for sign, _, path in lines if sign == "+")
    assert "Number of stacks with differences: 1" in said
