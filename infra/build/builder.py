"""Make every archive whose inputs have changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.build import limits
from infra.build.archive import Archive, pack
from infra.build.bytecode import compile_below
from infra.build.errors import BuildRefused
from infra.build.lock import locked
from infra.build.manifest import Manifest
from infra.build.packages import install
from infra.build.platform import Architecture, check_interpreter
from infra.build.sources import Part, parts

Progress = Callable[[str], None]
"""Takes a line about what is being done."""


def build(
    root: Path,
    *,
    architecture: Architecture = "arm64",
    into: Path | None = None,
    cache: Path | None = None,
    progress: Progress = lambda _line: None,
) -> Manifest:
    """Make the archives of a checkout, and the folders that they are of, in `build/` below it or in another folder.

    What is there already and was made from the same is left as it is. Raises `BuildError`; the archives that were made
    until then stay, and until the next build `Artifacts.of` takes them for stale.
    """
    check_interpreter()
    into = into or root / "build"
    into.mkdir(parents=True, exist_ok=True)
    with locked(into / "lock"):
        return _build(root, architecture, into, cache or root / "build" / "packages", progress)


def _build(root: Path, architecture: Architecture, into: Path, cache: Path, progress: Progress) -> Manifest:
    wanted = parts(root)
    before = Manifest.read(into)
    python = sys.version.split()[0]

    def make(part: Part) -> Archive:
        of = part.digest(architecture, python)
        made = before.archives.get(part.name) if before else None
        if made is not None and made.of == of and _is_there(into, part, made):
            return made
        progress(f"{part.name}: {'packages, ' if part.requirements else ''}sources, bytecode, archive")
        return _make(part, architecture, into, cache, of)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        archives = dict(zip((part.name for part in wanted), threads.map(make, wanted), strict=True))
    _remove_others(into, wanted)
    limits.check(archives)
    inputs = {path: digest for part in wanted for path, digest in part.inputs.items()}
    manifest = Manifest(architecture=architecture, python=python, inputs=inputs, archives=archives)
    if manifest != before:
        manifest.write(into)
    return manifest


def _is_there(into: Path, part: Part, made: Archive) -> bool:
    return (into / part.name).is_dir() and made.is_at(into / f"{part.name}.zip")


def _make(part: Part, architecture: Architecture, into: Path, cache: Path, of: str) -> Archive:
    """One archive. It is put together beside the old one, which it then replaces."""
    with tempfile.TemporaryDirectory(dir=into, prefix="new-") as scratch:
        folder = Path(scratch) / "folder"
        content = folder / part.prefix
        content.mkdir(parents=True)
        place = f"{part.mount}/{part.prefix}".rstrip("/")
        own = Path(scratch) / "own"
        own.mkdir()
        for name, path in part.files.items():
            target = own / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        if part.project:
            _unpack_wheel(part.root, own)
        compile_below(own, place)
        if part.requirements is not None:
            _join(install(part.requirements, architecture, place, cache), content, part)
        _join(own, content, part)
        archive = pack(folder, Path(scratch) / "archive.zip", of)
        finished = into / part.name
        finished.parent.mkdir(exist_ok=True)
        # The archive first: where this is interrupted, it is not the one that the manifest names, and is made again.
        (Path(scratch) / "archive.zip").rename(into / f"{part.name}.zip")
        shutil.rmtree(finished, ignore_errors=True)
        folder.rename(finished)
        return archive


def _join(source: Path, target: Path, part: Part) -> None:
    """Copy a tree into another. Two packages may share a folder, and never a file."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        elif place.exists():
            raise BuildRefused(
                f"{part.name}: a package brings {path.relative_to(source)}, and so do we; rename ours, or leave it out"
            )
        else:
            shutil.copyfile(path, place)


def _unpack_wheel(root: Path, target: Path) -> None:
    """The wheel of this project, as app services install it, built from the checkout without a network."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", scratch]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildRefused(f"the wheel of this project cannot be built:\n{done.stdout}{done.stderr}")
        (wheel,) = Path(scratch).glob("*.whl")
        zipfile.ZipFile(wheel).extractall(target)
    (metadata,) = target.glob("*.dist-info")
    (metadata / "RECORD").unlink()
    head, _, _readme = (metadata / "METADATA").read_text().partition("\n\n")
    (metadata / "METADATA").write_text(head + "\n")


def _remove_others(into: Path, wanted: list[Part]) -> None:
    """Functions that were built once, and are no more."""
    names = {Path(part.name).name for part in wanted if part.name.startswith("functions/")}
    for path in (into / "functions").iterdir():
        if path.name.removesuffix(".zip") not in names:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
