"""The logical ids that must not change, since CloudFormation replaces what is called otherwise.

A function's address would be another, a secret or the bucket empty, a database gone. `python -m tests.infra.logical_ids`,
or `make docs`, adds to the list what is new; what is there no longer goes only with `--forget`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.infra.conftest import Stacks, packages, synthesised

Ids = dict[str, dict[str, list[str]]]
"""By stack and by type."""

LIST = Path(__file__).with_suffix(".json")

LASTING = frozenset(
    {
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::Subnet",
        "AWS::EC2::VPC",
        "AWS::Lambda::Function",
        "AWS::Lambda::LayerVersion",
        "AWS::Lambda::Url",
        "AWS::Logs::LogGroup",
        "AWS::RDS::DBCluster",
        "AWS::RDS::DBClusterParameterGroup",
        "AWS::RDS::DBInstance",
        "AWS::RDS::DBProxy",
        "AWS::RDS::DBSubnetGroup",
        "AWS::S3::Bucket",
        "AWS::SNS::Topic",
        "AWS::SecretsManager::Secret",
        "Custom::Canary",
        "Custom::Migration",
        "Custom::QStashSchedule",
    }
)
"""What has an address, a state or a history."""


def lasting(stacks: Stacks) -> Ids:
    """The logical ids of each stack, by the type of what they name."""
    return {
        stack: {
            type_: sorted(id_ for id_, one in template["Resources"].items() if one["Type"] == type_)
            for type_ in sorted(LASTING & {one["Type"] for one in template["Resources"].values()})
        }
        for stack, template in stacks.items()
    }


def text(ids: Ids) -> str:
    """As the list has it."""
    return json.dumps(ids, indent=2) + "\n"


def joined(known: Ids, found: Ids) -> Ids:
    """What is in either, in the order of what was found."""
    return {
        stack: {
            type_: sorted({*known.get(stack, {}).get(type_, ()), *found.get(stack, {}).get(type_, ())})
            for type_ in sorted(known.get(stack, {}).keys() | found.get(stack, {}).keys())
        }
        for stack in dict.fromkeys([*found, *known])
    }


def renew(path: Path, found: Ids, *, forget: bool = False) -> int:
    """Add what is new to the list at `path`; the exit status: 1 when something is there no longer and is not to be
    forgotten."""
    wanted = found if forget else joined(json.loads(path.read_text()), found)
    if path.read_text() != text(wanted):
        path.write_text(text(wanted))
        sys.stdout.write(f"wrote {path.name}\n")
    if wanted == found:
        return 0
    sys.stderr.write(
        f"{path.name} has logical ids that are there no longer; a deployment would delete what they name. See which: "
        ".venv/bin/pytest tests/infra/test_changes.py\n"
    )
    return 1


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.infra.logical_ids", description="Add to the list what is new."
    )
    parser.add_argument("--forget", action="store_true", help="remove from it what is there no longer")
    forget: bool = parser.parse_args().forget
    with tempfile.TemporaryDirectory() as folder:
        stacks = synthesised(
            packages(Path(folder)), database="aurora", database_proxy=True, reserved_concurrency="options"
        )
    return renew(LIST, lasting(stacks), forget=forget)


if __name__ == "__main__":
    sys.exit(main())
