"""What only a deployed stage has: an account, stacks, secrets, alarms, and the way that a job goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from infra.cli import environment
from infra.cli.aws import Account, account, spoken
from infra.cli.checks import Check, Finding
from infra.cli.screen import ago, console
from infra.cli.secret_store import SecretStore
from infra.cli.secrets import look
from infra.stage import REQUIRED, SECRETS, Stage

PARTS = ("secrets", "database", "")
"""The stacks of a stage; the one of the database is there only where Aurora is."""


@contextmanager
def looking_at(stage: Stage) -> Iterator[tuple[list[Check], list[Check]]]:
    """What to look at before all else, and afterwards."""
    with account() as aws:
        of = _Stage(stage, aws)
        before = [
            Check("AWS", of.account),
            Check("stacks", of.stacks, after="AWS"),
            Check("secrets", of.secrets, after="AWS"),
            Check("deployment", of.deployment, after="AWS"),
        ]
        after = [
            Check("alarms", of.alarms, after="AWS"),
            Check("canary", canary, after="deployment", acts=True),
        ]
        yield before, after


@dataclass
class _Stage:
    stage: Stage
    aws: Account

    def account(self) -> Finding:
        with spoken("say who you are"):
            who = self.aws.client("sts").get_caller_identity()
        name = who["Arn"].rpartition(":")[2]
        return Finding(True, f"account {who['Account']}, region {self.aws.region}, as {name}")

    def stacks(self) -> Finding:
        found, troubles = [], []
        for part in PARTS:
            name = self.stage.stack(part)
            stack = self._stack(name)
            if stack is None:
                if part != "database":
                    mend = f"make deploy{'-secrets' if part else ''} STAGE={self.stage.name}"
                    troubles.append(f"{name} is not there; run: {mend}")
                continue
            status = stack["StackStatus"]
            when = stack.get("LastUpdatedTime") or stack["CreationTime"]
            found.append(f"{name} {status.lower().replace('_', ' ')}, {ago(when)}")
            if trouble := _trouble(name, status):
                troubles.append(trouble)
        return Finding(not troubles, "; ".join(troubles or found))

    def _stack(self, name: str) -> Any:
        from botocore.exceptions import ClientError

        with spoken(f"look at the stack {name}"):
            try:
                return self.aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
            except ClientError as error:
                if error.response["Error"]["Code"] == "ValidationError":  # that is what it says of one it has not
                    return None
                raise

    def secrets(self) -> Finding:
        store = SecretStore(self.aws, self.stage)
        missing = {name: found for name in SECRETS if (found := look(store, name).missing)}
        needed = [name for name in REQUIRED if name in missing]
        if needed:
            return Finding(
                False, f"{', '.join(needed)}: empty; run: jobs secrets put --stage {self.stage.name} {' '.join(needed)}"
            )
        rest = f"; empty are {', '.join(missing)}" if missing else ""
        return Finding(True, f"{len(SECRETS) - len(missing)} filled, all that every job needs{rest}")

    def deployment(self) -> Finding:
        environment.load()
        return Finding(True, f"stage {self.stage.name} of {self.stage.app} is written down")

    def alarms(self) -> Finding:
        with spoken("look at the alarms"):
            pages = (
                self.aws.client("cloudwatch")
                .get_paginator("describe_alarms")
                .paginate(AlarmNamePrefix=f"{self.stage.prefix}-")
            )
            alarms = [one for page in pages for one in (*page["MetricAlarms"], *page.get("CompositeAlarms", ()))]
        ringing = [one for one in alarms if one["StateValue"] == "ALARM"]
        if not alarms:
            return Finding(False, f"none is there; run: make deploy STAGE={self.stage.name}")
        if not ringing:
            return Finding(True, f"{len(alarms)}, and none rings")
        said = [
            f"{one['AlarmName']} rings, {ago(one['StateUpdatedTimestamp'])}: {one.get('AlarmDescription') or 'see why'}"
            for one in sorted(ringing, key=lambda one: one["StateUpdatedTimestamp"])
        ]
        return Finding(False, "; ".join(said))


def _trouble(name: str, status: str) -> str | None:
    why = f"why: aws cloudformation describe-stack-events --stack-name {name}"
    if status.endswith("ROLLBACK_COMPLETE"):
        if status == "UPDATE_ROLLBACK_COMPLETE":
            return f"{name}: the last deployment failed, and what was there before is there again; {why}"
        return f"{name}: its first deployment failed; mend, and deploy again, which deletes what is left of it; {why}"
    if status.endswith("FAILED"):
        return f"{name}: {status}; {why}"
    return None


def canary() -> Finding:
    """Send one job the whole way, and wait for it."""
    from infra.deployment.canary import travel

    with console.status("A probe is on its way …"):
        journey = travel()
    return Finding(journey.arrived, journey.said)
