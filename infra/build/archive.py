"""A zip archive whose bytes follow from its files' names and contents alone."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from pydantic import BaseModel

_EPOCH = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o100644 << 16
"""A plain file that everybody may read: Lambda runs functions as another user than unpacks them."""
_UNIX = 3


class Archive(BaseModel):
    """An archive that was made. Sizes are in bytes."""

    sha256: str
    zipped: int
    unzipped: int
    """All that it holds."""
    bytecode: int
    """The part of it that is compiled modules."""
    files: int
    of: str
    """The digest of what it was made from."""

    def is_at(self, path: Path) -> bool:
        """Whether a file is this archive, to the byte: another build may have left one of the same size."""
        return path.is_file() and _sha256(path) == self.sha256


def pack(folder: Path, archive: Path, of: str) -> Archive:
    """Write all files below a folder to an archive, in the order of their names, with one time and one mode."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    unzipped = bytecode = 0
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        for name, path in sorted(paths.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = _UNIX
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = _READABLE
            content = path.read_bytes()
            file.writestr(entry, content)
            unzipped += len(content)
            bytecode += len(content) if path.suffix == ".pyc" else 0
    return Archive(
        sha256=_sha256(archive),
        zipped=archive.stat().st_size,
        unzipped=unzipped,
        bytecode=bytecode,
        files=len(paths),
        of=of,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
