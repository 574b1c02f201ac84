"""The errors that are answered to a client, each with its status.

ApiError
├── BadRequest        400  the request is malformed; the text names the header or field
├── InvalidToken      401
├── Refused           403  a request made by a web page of another site, or under another machine's name
├── NotFound          404  nothing has this id
├── QuotaExceeded     412  more than the plan allows (`Settings.quota_status`)
├── RateLimited       429  too many requests; the headers say of what, and until when
│   ├── DailyLimitExceeded   messages of a day
│   └── BurstLimitExceeded   management requests of a second
└── PublishRefused    429 or 5xx, because the server was told so

DatabaseUnusable           the database file cannot be opened; the message says why
"""

from __future__ import annotations


class ApiError(Exception):
    """Answered as `{"error": text}` with this status."""

    status = 500

    def __init__(self, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.headers = headers or {}
        # A text may quote the request, and JSON can express what UTF-8 cannot.
        self.text = text.encode(errors="replace").decode()


class BadRequest(ApiError):
    """The request is malformed; nothing was stored."""

    status = 400


class InvalidToken(ApiError):
    """The request carries no token, or another server's."""

    status = 401

    def __init__(self) -> None:
        super().__init__("unable to authenticate: invalid token")


class Refused(ApiError):
    """The request comes from a page of another site, or means another machine."""

    status = 403


class NotFound(ApiError):
    """Nothing has this id, or no longer."""

    status = 404


class QuotaExceeded(ApiError):
    """More than the plan allows; its status is a setting."""

    status = 412

    def __init__(self, quota: str, limit: int) -> None:
        super().__init__(f"quota {quota} exceeded, current limit: {limit}")


class RateLimited(ApiError):
    """Too many requests of a kind."""

    status = 429

    def __init__(self, text: str, prefix: str, limit: int, remaining: int, reset: int) -> None:
        """`reset`: unix seconds from which on there is room again."""
        figures = {"Limit": limit, "Remaining": remaining, "Reset": reset}
        super().__init__(text, {f"{prefix}RateLimit-{name}": str(figure) for name, figure in figures.items()})


class DailyLimitExceeded(RateLimited):
    """The plan takes no more messages today."""

    def __init__(self, limit: int, remaining: int, reset: int) -> None:
        super().__init__(f"quota maxMessagesPerDay exceeded, current limit: {limit}", "", limit, remaining, reset)


class BurstLimitExceeded(RateLimited):
    """More management requests than the server takes in a second."""

    def __init__(self, limit: int, reset: int) -> None:
        super().__init__("rate limit exceeded", "Burst-", limit, 0, reset)


class PublishRefused(ApiError):
    """The server was told to refuse what publishers send, with this status."""

    def __init__(self, status: int) -> None:
        names = ("Limit", "Remaining", "Reset") if status == 429 else ()
        super().__init__(
            "rate limit exceeded" if status == 429 else "this server was told to refuse publishers",
            {f"Burst-RateLimit-{name}": "0" for name in names},
        )
        self.status = status


class DatabaseUnusable(Exception):
    """The database file cannot be opened, is not ours, or is in use by another server."""
