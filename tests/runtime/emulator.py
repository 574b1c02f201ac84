"""Lambda's runtime interface emulator, out of the wheel of AWS's SAM CLI, which is not installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from infra.build.platform import Architecture
from tests.conftest import ROOT

PINNED = ROOT / "requirements" / "emulator.txt"


def emulator(architecture: Architecture, folder: Path = ROOT / "build" / "tools") -> Path:
    """The binary, fetched at the first call and kept. Raises RuntimeError when it cannot be had."""
    version = hashlib.sha256(PINNED.read_bytes()).hexdigest()[:12]
    binary = folder / f"aws-lambda-rie-{architecture}-{version}"
    if binary.exists():
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += [
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            f"--dest={scratch}",
            f"--requirement={PINNED}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the runtime emulator of {PINNED.name} cannot be fetched:\n{done.stderr[-2000:]}")
        (wheel,) = Path(scratch).glob("*.whl")
        draft = Path(scratch) / "binary"
        draft.write_bytes(zipfile.ZipFile(wheel).read(f"samcli/local/rapid/aws-lambda-rie-{architecture}"))
        draft.chmod(0o755)
        draft.rename(binary)
    return binary
