"""What can go wrong with a build. Each message says what to do.

BuildError
├── BuildRefused            this machine, or these sources, cannot be built from
│   └── PackageUnavailable  a pinned package has no wheel for the platform, or the index cannot be reached
├── BuildTooLarge           Lambda, or our own budget, would not take it
├── BuildMissing            nothing has been built
└── BuildStale              what was built is not what the sources say now
"""

from __future__ import annotations


class BuildError(Exception):
    """There is no good build; the message says why, and what to do."""


class BuildRefused(BuildError):
    """Nothing was built."""


class PackageUnavailable(BuildRefused):
    """A pinned package cannot be had for the platform."""


class BuildTooLarge(BuildError):
    """An archive is larger than it may be."""


class BuildMissing(BuildError):
    """There is no build in this checkout."""


class BuildStale(BuildError):
    """There is a build, and it is of other sources."""
