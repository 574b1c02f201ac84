"""What was built, from what: `build/manifest.json`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from infra.build.archive import Archive
from infra.build.platform import Architecture


class Manifest(BaseModel):
    """One build."""

    architecture: Architecture
    python: str
    """The interpreter that compiled, e.g. `3.13.5`."""
    inputs: dict[str, str]
    """The SHA-256 of every file that decided it, by its path in the checkout."""
    archives: dict[str, Archive]
    """By their names below `build/`, without the suffix."""

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """That of a build folder, or None when there is none, or one of another version of this program."""
        try:
            return cls.model_validate_json((folder / "manifest.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, folder: Path) -> None:
        """Into a build folder, in one piece."""
        draft = folder / "manifest.json.new"
        draft.write_text(self.model_dump_json(indent=2) + "\n")
        draft.rename(folder / "manifest.json")
