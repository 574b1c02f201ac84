"""The build of this checkout for either processor, and small checkouts to be built from."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.build.artifacts import Artifacts
from infra.build.builder import build
from infra.build.manifest import Manifest
from tests.conftest import ROOT


@dataclass(frozen=True)
class Built:
    """One build: its manifest, and what its archives hold."""

    artifacts: Artifacts
    folder: Path
    manifest: Manifest

    @property
    def archives(self) -> Mapping[str, Path]:
        """By their names below the build folder."""
        return {name: self.folder / f"{name}.zip" for name in self.manifest.archives}

    def names(self, archive: str) -> set[str]:
        """The names of all files in an archive."""
        with zipfile.ZipFile(self.archives[archive]) as file:
            return set(file.namelist())

    def contents(self, *suffixes: str) -> Iterator[tuple[str, str, bytes]]:
        """Every file of every archive, or those with these suffixes: the archive, the name, the content."""
        for name, path in self.archives.items():
            with zipfile.ZipFile(path) as file:
                for entry in file.namelist():
                    if not suffixes or entry.endswith(suffixes):
                        yield name, entry, file.read(entry)


@pytest.fixture(scope="session")
def arm64() -> Built:
    """What a deployment uploads unless told otherwise."""
    folder = ROOT / "build" / "tests" / "arm64"
    manifest = build(ROOT, architecture="arm64", into=folder)
    return Built(Artifacts.of(ROOT, folder), folder, manifest)


@pytest.fixture(scope="session")
def native(artifacts: Artifacts) -> Built:
    """For the kind of processor that the runtime test runs on."""
    folder = artifacts.layer.parent
    manifest = Manifest.read(folder)
    assert manifest is not None
    return Built(artifacts, folder, manifest)


@pytest.fixture(params=["arm64", "native"])
def built(request: pytest.FixtureRequest) -> Built:
    """Either of them."""
    made: Built = request.getfixturevalue(request.param)
    return made


def pins(name: str) -> str:
    """The pin of one package, with its hashes, as our requirements have it."""
    lines = (ROOT / "requirements" / "layer.txt").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{name}=="))
    end = next(number for number in range(start, len(lines)) if not lines[number].endswith("\\"))
    return "\n".join(lines[start : end + 1]) + "\n"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A checkout with one function and one pinned package, quick to build."""
    root = tmp_path / "checkout"
    for path, text in {
        "functions/__init__.py": '"""Functions."""\n',
        "functions/hello/__init__.py": '"""One of them."""\n',
        "functions/hello/handler.py": "def handler(event, context):\n    return {'statusCode': 200}\n",
        "infra/__init__.py": '"""Infra."""\n',
        "infra/stage.py": '"""Names."""\n',
        "infra/deployment/__init__.py": '"""Deployment."""\n',
        "infra/migrations/__init__.py": '"""Migrations."""\n',
        "shared/qstash_jobs/__init__.py": '"""The package."""\n',
        "shared/saas/__init__.py": '"""The tables."""\n',
        "requirements/layer.txt": pins("typing-extensions"),
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, root / name)
    return root
