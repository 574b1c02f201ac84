"""`python -m infra.build [--architecture arm64|x86_64]`, or `make build`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from infra.build.builder import build
from infra.build.errors import BuildError, BuildRefused
from infra.build.limits import MB
from infra.build.manifest import Manifest
from infra.build.platform import ARCHITECTURES, Architecture
from infra.cli.screen import console, errors, show, table
from infra.local.service import ROOT


def main(
    architecture: Annotated[
        Architecture | None,
        typer.Option(help="The processor that the functions run on; else as cdk.json says, or arm64."),
    ] = None,
) -> None:
    """Build what a deployment uploads, and say how large it is."""
    began = time.monotonic()
    try:
        architecture = architecture or asked_for(ROOT)
        with errors.status("Building …"):
            made = build(ROOT, architecture=architecture, progress=console.print)
    except BuildError as error:
        errors.print(f"[bold red]Not built:[/] {error}", markup=True)
        raise typer.Exit(1) from None
    _report(made)
    console.print(f"build/ is up to date for {architecture} ({time.monotonic() - began:.1f} s).")


def asked_for(root: Path) -> Architecture:
    """The processor in the context of cdk.json, with which a deployment is made. Raises `BuildRefused`."""
    path = root / "cdk.json"
    said = json.loads(path.read_text()).get("context", {}).get("architecture") if path.exists() else None
    found = next((one for one in ARCHITECTURES if one == (said or "arm64")), None)
    if found is None:
        raise BuildRefused(f"cdk.json asks for the architecture {said!r}, and there are {', '.join(ARCHITECTURES)}")
    return found


def _report(made: Manifest) -> None:
    sizes = table("archive", "zipped", "unzipped", "of that bytecode", "with the layer", "files")
    layer = made.archives["layer"].unzipped
    for name, archive in made.archives.items():
        whole = f"{(archive.unzipped + layer) / MB:.1f} MB" if name != "layer" else ""
        sizes.add_row(
            name,
            f"{archive.zipped / MB:.1f} MB",
            f"{archive.unzipped / MB:.1f} MB",
            f"{archive.bytecode / MB:.1f} MB",
            whole,
            f"{archive.files:,}",
        )
    show(sizes)


if __name__ == "__main__":
    typer.run(main)
