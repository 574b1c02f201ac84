"""The environment variables of a function's process: Lambda's own, and those that the gateway was given."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from infra.local.gateway.spec import FunctionSpec

ROOT = Path(__file__).parents[3]
"""The checkout, from which functions and the shared packages are imported."""

_INHERITED = ("HOME", "PATH", "TMPDIR", "VIRTUAL_ENV")


def variables(spec: FunctionSpec, given: Mapping[str, str], path: Sequence[Path]) -> dict[str, str]:
    """All variables of a new environment; `given` ones win, and `path` is searched first for modules."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return (
        inherited
        | _of_lambda(spec)
        | {"PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT, ROOT / "shared")))}
        | dict(given)
    )


def _of_lambda(spec: FunctionSpec) -> dict[str, str]:
    return {
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory),
        "AWS_LAMBDA_FUNCTION_NAME": spec.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{spec.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{uuid4().hex}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "LAMBDA_TASK_ROOT": str(ROOT),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "_HANDLER": f"{spec.module}.handler",
    }
