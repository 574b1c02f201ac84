"""How an event ends that is not simply taken over."""

from __future__ import annotations

IGNORED = "ignored"
"""Nothing is to be done for events of this type: it is recorded, and acknowledged."""


class Unusable(Exception):
    """The event can never be taken over; the message says why, for people."""
