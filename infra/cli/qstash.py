"""`jobs qstash` and `jobs advance`: the local QStash alone, and its time."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.cli import arguments, environment
from infra.cli.screen import console, span
from infra.local.qstash.command import run
from infra.local.qstash.settings import DEVELOPMENT_TOKEN
from qstash_jobs.errors import JobsError

__all__ = ["advance", "run"]

TIMEOUT_SECONDS = 30.0


class NotAdvanced(JobsError):
    """The server did not move its time."""


def advance(
    by: Annotated[str, typer.Argument(metavar="DURATION", help="How far, e.g. 90s, 6h or 1d.")],
    url: Annotated[
        str | None, typer.Option(help="Where the local QStash is; else QSTASH_URL, else the desk's.")
    ] = None,
    token: Annotated[str | None, typer.Option(help="Its token; else QSTASH_TOKEN, else the well-known one.")] = None,
) -> None:
    """Move the time of the local QStash: delays, backoff and cron that would be due by then are due now.

    What a function asked for with Retry-After, timeouts and signatures keep to real time.

    [dim]jobs advance 6h[/]
    """
    duration = arguments.duration(by)
    where, key = _server(url, token)
    import httpx

    try:
        answer = httpx.post(
            f"{where}/admin/advance",
            params={"seconds": duration.total_seconds()},
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_SECONDS,
        )
    except httpx.HTTPError as error:
        raise NotAdvanced(f"no QStash answers at {where} ({error}): start one with jobs dev or jobs qstash") from error
    if not answer.is_success:
        raise NotAdvanced(f"{where} answered {answer.status_code}: only the local QStash has a time to be moved")
    console.print(f"{span(duration)} later at {where}")


def _server(url: str | None, token: str | None) -> tuple[str, str]:
    environment.load()
    from qstash_jobs.settings import Settings, settings

    given = settings()
    default = str(Settings.model_fields["qstash_url"].default)
    known = given.qstash_url if given.qstash_url != default else "http://127.0.0.1:8080"
    secret = given.qstash_token.get_secret_value() if given.qstash_token else DEVELOPMENT_TOKEN
    return (url or known).rstrip("/"), token or secret
