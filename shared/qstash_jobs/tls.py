"""The system's certificate authorities, read once: that takes a function as long as loading a library."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def verified() -> ssl.SSLContext:
    """TLS that looks at whom it talks to, by the authorities of the system. Shared: not to be changed."""
    return ssl.create_default_context()
