"""Hand a mail to Resend, and say what each of its refusals means for the job.

=====================================  ==========================================================================
Resend answers                         the job
=====================================  ==========================================================================
2xx                                    is done
409 `invalid_idempotent_request`       is done: an earlier attempt's mail was accepted, its words have changed since
409 otherwise                          is tried again in a moment: an earlier attempt is still being answered
401, 403, 404, 405, the sender refused waits an hour, with an alarm: it is our set-up, and no mail's fault, so it
                                       spends none of the mail's budget
429                                    waits for as long as Resend says
429 with a used-up quota               waits for hours, with an alarm, and spends no budget either
408, 5xx, no answer                    fails this attempt, and is retried
any other 4xx                          fails for good: no repetition makes this mail acceptable
=====================================  ==========================================================================
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

import resend
from resend.exceptions import ResendError
from resend.http_client_requests import RequestsClient

from qstash_jobs.errors import NonRetryable, Retry
from qstash_jobs.settings import Settings

if TYPE_CHECKING:
    from logging import Logger

    from resend import Emails

TIMEOUT_SECONDS = 10
"""Until Resend has taken the connection, and again until it answers: together less than the job's timeout."""
MISCONFIGURED_WAIT = timedelta(hours=1)
THROTTLED_WAIT = timedelta(minutes=1)
"""Where Resend does not say how long."""
CONCURRENT_WAIT = timedelta(seconds=10)
QUOTA_WAITS = {"daily_quota_exceeded": timedelta(hours=8), "monthly_quota_exceeded": timedelta(hours=24)}
LONGEST_WAIT = timedelta(hours=24)

CREDENTIALS_REFUSED = "email provider refuses our credentials"
QUOTA_USED_UP = "email provider's quota is used up"

_OUR_SETUP = frozenset({401, 403, 404, 405})
_ADDRESS = re.compile(r"[^\s<>\"'`(,:;]+@[^\s<>\"'`),:;]+")


class NoFaultOfTheMail(Exception):
    """Resend takes no mail of ours at present: our key or sender is refused, or the quota is used up."""

    def __init__(self, reason: str, wait: timedelta) -> None:
        super().__init__(reason)
        self.wait = wait


class AlreadyAccepted(Exception):
    """Resend accepted a mail with this idempotency key before, and its words were others."""


def deliver(params: Emails.SendParams, idempotency_key: str, settings: Settings, logger: Logger) -> str:
    """Send one mail; Resend's id of it. The same key within 24 hours sends no second one.

    Raises `AlreadyAccepted`, `NoFaultOfTheMail`, `Retry`, `NonRetryable`, and `ResendError` for what passes by itself.
    """
    resend.api_key = settings.secret("RESEND_API_KEY")
    resend.api_url = settings.resend_api_url
    resend.default_http_client = RequestsClient(timeout=TIMEOUT_SECONDS)
    try:
        return resend.Emails.send(params, {"idempotency_key": idempotency_key})["id"]
    except ResendError as error:
        _steer(error, logger)


def _steer(error: ResendError, logger: Logger) -> NoReturn:
    # What is raised is stored, with its causes, where people read; Resend's own message may quote the address.
    status, name = int(error.code), error.error_type
    if name == "invalid_idempotent_request":
        raise AlreadyAccepted from None
    if status == 409:
        raise Retry(CONCURRENT_WAIT, f"Resend: {name}") from None
    if _is_our_setup(error, status):
        logger.error(CREDENTIALS_REFUSED, extra={"provider_status": status, "provider_error": name})
        raise NoFaultOfTheMail(f"{CREDENTIALS_REFUSED}: {status} {name}", MISCONFIGURED_WAIT) from None
    if name in QUOTA_WAITS:
        # Its headers tell of the rate limit, which is free again in a second; the quota is not.
        logger.error(QUOTA_USED_UP, extra={"provider_error": name})
        raise NoFaultOfTheMail(f"Resend: {name}", QUOTA_WAITS[name]) from None
    if status == 429:
        raise Retry(_wait(error), f"Resend: {name}") from None
    if 400 <= status < 500 and status != 408:
        raise NonRetryable(f"Resend refuses this mail: {status} {name}: {_ADDRESS.sub('…', error.message)}") from None
    raise error


def _is_our_setup(error: ResendError, status: int) -> bool:
    # A key of the wrong shape is a mere validation error to Resend, and so is a sender that is none.
    message = str(error.message).lower()
    return (
        status in _OUR_SETUP
        or error.error_type == "invalid_from_address"
        or (error.error_type == "validation_error" and ("api key" in message or "`from`" in message))
    )


def _wait(error: ResendError) -> timedelta:
    headers = {name.lower(): value for name, value in error.headers.items()}
    for name in ("retry-after", "ratelimit-reset"):
        seconds = headers.get(name, "").strip()
        if seconds.isdecimal() and len(seconds) <= 9:
            return min(timedelta(seconds=int(seconds)), LONGEST_WAIT)
    return THROTTLED_WAIT
