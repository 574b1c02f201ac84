"""Who may send us events: only the providers, who sign each over its raw body.

Stripe signs in its own way (header `Stripe-Signature`), Resend and custom senders by Standard Webhooks (`webhook-id`,
`webhook-timestamp`, `webhook-signature`; Resend calls them `svix-…`). The providers' own libraries verify; what they
raise on hostile headers, of whatever kind, becomes `SignatureRejected` here.
Sources: https://docs.stripe.com/webhooks#verify-manually and
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import ValidationError

from qstash_jobs.errors import ConfigurationError, SignatureRejected
from qstash_jobs.jobs.process_webhook import Source, StandardSignature
from qstash_jobs.settings import SecretName, Settings

if TYPE_CHECKING:
    from standardwebhooks import Webhook

TOLERANCE = timedelta(minutes=5)
"""How old a signature may be when it arrives; `standardwebhooks` has the same built in."""

_SETTINGS: dict[Source, SecretName] = {
    "stripe": "STRIPE_WEBHOOK_SECRET",
    "resend": "RESEND_WEBHOOK_SECRET",
    "custom": "CUSTOM_WEBHOOK_SECRETS",
}
_HEADERS = {"resend": "svix", "custom": "webhook"}


@dataclass(frozen=True)
class Sender:
    """One who sends events."""

    source: Source
    name: str | None = None
    """Of a custom sender."""

    @property
    def provider(self) -> str:
        """As `webhook_events.provider` has it: `stripe`, `resend`, `custom/crm`."""
        return f"{self.source}/{self.name}" if self.name is not None else self.source

    @property
    def setting(self) -> SecretName:
        """The setting that holds the secret."""
        return _SETTINGS[self.source]

    def secret(self, settings: Settings) -> str:
        """What its signatures are made with. Raises `ConfigurationError` when there is none: then it is unknown; and
        `SettingsUnreachable`."""
        held = settings.find(self.setting)
        secret: str | None = held.get(self.name or "") if self.source == "custom" else held
        if secret is None or not secret.strip():
            whose = f"it has no {self.name!r}" if self.source == "custom" else "it is not set"
            raise ConfigurationError(f"{self.setting}: {whose}, so no event of this sender can be verified")
        return secret.strip()


def signature_in(headers: Mapping[str, str], source: Source) -> str | StandardSignature:
    """The signature of a request, whose headers have lower-case names. Raises `SignatureRejected`."""
    if source == "stripe":
        header = headers.get("stripe-signature")
        if not header:
            raise SignatureRejected("missing")
        return header
    values = {name: headers.get(f"{_HEADERS[source]}-{name}") for name in ("id", "timestamp", "signature")}
    if not all(values.values()):
        raise SignatureRejected("missing")
    try:
        return StandardSignature.model_validate(values)
    except ValidationError:
        raise SignatureRejected("malformed") from None


def verify(
    sender: Sender, body: bytes, signature: str | StandardSignature, settings: Settings, *, however_old: bool = False
) -> None:
    """Accept the event, or raise `SignatureRejected` with the reason. `however_old` is for an event whose signature
    was fresh when somebody received it, and who left it to a job to verify: that may run hours later.

    Raises `ConfigurationError` when the sender's secret is missing or malformed.
    """
    secret = sender.secret(settings)
    if isinstance(signature, StandardSignature):
        _verify_standard(_webhook(secret, sender), body, signature, however_old=however_old)
    else:
        _verify_stripe(secret, body, signature, however_old=however_old)


def _verify_stripe(secret: str, body: bytes, header: str, *, however_old: bool) -> None:
    from stripe import SignatureVerificationError, WebhookSignature

    if not header.isascii():  # the comparison of texts raises TypeError on some
        raise SignatureRejected("malformed")
    try:
        WebhookSignature.verify_header(body, header, secret, None if however_old else int(TOLERANCE.total_seconds()))
    except SignatureVerificationError as error:
        raise SignatureRejected(_reason(str(error.user_message or error))) from None
    except (ValueError, TypeError, OverflowError):  # a body that is no UTF-8, a number beyond all others
        raise SignatureRejected("malformed") from None


def _verify_standard(webhook: Webhook, body: bytes, given: StandardSignature, *, however_old: bool) -> None:
    from standardwebhooks import WebhookVerificationError

    try:
        if however_old:
            _compare(webhook, body, given)
        else:
            headers = {f"webhook-{name}": value for name, value in given.model_dump().items()}
            webhook.verify(body, headers, json_parse=False)
    except WebhookVerificationError as error:
        raise SignatureRejected(_reason(str(error))) from None
    except (ValueError, TypeError, OverflowError, OSError):  # binascii.Error and UnicodeError are ValueErrors
        raise SignatureRejected("malformed") from None


def _compare(webhook: Webhook, body: bytes, given: StandardSignature) -> None:
    """What `verify` does, without its look at the clock, which cannot be turned off."""
    sent_at = datetime.fromtimestamp(int(given.timestamp), UTC)
    expected = base64.b64decode(webhook.sign(given.id, sent_at, body.decode()).partition(",")[2])
    for one in given.signature.split():
        version, _, signature = one.partition(",")
        if version == "v1" and hmac.compare_digest(expected, base64.b64decode(signature)):
            return
    raise SignatureRejected("wrong_key")


def _webhook(secret: str, sender: Sender) -> Webhook:
    from standardwebhooks import Webhook
    from standardwebhooks.webhooks import EmptyWebhookSecretError

    try:
        return Webhook(secret)
    except (binascii.Error, ValueError, EmptyWebhookSecretError):
        raise ConfigurationError(f"{sender.setting}: the secret of {sender.provider} is not base64") from None


def _reason(said: str) -> str:
    """A metric's dimension, from the library's sentence."""
    reasons = {
        "Timestamp outside": "expired",
        "Message timestamp too old": "expired",
        "Message timestamp too new": "too_early",
        "No signatures found matching": "wrong_key",
        "No matching signature": "wrong_key",
    }
    return next((reason for beginning, reason in reasons.items() if said.startswith(beginning)), "malformed")
