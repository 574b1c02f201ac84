"""A mailbox that speaks Resend's API: what is sent to it is kept, and shown on a page, and goes nowhere.

    with Mailbox() as mailbox:
        ...  # RESEND_API_URL = mailbox.url
        mail = mailbox.wait_for_mail(to="ada@example.com")

`app` answers: `resend` is the provider's API, `desk` what the page and tests ask besides. `store` keeps the mails, `mail`
says what one is, `faults` make sends fail on demand, `server` runs it all.
"""

from __future__ import annotations

from infra.local.mailbox.faults import Fault
from infra.local.mailbox.mail import Mail
from infra.local.mailbox.server import Mailbox
from infra.local.web import PortTaken

__all__ = ["Fault", "Mail", "Mailbox", "PortTaken"]
