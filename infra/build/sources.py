"""Which files of this checkout go into which archive, and under which names."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from infra.build.errors import BuildRefused
from infra.build.platform import Architecture

Mount = Literal["/opt", "/var/task"]
"""Where Lambda unpacks an archive: layers at the one, a function's own at the other."""

_LEFT_OUT_FOLDERS = frozenset({"__pycache__"})
_LEFT_OUT_SUFFIXES = frozenset({".pyc", ".pyo"})


@dataclass(frozen=True, kw_only=True)
class Part:
    """One archive to be made."""

    name: str
    """Of the archive below `build/`, without its suffix: `layer`, `functions/send_email`, `deployment`."""
    mount: Mount
    root: Path
    """The checkout."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """What is copied, by the name that it has in the archive."""
    requirements: Path | None = None
    """The pinned packages that go in beside."""
    project: bool = False
    """Whether the wheel of this project goes in, and all in a folder `python`, as a layer has it."""

    @property
    def prefix(self) -> str:
        """What everything in the archive is below of."""
        return "python/" if self.mount == "/opt" else ""

    @cached_property
    def inputs(self) -> Mapping[str, str]:
        """The SHA-256 of every file that decides what the archive holds, by its path in the checkout."""
        paths = [*self.files.values()]
        if self.requirements is not None:
            paths.append(self.requirements)
        if self.project:  # the README is left out of the layer, so that a word in it changes no function
            paths.extend([self.root / "pyproject.toml", self.root / "LICENSE", *files_below(self.root / "shared")])
        own = {path.relative_to(self.root).as_posix(): _sha256(path) for path in sorted(paths)}
        return own | _of_the_builder()

    def digest(self, architecture: Architecture, python: str) -> str:
        """Equal for equal inputs, and so for equal archives."""
        return hashlib.sha256(json.dumps([self.inputs, architecture, python, self.name]).encode()).hexdigest()


def parts(root: Path) -> list[Part]:
    """Everything that is built from a checkout: the layer, each function, the deployment. Raises `BuildRefused`."""
    handlers = sorted((root / "functions").glob("*/handler.py"))
    if not handlers:
        raise BuildRefused(f"there is no function in {root / 'functions'}: each is a folder with a handler.py")
    layer = Part(name="layer", mount="/opt", root=root, requirements=root / "requirements" / "layer.txt", project=True)
    return [layer, *(_function(root, handler.parent) for handler in handlers), _deployment(root)]


def _function(root: Path, folder: Path) -> Part:
    files = {"functions/__init__.py": root / "functions" / "__init__.py", **_named(root, folder)}
    requirements = files.pop(f"functions/{folder.name}/requirements.txt", None)
    return Part(name=f"functions/{folder.name}", mount="/var/task", root=root, files=files, requirements=requirements)


def _deployment(root: Path) -> Part:
    infra = root / "infra"
    files = {
        **_named(root, infra / "deployment"),
        **_named(root, infra / "migrations"),
        "infra/__init__.py": infra / "__init__.py",
        "infra/stage.py": infra / "stage.py",
    }
    requirements = files.pop("infra/deployment/requirements.txt", None)
    return Part(name="deployment", mount="/var/task", root=root, files=files, requirements=requirements)


def _named(root: Path, folder: Path) -> dict[str, Path]:
    return {path.relative_to(root).as_posix(): path for path in files_below(folder)}


def files_below(folder: Path) -> Iterator[Path]:
    """The files of a folder that are somebody's work: no caches, and nothing hidden."""
    for path in sorted(folder.rglob("*")):
        names = path.relative_to(folder).parts
        if (
            path.is_file()
            and path.suffix not in _LEFT_OUT_SUFFIXES
            and not any(name in _LEFT_OUT_FOLDERS or name.startswith(".") for name in names)
        ):
            yield path


@functools.cache
def _of_the_builder() -> dict[str, str]:
    folder = Path(__file__).parent
    return {f"infra/build/{path.name}": _sha256(path) for path in files_below(folder)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
