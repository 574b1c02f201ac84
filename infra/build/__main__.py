"""`python -m infra.build [--architecture arm64|x86_64]`, or `make build`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from infra.build.builder import build
from infra.build.errors import BuildError
from infra.build.limits import MB
from infra.build.manifest import Manifest
from infra.build.platform import Architecture
from infra.cli.screen import console, errors, show, table
from infra.local.service import ROOT


def main(
    architecture: Annotated[Architecture, typer.Option(help="The processor that the functions run on.")] = "arm64",
) -> None:
    """Build what a deployment uploads, and say how large it is."""
    began = time.monotonic()
    try:
        with errors.status("Building …"):
            made = build(ROOT, architecture=architecture, progress=console.print)
    except BuildError as error:
        errors.print(f"[bold red]Not built:[/] {error}", markup=True)
        raise typer.Exit(1) from None
    _report(made)
    console.print(f"build/ is up to date for {architecture} ({time.monotonic() - began:.1f} s).")


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
