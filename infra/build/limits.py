"""How large an archive may be."""

from __future__ import annotations

from collections.abc import Mapping

from infra.build.archive import Archive
from infra.build.errors import BuildTooLarge

MB = 1_000_000

LAYER = 45 * MB
"""Our own budget for the layer without its bytecode: every function carries it, and loads from it when it starts."""
LAYER_WITH_BYTECODE = 65 * MB
UNZIPPED = 262_144_000
"""What a function may have, with its layers: 250 MB of 1,048,576 bytes. Archives go by way of S3, so that the 50 MB of a
direct upload do not matter. Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


def check(archives: Mapping[str, Archive]) -> None:
    """Raises `BuildTooLarge`."""
    layer = archives["layer"]
    for size, most, what in (
        (layer.unzipped - layer.bytecode, LAYER, "without its bytecode"),
        (layer.unzipped, LAYER_WITH_BYTECODE, "with its bytecode"),
    ):
        if size > most:
            raise BuildTooLarge(
                f"the layer has {size / MB:.1f} MB {what}, and is to have at most {most / MB:g}: what only one function "
                "needs belongs in that function's requirements.txt"
            )
    for name, archive in archives.items():
        whole = archive.unzipped + (layer.unzipped if archive is not layer else 0)
        if whole > UNZIPPED:
            raise BuildTooLarge(
                f"{name} and the layer have {whole / MB:.1f} MB together, and Lambda takes {UNZIPPED / MB:.1f}: "
                "see build/manifest.json for what each holds"
            )
