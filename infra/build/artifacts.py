"""What `make build` made, for whoever deploys it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.build.errors import BuildMissing, BuildStale
from infra.build.manifest import Manifest
from infra.build.platform import Architecture
from infra.build.sources import parts

__all__ = ["Artifacts", "BuildMissing", "BuildStale"]


@dataclass(frozen=True)
class Artifacts:
    """The archives of one build, checked against their sources. All paths are of zip files."""

    architecture: Architecture
    layer: Path
    functions: Mapping[str, Path]
    """By the functions' folders, e.g. `send_email`."""
    deployment: Path

    @classmethod
    def of(cls, root: Path, folder: Path | None = None) -> Artifacts:
        """Those of a checkout, in its `build` or another folder. Raises `BuildMissing`, and `BuildStale` when a source
        has changed since, or an archive; takes some 0.2 s, for the archives are read."""
        folder = folder or root / "build"
        manifest = Manifest.read(folder)
        if manifest is None:
            raise BuildMissing(f"nothing is built in {folder}. Run: make build")
        _compare(manifest, {path: digest for part in parts(root) for path, digest in part.inputs.items()})
        paths = {name: folder / f"{name}.zip" for name in manifest.archives}
        for name, path in paths.items():
            if not manifest.archives[name].is_at(path):
                raise BuildStale(f"{path} is gone, or not as it was built. Run: make build")
        return cls(
            architecture=manifest.architecture,
            layer=paths["layer"],
            functions={
                name.removeprefix("functions/"): path for name, path in paths.items() if name.startswith("functions/")
            },
            deployment=paths["deployment"],
        )


def _compare(manifest: Manifest, inputs: Mapping[str, str]) -> None:
    if manifest.inputs == inputs:
        return
    changes = sorted(manifest.inputs.items() ^ inputs.items())
    path = changes[0][0]
    how = "is new" if path not in manifest.inputs else "is gone" if path not in inputs else "has changed"
    others = len({path for path, _ in changes}) - 1
    more = f", and so {'has one more file' if others == 1 else f'have {others} more files'}" if others else ""
    raise BuildStale(f"{path} {how} since the build{more}. Run: make build")
