"""What the mailbox raises."""

from __future__ import annotations


class Refused(Exception):
    """A request that is answered with one of Resend's errors."""

    def __init__(self, status: int, name: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.name, self.message, self.headers = status, name, message, headers or {}
