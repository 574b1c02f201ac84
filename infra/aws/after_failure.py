"""What `make deploy` does when CDK failed: takes the protection off stacks whose creation failed.

CloudFormation keeps such a stack until it is deleted, and CDK deletes it when it deploys again. But CDK has protected the
stacks of `prod` before it began to create them, and what is protected cannot be deleted.

    python -m infra.aws.after_failure
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ASSEMBLY = Path(__file__).parents[2] / "build/cdk.out"
"""Where cdk.json lets CDK write what it deploys."""

CREATION_FAILED = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED"}
"""Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html"""


def unprotect(assembly: Path, cloudformation: Callable[[str | None], Any]) -> Iterator[str]:
    """A sentence about each stack whose creation failed and that was protected. `cloudformation` makes boto3's client for a
    region; None is the shell's."""
    manifest = assembly / "manifest.json"
    artifacts = json.loads(manifest.read_text())["artifacts"] if manifest.exists() else {}
    for artifact in artifacts.values():
        if artifact["type"] != "aws:cloudformation:stack" or not artifact["properties"].get("terminationProtection"):
            continue
        name = artifact["properties"]["stackName"]
        region = artifact["environment"].rpartition("/")[2]
        try:
            client = cloudformation(None if region == "unknown-region" else region)
            (stack,) = client.describe_stacks(StackName=name)["Stacks"]
            if stack["StackStatus"] in CREATION_FAILED and stack.get("EnableTerminationProtection"):
                client.update_termination_protection(StackName=name, EnableTerminationProtection=False)
                yield f"{name} could not be made: the next `make deploy` deletes what is left of it and begins anew."
        except (BotoCoreError, ClientError) as error:
            if "does not exist" not in str(error):
                yield (
                    f"Could not see what became of {name} ({error}). If the next `make deploy` cannot delete it: "
                    f"aws cloudformation update-termination-protection --no-enable-termination-protection --stack-name {name}"
                )


def main() -> None:
    """Print what was done, if anything was."""
    for sentence in unprotect(ASSEMBLY, lambda region: boto3.client("cloudformation", region_name=region)):
        sys.stderr.write(f"{sentence}\n")


if __name__ == "__main__":
    main()
