"""Revisions of a test's own, behind the real ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import indent

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

    def add(self, revision: str, upgrade: str, *, part: str | None = None, behind: str | None = None) -> Path:
        """One more revision, e.g. `jobs_0002`, behind the one of the number before it, or the one that is named."""
        branch, number = revision.split("_")
        path = self.versions / f"{revision}_test.py"
        path.write_text(
            '"""For a test."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
            f"revision = {revision!r}\ndown_revision = {behind or f'{branch}_{int(number) - 1:04}'!r}\n"
            "branch_labels = None\ndepends_on = None\n"
            + (f"part = {part!r}\n" if part else "")
            + f"\n\ndef upgrade():\n{indent(upgrade, '    ')}\n"
        )
        return path

    def remove(self, revision: str) -> None:
        """As the release before this revision has it."""
        (file,) = self.versions.glob(f"{revision}_*.py")
        file.unlink()


def column(name: str, table: str = "job_executions") -> str:
    """The body of a revision that adds a column."""
    return f"op.add_column({table!r}, sa.Column({name!r}, sa.Text))"
