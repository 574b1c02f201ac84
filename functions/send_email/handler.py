"""Sends one transactional e-mail through Resend."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import JsonValue

from qstash_jobs.bucket import bucket
from qstash_jobs.database import database
from qstash_jobs.errors import ConfigurationError, FileMissing, NonRetryable, Retry
from qstash_jobs.jobs.send_email import Attachment, SendEmail
from qstash_jobs.run import Run
from qstash_jobs.serving import serve
from qstash_jobs.settings import Settings, settings

if TYPE_CHECKING:
    from resend import Attachment as LocalFile
    from resend import Emails, RemoteAttachment

    from functions.send_email.rendering import Mail


ATTACHMENTS_LIMIT = 20_000_000
"""Bytes; Resend takes 40 MB after Base64, which makes four bytes of three.
Source: https://resend.com/docs/dashboard/emails/attachments"""

PATIENCE = timedelta(days=3)
"""For about so long a mail pays for no attempt while Resend takes none of ours."""


def send(payload: SendEmail, run: Run) -> JsonValue:
    """Render the mail and hand it to Resend; `{"emailId": Resend's id}`."""
    # Templates and the provider's library are loaded by the first mail, not by a request that turns out to be forged.
    from functions.send_email import provider
    from functions.send_email.rendering import render
    from functions.send_email.suppression import refuse_suppressed

    refuse_suppressed(payload.to, database())
    mail = render(payload.data, settings())
    params = _params(payload, mail, run, settings())
    if payload.attachments:
        params["attachments"] = _read(payload.attachments)
    try:
        email_id = provider.deliver(params, str(run.job_id), settings(), run.logger)
    except ConfigurationError as error:
        run.logger.error(provider.CREDENTIALS_REFUSED, extra={"reason": str(error)})
        raise _later(str(error), provider.MISCONFIGURED_WAIT, run) from error
    except provider.NoFaultOfTheMail as error:
        raise _later(str(error), error.wait, run) from None
    except provider.AlreadyAccepted:
        run.logger.warning("Email was accepted before", extra={"template": payload.template})
        return {"emailId": None, "note": "an earlier attempt's mail was accepted; its words have changed since"}
    run.logger.info("Email sent", extra={"template": payload.template, "email_id": email_id})
    return {"emailId": email_id}


def _read(attachments: Sequence[Attachment]) -> list[LocalFile | RemoteAttachment]:
    """What goes with the mail. The files are read here and not linked to: Resend would fetch a link when it pleases."""
    total, files = 0, []
    for attachment in attachments:
        try:
            total += bucket().look(attachment.key).size
            if total > ATTACHMENTS_LIMIT:
                raise NonRetryable(f"the attachments have more than {ATTACHMENTS_LIMIT:,} bytes: send a link instead")
            content = bucket().read(attachment.key)
        except FileMissing as error:
            raise NonRetryable(f"{attachment.filename} cannot be attached: {error}") from None
        files.append((attachment.filename, content))
    return [{"filename": name, "content": base64.b64encode(content).decode()} for name, content in files]


def _later(reason: str, wait: timedelta, run: Run) -> Retry:
    # For as long as someone may be expected to mend it; a mail that nobody waits for any more fails where people see it.
    return Retry(wait, reason, free=run.attempt * wait <= PATIENCE)


def _params(payload: SendEmail, mail: Mail, run: Run, settings: Settings) -> Emails.SendParams:
    params: Emails.SendParams = {
        "from": settings.email_from,
        "to": [payload.to],
        "subject": mail.subject,
        "html": mail.html,
        "text": mail.text,
        # Mail clients fold mails of one subject into a thread, unless each names a thing of its own.
        "headers": {"X-Entity-Ref-ID": str(run.job_id), "Auto-Submitted": "auto-generated"},
        "tags": [{"name": "template", "value": payload.template}, {"name": "job_id", "value": str(run.job_id)}],
    }
    if settings.email_reply_to is not None:
        params["reply_to"] = settings.email_reply_to
    return params


handler = serve(SendEmail, send)
