"""A link to a file, as a mail carries it, leads here: the file, or a page that says why not.

    GET /<token>  ->  302 to an address that S3 takes for a minute

Nobody logs in: the token is the permission, signed by us, for one file and until a time.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import timedelta
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from qstash_jobs.bucket import bucket
from qstash_jobs.errors import ConfigurationError, FileMissing, LinkRejected, SettingsUnreachable
from qstash_jobs.links import key_of
from qstash_jobs.request import LambdaContext
from qstash_jobs.settings import DOWNLOAD, settings
from qstash_jobs.telemetry import Telemetry

GOOD_FOR = timedelta(minutes=1)
"""How long a browser has to begin its download."""

_ENDED = ("This link has ended", "Links to files are good for a limited time. Please ask for the file again.")
_GONE = ("This file has been deleted", "Files are kept for a limited time. Please ask for the file again.")
_AWAY = ("Please try again in a moment", "The file is there, and cannot be reached just now.")
_UNKNOWN = ("There is nothing here", "This link is not complete. Please open it from the mail, or copy all of it.")


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """One click on a link."""
    with telemetry().delivery(context.aws_request_id):
        if event["requestContext"]["http"]["method"] not in {"GET", "HEAD"}:
            return _answer(405, {"Allow": "GET, HEAD"}, _page(*_UNKNOWN))
        return _open(event["rawPath"].rpartition("/")[2])


@functools.cache
def telemetry() -> Telemetry:
    """Of this function, for as long as its environment lives."""
    return Telemetry(DOWNLOAD, settings().metrics_namespace)


def _open(token: str) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        key = key_of(token, settings())
        bucket().look(key)
    except LinkRejected as error:
        telemetry().logger.info("Link rejected", extra={"expired": error.expired})
        return _answer(410, {}, _page(*_ENDED)) if error.expired else _answer(404, {}, _page(*_UNKNOWN))
    except FileMissing as error:
        telemetry().logger.info("File missing", extra={"key": error.key})
        return _answer(410, {}, _page(*_GONE))
    except (ConfigurationError, SettingsUnreachable) as error:
        telemetry().without_settings(error)
        return _answer(503, {"Retry-After": "10"}, _page(*_AWAY))
    except (BotoCoreError, ClientError) as error:
        telemetry().logger.error("File not reached", extra={"reason": str(error)})
        return _answer(503, {"Retry-After": "10"}, _page(*_AWAY))
    telemetry().logger.info("File opened", extra={"key": key})
    return _answer(302, {"Location": bucket().address(key, GOOD_FOR)}, "")


def _answer(status: int, headers: Mapping[str, str], body: str) -> dict[str, Any]:
    always = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    }
    return {"statusCode": status, "headers": {**always, **headers}, "body": body, "isBase64Encoded": False}


def _page(title: str, advice: str) -> str:
    said = settings()
    words = {"title": title, "advice": advice, "product": said.product_name, "support": said.support_email}
    return _template().substitute({name: escape(word) for name, word in words.items()})


@functools.cache
def _template() -> Template:
    return Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
