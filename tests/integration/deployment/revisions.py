"""Revisions of a test's own, behind the real ones."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from infra import migrations


class Package:
    """The migrations as a release has them: a copy of ours, to which a test adds others, and takes them away again."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = Path(migrations.__file__).parent
        self.versions = folder / "versions"
        self.versions.mkdir(parents=True)
        shutil.copy(real / "env.py", folder)
        for file in (real / "versions").glob("*.py"):
            shutil.copy(file, self.versions)
        monkeypatch.setattr(migrations, "__file__", str(folder / "__init__.py"))

    def add(self, revision: str, upgrade: str = "pass", *, part: str | None = None, header: str = "") -> None:
        """One more revision behind the newest of its branch; `upgrade` is its body, `|` between lines."""
        branch = revision.partition("_")[0]
        before = sorted(path.stem for path in self.versions.glob(f"{branch}_*.py"))[-1]
        body = "\n".join(f"    {line.strip('.').replace('....', '    ')}" for line in upgrade.split("|"))
        said = f"part = {part!r}\n" if part else ""
        (self.versions / f"{revision}_test.py").write_text(
            f'"""For a test."""\n\nfrom alembic import op\nimport sqlalchemy as sa\n\n'
            f"revision = {revision!r}\ndown_revision = {re.match(r'[a-z]+_[0-9]+', before).group()!r}\n"  # type: ignore[union-attr]
            f"branch_labels = None\ndepends_on = None\n{said}{header}\n\ndef upgrade():\n{body}\n"
        )

    def remove(self, revision: str) -> None:
        """As a release before this revision has it."""
        (self.versions / f"{revision}_test.py").unlink()
