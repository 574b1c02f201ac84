"""What cdk-nag's AwsSolutions rules find in the stacks and we leave as it is, each with its reason.

Only the tests ask cdk-nag: whoever adapts the stacks is not to be kept from deploying by a rule of taste. CDK's own way to
acknowledge a finding takes none whose name has two colons in it (cdk-nag #2351), and those of permissions have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """A rule that a construct breaks."""

    rule: str
    construct: str


@dataclass(frozen=True)
class Acknowledged:
    """Findings that are meant so: patterns of rule and construct."""

    rule: str
    construct: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether it is about this finding."""
        return bool(re.fullmatch(self.rule, finding.rule) and re.fullmatch(self.construct, finding.construct))


ACKNOWLEDGED = (
    Acknowledged(
        r"AwsSolutions-SMG4",
        r"Secrets/.*",
        "QStash's keys are rotated by `jobs rotate-keys`, as QStash rolls them itself; the other secrets are their "
        "providers', who know no rotation by Secrets Manager.",
    ),
    Acknowledged(
        r"AwsSolutions-L1",
        r"App/.*/Function/Resource",
        "Python 3.13 is the newest whose bytecode the build can make and whose runtime the tests can run; Lambda supports "
        "it until 2029.",
    ),
    Acknowledged(
        r"AwsSolutions-S1",
        r"App/Files/Resource",
        "Files are reached by links of ours alone, and `download` logs each that is opened.",
    ),
    Acknowledged(
        r"AwsSolutions-IAM5\[Resource::arn:.*:parameter/[a-z0-9-]+/[a-z0-9-]+/urls/\*\]",
        r"App/.*",
        "The addresses of the stage's functions are read at once, by their path, so a new function needs no new role.",
    ),
    Acknowledged(
        r"AwsSolutions-IAM5\[Resource::<Files\w+\.Arn>/((exports|reports|tmp)/)?\*\]",
        r"App/Functions/\w+/Role/Resource",
        "A file's name is its job's, so a function is given its own folder; who only reads is given the bucket.",
    ),
    Acknowledged(
        r"AwsSolutions-IAM5\[Resource::<Deployment\w+Function\w+\.Arn>:\*\]",
        r"App/Deployment/\w+/Framework/Role/DefaultPolicy/Resource",
        "CDK's Provider framework may call any version of the one handler that stands behind it.",
    ),
    Acknowledged(
        r"AwsSolutions-IAM5\[Resource::\*\]",
        r"App/.*/Role/Resource",
        "In a VPC, Lambda makes a network interface by the function's role, before the interface has a name.",
    ),
    Acknowledged(
        r"AwsSolutions-VPC7",
        r"Database/Vpc/Resource",
        "Nothing but the functions and their database is in the VPC, and its groups let nothing else through; flow logs "
        "would cost more than they say.",
    ),
    Acknowledged(
        r"AwsSolutions-RDS6",
        r"Database/Cluster/Resource",
        "Functions sign in with the password of their own secret: a token of IAM would have to be made anew every quarter "
        "of an hour, in the middle of jobs.",
    ),
)
"""All that is acknowledged; the tests fail for one that covers nothing."""


def findings(report: dict[str, Any]) -> list[Finding]:
    """What cdk-nag found, out of the `validation-report.json` of a synth."""
    return sorted(
        {
            Finding(violation["ruleName"], construct["constructPath"])
            for plugin in report["pluginReports"]
            for violation in plugin["violations"]
            for construct in violation["violatingConstructs"]
        },
        key=lambda one: (one.rule, one.construct),
    )


def open_findings(found: Iterable[Finding]) -> list[Finding]:
    """Those that nothing acknowledges."""
    return [one for one in found if not any(known.covers(one) for known in ACKNOWLEDGED)]
