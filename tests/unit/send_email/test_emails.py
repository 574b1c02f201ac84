"""The typed helpers enqueue the mail that their name says."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest

from qstash_jobs import emails
from qstash_jobs.jobs.send_email import EmailData, EmailTemplate, SendEmail
from qstash_jobs.testing import captured_jobs
from tests.unit.send_email.samples import ADDRESS, SAMPLES

HELPERS: dict[EmailTemplate, Callable[..., UUID]] = {
    "welcome": emails.welcome,
    "passwordReset": emails.password_reset,
    "passwordChanged": emails.password_changed,
    "emailChange": emails.email_change,
    "teamInvitation": emails.team_invitation,
    "subscriptionCreated": emails.subscription_created,
    "paymentFailed": emails.payment_failed,
    "exportReady": emails.export_ready,
    "reportReady": emails.report_ready,
}


def arguments(data: EmailData) -> dict[str, object]:
    return {name: getattr(data, name) for name in type(data).model_fields}


@pytest.mark.parametrize("template", sorted(SAMPLES))
def test_enqueues_its_mail(template: EmailTemplate) -> None:
    """Each helper takes its template's variables and enqueues one job with them."""
    data = SAMPLES[template]

    with captured_jobs() as jobs:
        job_id = HELPERS[template](to=ADDRESS, **arguments(data))

    assert data.addressed(ADDRESS) == jobs.assert_enqueued(SendEmail)
    assert [job_id] == [one.job_id for one in jobs.jobs]


@pytest.mark.parametrize("template", sorted(SAMPLES))
def test_arguments_are_the_variables(template: EmailTemplate) -> None:
    """A helper takes exactly what its model has, with the same defaults."""
    fields = type(SAMPLES[template]).model_fields
    parameters = dict(inspect.signature(HELPERS[template]).parameters)
    del parameters["to"], parameters["options"]

    assert set(fields) == set(parameters)
    for name, field in fields.items():
        expected = inspect.Parameter.empty if field.is_required() else field.default
        assert expected == parameters[name].default, name


def test_passes_options_on() -> None:
    """What `enqueue` takes besides its job follows the variables."""
    with captured_jobs() as jobs:
        emails.welcome(to=ADDRESS, recipient_name="Ada", user_id=7, delay=timedelta(minutes=1))

    assert {"user_id": 7, "delay": timedelta(minutes=1)} == {
        name: jobs.jobs[0].options.get(name) for name in ("user_id", "delay")
    }
