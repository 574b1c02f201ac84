"""Events of providers: what their own libraries sign is accepted, and everything else is refused, with a reason."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
import stripe
import svix
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from qstash_jobs.errors import ConfigurationError, SignatureRejected
from qstash_jobs.jobs.process_webhook import StandardSignature
from qstash_jobs.settings import Settings
from qstash_jobs.webhook_signatures import Sender, signature_in, verify

STRIPE_SECRET = "whsec_stripe_test"
STANDARD_SECRET = "whsec_c3RhbmRhcmQgd2ViaG9va3M="
SETTINGS = Settings.read(
    {
        "STRIPE_WEBHOOK_SECRET": STRIPE_SECRET,
        "RESEND_WEBHOOK_SECRET": STANDARD_SECRET,
        "CUSTOM_WEBHOOK_SECRETS": json.dumps({"crm": STANDARD_SECRET, "broken": "whsec_abcde", "empty": "whsec_"}),
    }
)
STRIPE, RESEND, CRM = Sender("stripe"), Sender("resend"), Sender("custom", "crm")
BODY = '{"id": "evt_1", "type": "invoice.paid", "word": "Grüße"}'.encode()
HOUR = timedelta(hours=1)


def by_stripe(body: bytes = BODY, secret: str = STRIPE_SECRET, age: timedelta = timedelta(0)) -> str:
    """Signed with Stripe's own library."""
    moment = int(time.time() - age.total_seconds())
    return str(stripe.WebhookSignature.generate_signature_header(body.decode(), secret, moment))


def by_svix(body: bytes = BODY, secret: str = STANDARD_SECRET, age: timedelta = timedelta(0)) -> StandardSignature:
    """Signed with Svix's own library."""
    moment = datetime.now(UTC) - age
    return StandardSignature(
        id="msg_1",
        timestamp=str(int(moment.timestamp())),
        signature=svix.Webhook(secret).sign("msg_1", moment, body.decode()),
    )


def refusal(
    sender: Sender, signature: str | StandardSignature, body: bytes = BODY, *, however_old: bool = False
) -> str:
    with pytest.raises(SignatureRejected) as raised:
        verify(sender, body, signature, SETTINGS, however_old=however_old)
    return raised.value.reason


@pytest.mark.parametrize("however_old", [False, True])
def test_what_the_providers_sign_is_accepted(however_old: bool) -> None:
    """Over the raw bytes, also those beyond ASCII."""
    verify(STRIPE, BODY, by_stripe(), SETTINGS, however_old=however_old)
    verify(RESEND, BODY, by_svix(), SETTINGS, however_old=however_old)
    verify(CRM, BODY, by_svix(), SETTINGS, however_old=however_old)


@pytest.mark.parametrize("however_old", [False, True])
def test_another_body_is_rejected(however_old: bool) -> None:
    """By a single byte."""
    for sender, signature in ((STRIPE, by_stripe()), (RESEND, by_svix())):
        assert refusal(sender, signature, BODY + b" ", however_old=however_old) == "wrong_key"


@pytest.mark.parametrize("however_old", [False, True])
def test_another_key_is_rejected(however_old: bool) -> None:
    """Also one that differs in its last letter."""
    assert refusal(STRIPE, by_stripe(secret="whsec_stripe_tesT"), however_old=however_old) == "wrong_key"
    other = by_svix(secret="whsec_c3RhbmRhcmQgd2ViaG9vaw==")
    assert refusal(CRM, other, however_old=however_old) == "wrong_key"


def test_an_old_signature_is_rejected_unless_its_age_does_not_matter() -> None:
    """Five minutes are allowed; a job that verifies what was received earlier allows any time."""
    for sender, fresh, old in (
        (STRIPE, by_stripe(age=timedelta(minutes=4)), by_stripe(age=timedelta(minutes=6))),
        (RESEND, by_svix(age=timedelta(minutes=4)), by_svix(age=timedelta(minutes=6))),
    ):
        verify(sender, BODY, fresh, SETTINGS)
        assert refusal(sender, old) == "expired"
        verify(sender, BODY, old, SETTINGS, however_old=True)


def test_a_signature_from_the_future_is_rejected() -> None:
    """Standard Webhooks says so; Stripe's library lets it be."""
    assert refusal(CRM, by_svix(age=-HOUR)) == "too_early"


def test_one_of_several_signatures_is_enough() -> None:
    """While a secret is rotated, an event carries two; those of other versions are passed over."""
    signed = by_svix()
    for signature in (f"v1,AAAA {signed.signature}", f"v1a,AAAA {signed.signature}"):
        both = signed.model_copy(update={"signature": signature})
        verify(CRM, BODY, both, SETTINGS)
        verify(CRM, BODY, both, SETTINGS, however_old=True)
    verify(STRIPE, BODY, by_stripe().replace(",v1=", ",v1=00,v1="), SETTINGS)


