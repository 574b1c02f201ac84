"""Write a new job type: contract, function, sample event and test, which pass the checks after `make docs`."""

from __future__ import annotations

import builtins
import json
import keyword
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.screen import console
from qstash_jobs.errors import UnknownJobType
from qstash_jobs.job import JobOptions

CONTRACT = '''"""{sentence}"""

from __future__ import annotations

from datetime import timedelta

from qstash_jobs.job import Job, JobOptions


class {cls}(Job):
    """{sentence}"""

    options = JobOptions(name="{name}", retries=3, timeout=timedelta(seconds=30))

    name: str
    """Whom to greet."""
'''

HANDLER = '''"""{sentence}"""

from __future__ import annotations

from pydantic import JsonValue

from qstash_jobs.jobs.{module} import {cls}
from qstash_jobs.run import Run
from qstash_jobs.serving import serve


def {module}(payload: {cls}, run: Run) -> JsonValue:
    """What one job does."""
    run.progress(0.5, "half of it is done")
    return {{"greeting": f"Hello, {{payload.name}}"}}


handler = serve({cls}, {module})
'''

TEST = '''"""The job type `{name}`."""

from __future__ import annotations

from functions.{module}.handler import {module}
from qstash_jobs.jobs.{module} import {cls}
from qstash_jobs.testing import run_inline


def test_{module}_greets() -> None:
    """The result holds a greeting for whom the payload names."""
    assert run_inline({module}, {cls}(name="Ada")) == {{"greeting": "Hello, Ada"}}
'''

LONGEST_NAME = 26
"""With a longer one, the lines of the test would be wrapped."""

TAKEN = {"annotations", "handler", "job", "job_options", "json_value", "run", "run_inline", "serve", "timedelta"}
"""Module and function are named after the job type, its class in CamelCase: these would hide what they need."""

GROUPS = {"aws", "check", "deployment", "desk", "test"}
"""Of pyproject.toml: a function's libraries are in the group of its name, and these are something else's."""


def new(
    name: Annotated[str, typer.Argument(help="The job type, e.g. resize-image.")],
    root: Annotated[Path, typer.Option(hidden=True)] = Path(),
) -> None:
    """Write a new job type: contract, function, sample event and test. After `make docs` they pass `make check test`.

    [dim]jobs new resize-image[/]
    """
    from qstash_jobs.job import registry

    try:
        module = JobOptions(name=name).folder
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="name") from None
    if len(name) > LONGEST_NAME:
        raise typer.BadParameter(f"a name of at most {LONGEST_NAME} characters keeps lines short", param_hint="name")
    if keyword.iskeyword(module) or hasattr(builtins, module) or module in TAKEN:
        raise typer.BadParameter(f"{module} means something else in the files to write", param_hint="name")
    if name in GROUPS:
        raise typer.BadParameter(f"a dependency group of pyproject.toml is called {name} already", param_hint="name")
    try:
        taken = registry.get(name)
    except UnknownJobType:
        pass
    else:
        raise typer.BadParameter(f"{taken.__name__} has this name already", param_hint="name")
    words = re.sub("-", " ", name)
    fields = {
        "name": name,
        "module": module,
        "cls": "".join(part.capitalize() for part in name.split("-")),
        "sentence": f"{words.capitalize()}.",
    }
    files = {
        root / f"shared/qstash_jobs/jobs/{module}.py": CONTRACT.format(**fields),
        root / f"functions/{module}/handler.py": HANDLER.format(**fields),
        root / f"tests/unit/test_{module}.py": TEST.format(**fields),
        root / f"events/{name}.json": sample_event(name, {"name": "Ada"}),
    }
    existing = [path for path in files if path.exists()]
    if existing:
        raise typer.BadParameter(f"{existing[0]} exists already", param_hint="name")
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        console.print(f"wrote {path}")
    (root / f"functions/{module}/__init__.py").touch()  # import-linter looks into packages only
    if (root / "infra/docs").exists():
        _renew_docs(root)
    console.print(f'\nTry it while `jobs dev` runs:  jobs enqueue {name} \'{{"name": "Ada"}}\' --wait')
    console.print(
        "Add it to the picture of the deployment and the list of its ids, before `make check test`:  make docs"
    )


def _renew_docs(root: Path) -> None:
    """The reference lists all job types; a process of its own, because this one has read the registry before."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.docs"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str((root / "shared").resolve())},
        capture_output=True,
        text=True,
        check=False,
    )
    console.print((done.stdout + done.stderr).rstrip(), markup=False)


def sample_event(name: str, payload: dict[str, object]) -> str:
    """A function URL event as QStash causes it, with its signature left for `jobs invoke` to make."""
    body = {"type": name, "payload": payload, "metadata": {"createdAt": "2026-01-01T00:00:00Z"}}
    host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws"
    return (
        json.dumps(
            {
                "version": "2.0",
                "routeKey": "$default",
                "rawPath": "/",
                "rawQueryString": "",
                "headers": {
                    "content-type": "application/json",
                    "host": host,
                    "upstash-message-id": f"msg_sample_{name}",
                    "upstash-retried": "0",
                    "upstash-signature": "",
                    "user-agent": "Upstash-QStash",
                },
                "requestContext": {
                    "accountId": "anonymous",
                    "apiId": host.partition(".")[0],
                    "domainName": host,
                    "domainPrefix": host.partition(".")[0],
                    "http": {
                        "method": "POST",
                        "path": "/",
                        "protocol": "HTTP/1.1",
                        "sourceIp": "203.0.113.7",
                        "userAgent": "Upstash-QStash",
                    },
                    "requestId": "5f0f9c9e-7c0c-4f63-9f0e-1f3f6f0d7a11",
                    "routeKey": "$default",
                    "stage": "$default",
                    "time": "01/Jan/2026:00:00:00 +0000",
                    "timeEpoch": 1767225600000,
                },
                "body": json.dumps(body),
                "isBase64Encoded": False,
            },
            indent=2,
        )
        + "\n"
    )
