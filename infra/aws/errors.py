"""Why nothing is made."""

from __future__ import annotations


class CannotDeploy(Exception):
    """What was asked for cannot be deployed; the message is a sentence that says what to do."""
