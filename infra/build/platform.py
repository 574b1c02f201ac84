"""Where what is built will run: Lambda's Python, on one of its two processors."""

from __future__ import annotations

import platform
import sys
from typing import Literal, get_args

from infra.build.errors import BuildRefused

Architecture = Literal["arm64", "x86_64"]
"""As Lambda and CloudFormation name them."""

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

PYTHON = (3, 13)
"""Of Lambda's runtime `python3.13`. Its interpreter takes bytecode of this version alone."""

_MACHINES: dict[Architecture, str] = {"arm64": "aarch64", "x86_64": "x86_64"}

_GLIBC = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")
"""The wheels that Lambda's Amazon Linux 2023 runs: it has glibc 2.34.
Source: https://docs.aws.amazon.com/linux/al2023/ug/compare-with-al2.html"""


def this_machine() -> Architecture:
    """The one that this machine's processor is like."""
    return "arm64" if platform.machine().lower() in {"aarch64", "arm64"} else "x86_64"


def python_version() -> str:
    """E.g. `3.13`."""
    return ".".join(map(str, PYTHON))


def wheel_platforms(architecture: Architecture) -> list[str]:
    """The platform tags of wheels that run there, e.g. `manylinux2014_aarch64`."""
    return [f"{glibc}_{_MACHINES[architecture]}" for glibc in _GLIBC]


def check_interpreter(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """Raises `BuildRefused` unless this interpreter makes the bytecode that Lambda's reads."""
    if version != PYTHON:
        raise BuildRefused(
            f"Lambda runs Python {python_version()}, and reads the bytecode of no other; this environment has "
            f"{version[0]}.{version[1]}. Make it anew: rm -rf .venv && make build PYTHON=python{python_version()}"
        )
