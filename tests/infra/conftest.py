"""The stacks as they would be deployed, synthesised once, and packages to put into them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from infra.aws import node

node.prepare()  # before jsii starts its Node

from infra.aws.app import add_stacks, new_app  # noqa: E402
from infra.aws.context import Context  # noqa: E402
from infra.aws.functions import folders_of  # noqa: E402
from tests.conftest import ROOT  # noqa: E402

Template = dict[str, Any]
Stacks = dict[str, Template]


@dataclass(frozen=True)
class Packages:
    """As `infra.build` describes what it has made."""

    layer: Path
    functions: Mapping[str, Path]
    deployment: Path
    architecture: Literal["arm64", "x86_64"] = "arm64"


def packages(folder: Path, root: Path = ROOT) -> Packages:
    """Archives with one file each: what is in a package makes no difference to a template but its hash."""

    def archive(name: str) -> Path:
        path = folder / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as made:
            made.writestr(zipfile.ZipInfo(f"{name}.txt", (1980, 1, 1, 0, 0, 0)), name)
        return path

    return Packages(archive("layer"), {one: archive(one) for one in folders_of(root)}, archive("deployment"))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """What would be deployed."""
    return packages(tmp_path_factory.mktemp("packages"))


def synthesised(built: Packages, outdir: Path | None = None, **context: object) -> Stacks:
    """The template of each stack, by its name."""
    app = new_app(outdir)
    add_stacks(app, Context.read({"stage": "prod", **context}), built, root=ROOT)
    return {one.stack_name: one.template for one in app.synth().stacks}


@pytest.fixture(scope="session")
def stacks(built: Packages) -> Stacks:
    """The stacks of `prod`, as they are without any further context."""
    return synthesised(built)


@pytest.fixture(scope="session")
def template(stacks: Stacks) -> Template:
    """The application stack of `prod`."""
    return stacks["jobs-prod"]


@pytest.fixture(scope="session")
def aurora(built: Packages) -> Stacks:
    """The stacks of `prod` with a database of their own, behind a proxy."""
    return synthesised(built, database="aurora", database_proxy="true", reserved_concurrency="options")
