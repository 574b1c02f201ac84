"""What people type: CDK's own command line on what was really built, and `make bootstrap`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from infra.aws import bootstrap, node
from infra.aws.errors import CannotDeploy
from infra.build.artifacts import Artifacts
from tests.conftest import ROOT
from tests.infra.reading import of_type


def nobody(**more: str) -> dict[str, str]:
    """The environment of a shell without an AWS account."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}, **more}


def app(*arguments: str, **context: object) -> subprocess.CompletedProcess[str]:
    """The app as CDK runs it, with a context."""
    return subprocess.run(
        [sys.executable, "-m", "infra.aws", *arguments],
        cwd=ROOT,
        env=nobody(CDK_CONTEXT_JSON=json.dumps(context)),
        capture_output=True,
        text=True,
        check=False,
    )


def test_cdk_synthesises_what_was_built(artifacts: Artifacts, tmp_path: Path) -> None:
    """Without an account or a network; the packages in the assembly are the built ones, byte for byte."""
    done = subprocess.run(
        node.command(
            "synth", "--quiet", "--app", f"{sys.executable} -m infra.aws {artifacts.layer.parent}", "--output",
            str(tmp_path), "-c", "stage=staging", "-c", "architecture=x86_64",
        ),
        cwd=ROOT,
        env=nobody(),
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr.upper(), done.stderr
    template = json.loads((tmp_path / "App.template.json").read_text())
    assert set(json.loads((tmp_path / "manifest.json").read_text())["artifacts"]) >= {"App", "Secrets"}
    functions = {
        one["Handler"]: one["Code"]["S3Key"]
        for one in of_type(template, "AWS::Lambda::Function").values()
        if one["Handler"].startswith(("functions.", "infra."))
    }
    built = {f"functions.{folder}.handler.handler": path for folder, path in artifacts.functions.items()}
    built |= {f"infra.deployment.{step}.handler": artifacts.deployment for step in ("migrate", "schedule", "canary")}
    assert functions.keys() == built.keys()
    for handler, path in built.items():
        assert (tmp_path / f"asset.{functions[handler]}").read_bytes() == path.read_bytes()


def test_what_cannot_be_deployed_is_a_sentence_and_no_traceback() -> None:
    """On stderr, where CDK shows it, with the status 1, which stops CDK."""
    done = app()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().startswith("Context stage is missing; say -c stage=… with staging or prod.")
    assert "Traceback" not in done.stderr


def test_packages_that_were_not_built_are_a_sentence_too(tmp_path: Path) -> None:
    """With what to type."""
    done = app(str(tmp_path), stage="prod")
    assert done.returncode == 1
    assert "make build" in done.stderr
    assert "Traceback" not in done.stderr


def test_packages_of_another_processor_are_refused(artifacts: Artifacts) -> None:
    """They would fail at their first call."""
    done = app(str(artifacts.layer.parent), stage="prod", architecture="arm64")
    assert done.returncode == 1
    assert "What is built is for x86_64, and -c architecture=arm64 is asked for" in done.stderr
    assert "make build CONTEXT='-c architecture=arm64'" in done.stderr


@pytest.mark.parametrize("target", ["build", "synth", "diff", "deploy-secrets", "deploy", "destroy"])
def test_make_builds_for_the_processor_of_the_context(target: str) -> None:
    """Else the build before each deployment would undo what was built for it."""

    def built(*words: str) -> str:
        words = ("make", "--dry-run", target, "STAGE=prod", "--assume-old=.venv/deploy", *words)
        shell = {"PATH": os.environ["PATH"]}  # without what a `make test` around this was told
        done = subprocess.run(words, cwd=ROOT, env=shell, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return next(
            line.partition("infra.build")[2].strip() for line in done.stdout.splitlines() if "infra.build" in line
        )

    assert built() == ""
    assert built("CONTEXT=-c app=acme -c architecture=x86_64 -c starter=true") == "--architecture x86_64"


def test_the_command_line_is_pinned() -> None:
    """By its version, for npm's newest is another program; Node is the Python package's."""
    program, script, *arguments = node.command("--version")
    assert arguments == ["--yes", "--prefer-offline", "aws-cdk@2.1148.1", "--version"]
    assert Path(program).is_relative_to(sys.prefix)
    assert Path(script).is_relative_to(sys.prefix)


def test_bootstrap_asks_aws_who_is_there(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> None:
    """The account and the region of the shell are what is prepared."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    session = boto3.Session("test", "test", region_name="eu-central-1")
    assert bootstrap.environment(session) == "aws://123456789012/eu-central-1"


def test_bootstrap_says_what_the_shell_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A region, one whose functions have addresses, or credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CannotDeploy, match="export AWS_REGION="):
        bootstrap.environment(boto3.Session())
    with pytest.raises(CannotDeploy, match="no addresses in eu-south-2"):
        bootstrap.environment(boto3.Session(region_name="eu-south-2"))
    with pytest.raises(CannotDeploy, match="aws sso login"):
        bootstrap.environment(boto3.Session(region_name="eu-central-1"))