def test_headers_are_read_as_each_provider_calls_them() -> None:
    """Resend's are Svix's; the id of the event is among them."""
    signed = by_svix()
    for source, kind in (("resend", "svix"), ("custom", "webhook")):
        headers = {f"{kind}-{name}": value for name, value in signed.model_dump().items()}
        assert signature_in(headers, source) == signed  # type: ignore[arg-type]
    assert signature_in({"stripe-signature": "t=1"}, "stripe") == "t=1"


@pytest.mark.parametrize("source", ["stripe", "resend", "custom"])
def test_a_request_without_a_signature_is_rejected(source: str) -> None:
    """Before anything is looked at."""
    with pytest.raises(SignatureRejected, match="missing"):
        signature_in({"webhook-id": "msg_1", "svix-id": "msg_1"}, source)  # type: ignore[arg-type]


def test_headers_that_no_provider_sends_are_malformed() -> None:
    """An id of a megabyte is not carried any further."""
    with pytest.raises(SignatureRejected, match="malformed"):
        signature_in({"webhook-id": "x" * 256, "webhook-timestamp": "1", "webhook-signature": "v1,x"}, "custom")


@pytest.mark.parametrize("header", ["t=é,v1=é", "x", "t=1", "t=,v1=x", f"t={'9' * 5000},v1=x", "t=1,v1"])
def test_malformed_headers_of_stripe_are_rejected(header: str) -> None:
    """With a reason, whatever the library raises on them."""
    assert refusal(STRIPE, header) == "malformed"


@pytest.mark.parametrize("however_old", [False, True])
@pytest.mark.parametrize(
    ("timestamp", "signature"),
    [("soon", "v1,AAAA"), ("1e999", "v1,AAAA"), ("nan", "v1,AAAA"), ("9" * 200, "v1,AAAA"), ("", "v1,A")],
)
def test_malformed_times_of_standard_webhooks_are_rejected(timestamp: str, signature: str, however_old: bool) -> None:
    """Also those that are numbers to some languages."""
    given = StandardSignature.model_construct(id="msg_1", timestamp=timestamp, signature=signature)
    assert refusal(CRM, given, however_old=however_old) == "malformed"


@pytest.mark.parametrize("signature", ["v1,A", "v1", "v1,a,b", "v1,é"])
def test_malformed_signatures_of_standard_webhooks_are_rejected(signature: str) -> None:
    """What is no base64, and what is no pair."""
    assert refusal(CRM, by_svix().model_copy(update={"signature": signature})) == "malformed"


def test_a_body_that_is_no_text_is_rejected() -> None:
    """Providers send UTF-8."""
    for sender, signature in ((STRIPE, by_stripe()), (CRM, by_svix())):
        for however_old in (False, True):
            assert refusal(sender, signature, b"\xff\xfe", however_old=however_old) == "malformed"


@given(header=st.text(max_size=60) | st.from_regex(r"t=\d{1,12},v1=\S{0,20}"))
def test_no_header_of_stripe_does_anything_but_be_rejected(header: str) -> None:
    """Nothing else escapes, whatever is sent."""
    refusal(STRIPE, header)


@given(timestamp=st.text(max_size=20) | st.integers().map(str), signature=st.text(max_size=40))
@pytest.mark.parametrize("however_old", [False, True])
def test_no_header_of_standard_webhooks_does_anything_but_be_rejected(
    timestamp: str, signature: str, however_old: bool
) -> None:
    """Nothing else escapes, whatever is sent."""
    given = StandardSignature.model_construct(id="msg_1", timestamp=timestamp, signature=f"v1,{signature}")
    refusal(CRM, given, however_old=however_old)


def test_a_sender_without_a_secret_is_said_to_have_none() -> None:
    """The setting is named; nothing is accepted then."""
    nothing = Settings.read({})
    for sender, said in (
        (STRIPE, "STRIPE_WEBHOOK_SECRET: it is not set"),
        (RESEND, "RESEND_WEBHOOK_SECRET: it is not set"),
        (CRM, "CUSTOM_WEBHOOK_SECRETS: it has no 'crm'"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            verify(sender, BODY, by_stripe(), nothing)


def test_a_blank_secret_is_none() -> None:
    """Otherwise everybody could sign with it."""
    blank = SETTINGS.model_copy(update={"stripe_webhook_secret": SecretStr(" \n")})
    with pytest.raises(ConfigurationError, match="STRIPE_WEBHOOK_SECRET"):
        verify(STRIPE, BODY, by_stripe(secret=" \n"), blank)


@pytest.mark.parametrize("name", ["broken", "empty"])
def test_a_secret_that_is_no_secret_is_named(name: str) -> None:
    """It is our mistake, and not the sender's."""
    with pytest.raises(ConfigurationError, match=f"CUSTOM_WEBHOOK_SECRETS: the secret of custom/{name}"):
        verify(Sender("custom", name), BODY, by_svix(), SETTINGS)
