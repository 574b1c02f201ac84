"""`make bootstrap`: CDK's own bucket and roles, for the account and the region that the shell's credentials lead to."""

from __future__ import annotations

import subprocess
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.aws import node
from infra.aws.context import usable_region
from infra.aws.errors import CannotDeploy


def environment(session: boto3.Session) -> str:
    """As CDK is told it, e.g. `aws://123456789012/eu-central-1`. Raises `CannotDeploy`."""
    if session.region_name is None:
        raise CannotDeploy(
            "The shell names no region: export AWS_REGION=eu-central-1, or the one where your Postgres is."
        )
    try:
        usable_region(session.region_name)
    except ValueError as error:
        raise CannotDeploy(f"The region of your shell: {error}.") from None
    try:
        account = session.client("sts").get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        raise CannotDeploy(
            f"AWS does not know who you are ({error}). Sign in, e.g. with `aws sso login`, and export AWS_PROFILE=…"
        ) from None
    return f"aws://{account}/{session.region_name}"


def main() -> int:
    """The exit status."""
    try:
        where = environment(boto3.Session())
    except CannotDeploy as error:
        sys.stderr.write(f"{error}\n")
        return 1
    node.prepare()
    return subprocess.run(node.command("bootstrap", "--app", "", where), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
