"""The archives as Lambda mounts them: unpacked, and not to be written to."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from pathlib import Path

from infra.build.artifacts import Artifacts

OF_THE_RUNTIME = (
    *("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py"),
    *("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six"),
)
"""What Lambda's image has in /var/runtime, and the last that Python looks at: the interface client and boto3."""


class Unpacked:
    """The layer as `/opt`, each function as a `/var/task`, and the runtime's own packages as `/var/runtime`."""

    def __init__(self, artifacts: Artifacts, folder: Path) -> None:
        self.opt = folder / "opt"
        self.tasks = {name: folder / "task" / name for name in artifacts.functions}
        self.tasks["deployment"] = folder / "task" / "deployment"
        archives = {**artifacts.functions, "deployment": artifacts.deployment}
        _unpack(artifacts.layer, self.opt)
        for name, task in self.tasks.items():
            _unpack(archives[name], task)
        self.runtime = folder / "runtime"
        self.runtime.mkdir()
        for name in OF_THE_RUNTIME:
            _link(name, self.runtime)

    def digest(self) -> str:
        """Changes when anything below /opt or a /var/task does."""
        digest = hashlib.sha256()
        for folder in (self.opt, *self.tasks.values()):
            for path in sorted(folder.rglob("*")):
                stat = path.lstat()
                digest.update(f"{path} {stat.st_mode} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    write_protect(folder)


def write_protect(folder: Path) -> None:
    """Take the right to write from a folder and all below."""
    for parent, _, names in os.walk(folder):
        for name in names:
            Path(parent, name).chmod(0o444)
        Path(parent).chmod(0o555)


def _link(name: str, folder: Path) -> None:
    found = importlib.util.find_spec(name)
    assert found is not None, name
    assert found.origin is not None, name
    origin = Path(found.origin)
    if origin.name == "__init__.py":
        (folder / name).symlink_to(origin.parent)
    else:
        (folder / origin.name).symlink_to(origin)
