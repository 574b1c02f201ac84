"""The logical ids that must not change, since CloudFormation replaces what is called otherwise.

A function's address would be another, a secret or the bucket empty, a database gone. `python -m tests.infra.logical_ids`
writes the list anew.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.infra.conftest import Stacks, packages, synthesised

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


def lasting(stacks: Stacks) -> dict[str, dict[str, list[str]]]:
    """The logical ids of each stack, by the type of what they name."""
    return {
        stack: {
            type_: sorted(id_ for id_, one in template["Resources"].items() if one["Type"] == type_)
            for type_ in sorted(LASTING & {one["Type"] for one in template["Resources"].values()})
        }
        for stack, template in stacks.items()
    }


def main() -> None:
    """Write the list anew."""
    with tempfile.TemporaryDirectory() as folder:
        stacks = synthesised(
            packages(Path(folder)), database="aurora", database_proxy=True, reserved_concurrency="options"
        )
    LIST.write_text(json.dumps(lasting(stacks), indent=2) + "\n")


if __name__ == "__main__":
    main()
