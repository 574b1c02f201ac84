"""Links to files, as mails carry them: good until a time, and for one file.

They lead to the function `download` and not to S3, because an address that S3 itself signs ends with the credentials of
the function that signed it: after hours, whatever was asked for.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from qstash_jobs.errors import LinkRejected
from qstash_jobs.settings import DOWNLOAD, Settings

_ALGORITHM = "HS256"


@dataclass(frozen=True, kw_only=True)
class FileLink:
    """A link, and when it ends."""

    url: str
    expires_at: datetime


def link_to(key: str, settings: Settings) -> FileLink:
    """A link to a file in the bucket, good for as long as the settings say. Raises `ConfigurationError`."""
    import jwt

    expires_at = (datetime.now(UTC) + settings.link_life).replace(microsecond=0)
    token = jwt.encode({"sub": key, "exp": expires_at}, settings.secret("JOBS_LINK_KEY"), algorithm=_ALGORITHM)
    return FileLink(url=f"{settings.url(DOWNLOAD)}/{token}", expires_at=expires_at)


def key_of(token: str, settings: Settings) -> str:
    """The key of the file that a link's token names. Raises `LinkRejected`."""
    import jwt

    try:
        claims = jwt.decode(
            token,
            settings.secret("JOBS_LINK_KEY"),
            algorithms=[_ALGORITHM],
            options={"require": ["sub", "exp"]},
        )
    except jwt.ExpiredSignatureError:
        raise LinkRejected(expired=True) from None
    except (jwt.InvalidTokenError, ValueError):
        raise LinkRejected(expired=False) from None
    return str(claims["sub"])
