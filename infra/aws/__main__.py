"""What CDK's command line runs (cdk.json): the stacks of the stage that the context names, or a sentence that says why not.

    python -m infra.aws [FOLDER]

FOLDER is where the packages were built, by default `build`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> int:
    """The exit status: 1 when there is nothing to deploy, with the reason on stderr."""
    from infra.aws import node

    node.prepare()
    from infra.aws.app import add_stacks, new_app
    from infra.aws.context import Context
    from infra.aws.errors import CannotDeploy
    from infra.build.artifacts import Artifacts, BuildMissing, BuildStale
    from qstash_jobs.errors import JobsError

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    app = new_app()
    try:
        context = Context.read(app.node.get_all_context(), os.environ.get("CDK_DEFAULT_REGION"))
        add_stacks(app, context, Artifacts.of(ROOT, folder), root=ROOT)
    except (CannotDeploy, BuildMissing, BuildStale, JobsError, ValueError) as error:
        sys.stderr.write(f"\n{error}\n\n")
        return 1
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
