"""Pinned packages as Lambda needs them: for its processor, with bytecode, and without what never runs there.

What one file of requirements comes to is kept in a cache by all that decides it, so that a build with other sources
asks the package index nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.build.bytecode import compile_below
from infra.build.errors import BuildRefused, PackageUnavailable
from infra.build.lock import locked
from infra.build.platform import Architecture, python_version, wheel_platforms

_NEVER_RUN = ("*.c", "*.cpp", "*.h", "*.pxd", "*.pyi", "*.pyx", "bin", "__pycache__")
"""Sources of what is compiled, types for checkers, and commands. By name, in any folder."""

_TESTS = ("tests", "testing")
"""The packages' own tests, and the kits for those; by name, directly in a package."""

_OF_THE_INSTALLER = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json")
"""How pip came by a package and where it put it; the METADATA, from which versions are read, stays."""


def install(requirements: Path, architecture: Architecture, prefix: str, cache: Path) -> Path:
    """A folder with the packages, compiled, for whoever copies from it. `prefix` is where Lambda will have it, e.g.
    `/opt/python`. Raises `PackageUnavailable` and `BuildRefused`."""
    key = hashlib.sha256(requirements.read_bytes())
    for word in (architecture, sys.version, prefix, *(path.read_text() for path in _RECIPE)):
        key.update(word.encode())
    kept = cache / key.hexdigest()[:32]
    cache.mkdir(parents=True, exist_ok=True)
    with locked(kept.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=cache, prefix="new-") as scratch:
        if kept.is_dir():
            return kept
        made = Path(scratch) / "packages"
        _pip_install(requirements, architecture, made)
        _thin(made)
        compile_below(made, prefix)
        made.rename(kept)
    return kept


def _pip_install(requirements: Path, architecture: Architecture, target: Path) -> None:
    target.mkdir()
    platforms = [f"--platform={one}" for one in wheel_platforms(architecture)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--root-user-action=ignore", "--retries=2", "--no-compile", f"--target={target}"]
    command += [*platforms, f"--python-version={python_version()}", "--implementation=cp", "--only-binary=:all:"]
    command += ["--no-deps", "--require-hashes", f"--requirement={requirements}"]
    environment = {name: value for name, value in os.environ.items() if name not in {"PIP_TARGET", "PIP_USER"}}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise _refusal(done.stderr, requirements, architecture)


def _refusal(said: str, requirements: Path, architecture: Architecture) -> BuildRefused:
    """What pip said, as a sentence that says what to do."""
    place = f"{requirements.parent.name}/{requirements.name}"
    package = re.search(r"No matching distribution found for (\S+)", said) or re.search(
        r"url: /(?:.*/)?([^/\s]+)/?", said
    )
    name = package[1] if package else "a package"
    if re.search(
        r"NewConnectionError|Max retries|Temporary failure in name|ReadTimeout|ConnectTimeout|ProxyError", said
    ):
        return PackageUnavailable(
            f"the package index did not answer when {name} of {place} was to be fetched. Is this machine online? "
            "A mirror is given by PIP_INDEX_URL."
        )
    if "No matching distribution" in said:
        return PackageUnavailable(
            f"there is no wheel of {name} ({place}) for Python {python_version()} on {architecture} "
            f"({', '.join(wheel_platforms(architecture))}), or the index refused, or does not have it: check PIP_INDEX_URL "
            "and its credentials. Else pin a version that has one, in pyproject.toml, then: make lock"
        )
    if "DO NOT MATCH THE HASHES" in said:
        return PackageUnavailable(
            f"what the package index gave is not what {place} pins: {_last_lines(said)}\n"
            "If the index is to be trusted, renew the pins: make lock"
        )
    return BuildRefused(f"pip could not install {place} for {architecture}:\n{_last_lines(said)}")


def _last_lines(said: str) -> str:
    told = [line for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    return "\n".join(told[-8:])


def _thin(folder: Path) -> None:
    unwanted = [path for pattern in _NEVER_RUN for path in folder.rglob(pattern)]
    unwanted += [path for name in _TESTS for path in folder.glob(f"*/{name}")]
    unwanted += [path for name in _OF_THE_INSTALLER for path in folder.glob(f"*.dist-info/{name}")]
    for path in unwanted:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


_RECIPE = tuple(Path(__file__).parent / name for name in ("packages.py", "bytecode.py", "platform.py"))
