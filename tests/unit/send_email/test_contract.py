"""A wrong mail fails where it is made; a mail from a newer app is still understood."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import get_args

import pytest
from pydantic import JsonValue, ValidationError

from qstash_jobs.job import registry
from qstash_jobs.jobs.send_email import (
    EmailTemplate,
    PasswordResetData,
    SendEmail,
    SubscriptionCreatedData,
    TeamInvitationData,
    WelcomeData,
)
from tests.unit.send_email.samples import ADDRESS, LINK, SAMPLES, least

TEMPLATES = sorted(SAMPLES)
REQUIRED = [
    (template, field.alias)
    for template, data in sorted(SAMPLES.items())
    for field in type(data).model_fields.values()
    if field.is_required()
]


def wire(template: EmailTemplate) -> dict[str, JsonValue]:
    return SAMPLES[template].addressed(ADDRESS).wire()


def data_of(payload: dict[str, JsonValue]) -> dict[str, JsonValue]:
    data = payload["data"]
    assert isinstance(data, dict)
    return data


def test_samples_cover_every_template() -> None:
    """There is a model of variables for each template that the contract names."""
    assert set(get_args(EmailTemplate)) == set(SAMPLES)


def test_the_registry_knows_it() -> None:
    """The job type is found by its name, with its options."""
    options = registry.get("send-email").options

    assert SendEmail is registry.get("send-email")
    assert (
        options.retries,
        options.timeout.total_seconds(),
        options.sensitive,
        options.secrets,
    ) == (3, 30, True, ("RESEND_API_KEY",))


@pytest.mark.parametrize("template", TEMPLATES)
def test_wire_round_trip(template: EmailTemplate) -> None:
    """What is stored is template, address, attachments and camelCase variables, and reads back as the same job."""
    job = SAMPLES[template].addressed(ADDRESS)

    stored = json.loads(json.dumps(job.wire()))

    assert {"template", "to", "data", "attachments"} == set(stored)
    assert template == stored["template"]
    assert not any("_" in name for name in stored["data"])
    assert job == SendEmail.arrive(stored)


@pytest.mark.parametrize("template", TEMPLATES)
def test_variables_as_a_plain_object(template: EmailTemplate) -> None:
    """An app may give the variables as it would write them on the wire."""
    assert SAMPLES[template].addressed(ADDRESS) == SendEmail.model_validate(wire(template))


@pytest.mark.parametrize("template", TEMPLATES)
def test_least_variables(template: EmailTemplate) -> None:
    """What may be left out can be left out."""
    job = least(SAMPLES[template]).addressed(ADDRESS)

    assert job == SendEmail.arrive(job.wire())


@pytest.mark.parametrize(("template", "name"), REQUIRED)
def test_missing_variable(template: EmailTemplate, name: str) -> None:
    """Each missing variable is named, at the call and on arrival."""
    payload = wire(template)
    del data_of(payload)[name]

    for read in (SendEmail.model_validate, SendEmail.arrive):
        with pytest.raises(ValidationError) as caught:
            read(payload)
        assert [(("data", template, name), "missing")] == [(e["loc"], e["type"]) for e in caught.value.errors()]


@pytest.mark.parametrize("template", TEMPLATES)
def test_unknown_variable(template: EmailTemplate) -> None:
    """A variable that no template knows fails at the call, and is ignored on arrival."""
    payload = wire(template)
    data_of(payload)["fromTheFuture"] = 1

    with pytest.raises(ValidationError, match="fromTheFuture"):
        SendEmail.model_validate(payload)
    assert SAMPLES[template].addressed(ADDRESS) == SendEmail.arrive({**payload, "priority": "high"})


def test_variables_of_another_template() -> None:
    """Variables must be those of the template that is asked for."""
    with pytest.raises(ValidationError, match="these are the variables of 'welcome'"):
        SendEmail(template="passwordReset", to=ADDRESS, data=WelcomeData(recipient_name="Ada"))


@pytest.mark.parametrize("data", [None, "Ada", ["Ada"], 7])
def test_variables_that_are_no_object(data: object) -> None:
    """Variables are an object."""
    with pytest.raises(ValidationError, match="an object with the variables"):
        SendEmail.model_validate({"template": "welcome", "to": ADDRESS, "data": data})


def test_unknown_template() -> None:
    """A template that there is not fails with the names of those that there are."""
    with pytest.raises(ValidationError, match="passwordReset"):
        SendEmail.model_validate({"template": "goodbye", "to": ADDRESS, "data": {"recipientName": "Ada"}})


@pytest.mark.parametrize("to", ["", "ada", "ada@", "a@b@c.example", "ada@example.com\nBcc: eve@example.com"])
def test_wrong_address(to: str) -> None:
    """An address that is none fails at the call."""
    with pytest.raises(ValidationError):
        WelcomeData(recipient_name="Ada").addressed(to)


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.com/",
        "/reset",
        "",
        "https://exa mple.com/",
        "https://example.com/\nX: y",
        " https://example.com/",
    ],
)
def test_wrong_link(link: str) -> None:
    """A link is an absolute http or https URL on one line."""
    with pytest.raises(ValidationError):
        PasswordResetData(recipient_name="Ada", reset_url=link)


@pytest.mark.parametrize(
    "link", [LINK, "http://localhost:3000", "https://example.com?x=%7E", "https://Example.com:443/"]
)
def test_link_is_kept_as_it_came(link: str) -> None:
    """A signed link does not change by a byte."""
    assert link == PasswordResetData(recipient_name="Ada", reset_url=link).reset_url


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Ada\r\nBcc: eve@example.com", "Ada Bcc: eve@example.com"),
        ("  Ada\t Lovelace ", "Ada Lovelace"),
        ("Ada\u2028\u202eecalevoL", "Ada ecalevoL"),
        ("Ada\x00\x1b[31m", "Ada [31m"),
        ("Zoë 👩‍💻", "Zoë 👩‍💻"),
    ],
)
def test_names_are_one_line(given: str, kept: str) -> None:
    """Line breaks, control characters and overrides of the writing direction become spaces."""
    assert kept == WelcomeData(recipient_name=given).recipient_name


@pytest.mark.parametrize("name", ["", " \n ", "x" * 201])
def test_names_have_a_length(name: str) -> None:
    """A name is there, and is no novel."""
    with pytest.raises(ValidationError):
        TeamInvitationData(inviter_name=name, organization_name="Engines", invite_url=LINK)


@pytest.mark.parametrize(
    "wrong", [{"amount": "-1"}, {"amount": "NaN"}, {"currency": "eur"}, {"currency": "€"}, {"interval": "week"}]
)
def test_wrong_money(wrong: dict[str, str]) -> None:
    """An amount is a number and not negative, a currency an ISO code."""
    right = {
        "recipientName": "Ada",
        "planName": "Team",
        "amount": "29.00",
        "currency": "EUR",
        "nextBillingDate": "2026-03-03",
    }
    SubscriptionCreatedData.model_validate(right)

    with pytest.raises(ValidationError):
        SubscriptionCreatedData.model_validate(right | wrong)


def test_errors_tell_no_secrets() -> None:
    """What an app logs of a refused mail quotes neither its link nor its address."""
    with pytest.raises(ValidationError) as caught:
        SendEmail.model_validate(
            {
                "template": "passwordReset",
                "to": "secret address",
                "data": {"resetUrl": "secret link", "extra": "secret"},
            }
        )

    assert "secret" not in str(caught.value)


def test_imports_nothing_heavy() -> None:
    """An app that imports the contract and the helpers pays for no driver, no HTTP and no template engine."""
    heavy = {"boto3", "httpx", "jinja2", "pg8000", "qstash", "requests", "resend", "sqlalchemy"}
    code = "import sys, json, qstash_jobs.emails; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"

    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))

    assert set() == heavy & set(loaded)
