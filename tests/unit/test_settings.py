"""Each setting, missing or malformed, is named in one sentence that says where to get it; secrets are never said."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from qstash_jobs.errors import ConfigurationError
from qstash_jobs.settings import LIMITS, Settings

SECRETS = {
    "QSTASH_TOKEN": "hush-hush-token",
    "QSTASH_CURRENT_SIGNING_KEY": "sig_hush-hush-current",
    "QSTASH_NEXT_SIGNING_KEY": "sig_hush-hush-next",
    "DATABASE_URL": "postgresql://u:hush-hush@h/x",
    "RESEND_API_KEY": "re_hush-hush",
}
ALL = [str(field.alias) for field in Settings.model_fields.values()]


def problem(name: str, value: str) -> str:
    """What is said about one setting."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.read({**SECRETS, name: value})
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return str(caught.value)


MALFORMED = [
    *[(name, value) for name in ("QSTASH_URL", "JOBS_BASE_URL", "RESEND_API_URL", "APP_URL") for value in
      ("nowhere", "ftp://example.com", "//example.com", "http://", "https://exa mple.com")],
    ("QSTASH_URL", "https://qstash.upstash.io/v2/publish"),
    ("QSTASH_URL", "https://qstash.upstash.io/v2"),
    *[(name, value) for name in ("QSTASH_TOKEN", "RESEND_API_KEY") for value in
      ("hush hush", "hush\nhush", "hush\x00", "hüsh-hush", " \n")],
    ("QSTASH_CURRENT_SIGNING_KEY", "hush-hush"),
    ("QSTASH_CURRENT_SIGNING_KEY", "sig_hush-hush-current\n"),
    ("QSTASH_NEXT_SIGNING_KEY", "hush-hush"),
    ("DATABASE_URL", "mysql://u:hush-hush@h/x"),
    ("DATABASE_URL", "hush-hush"),
    *[(name, value) for name in ("QSTASH_TIMEOUT", "DATABASE_TIMEOUT", "JOBS_LEASE_GRACE", "JOBS_DELIVERY_GRACE",
      "JOBS_PUBLICATION_DELAY") for value in ("0", "-1", "soon", "nan", "inf", "-inf", "1e300", "PT5S", "5s")],
    ("QSTASH_PLAN", "enterprise"),
    ("JOBS_URLS", "{"),
    ("JOBS_URLS", "[]"),
    ("JOBS_URLS", "null"),
    ("JOBS_URLS", '{"send-email": "nowhere"}'),
    ("JOBS_URLS", '{"send-email": 1}'),
    ("JOBS_URLS", "[" * 100_000),
    ("JOBS_PROBE", "perhaps"),
    ("JOBS_TIME_SCALE", "0"),
    ("JOBS_TIME_SCALE", "-1"),
    ("JOBS_TIME_SCALE", "nan"),
    ("JOBS_TIME_SCALE", "inf"),
    ("JOBS_TIME_SCALE", "fast"),
    ("JOBS_METRICS_NAMESPACE", "x" * 256),
    *[(name, value) for name in ("EMAIL_FROM", "EMAIL_REPLY_TO", "SUPPORT_EMAIL", "JOBS_NOTIFY_EMAIL")
      for value in ("Acme", "a@b.example\r\nBcc: c@d.example")],
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_a_malformed_setting_is_named(name: str, value: str) -> None:
    """One sentence with the name, what is wrong, and where to get it; nothing of a secret in it."""
    said = problem(name, value)
    assert said.startswith(f"{name}: ")
    description = next(field.description for field in Settings.model_fields.values() if field.alias == name)
    assert description is not None
    assert said.endswith(description)
    assert "\n" not in said
    assert "hush" not in said


@pytest.mark.parametrize("name", ALL)
def test_each_setting_is_described(name: str) -> None:
    """In a sentence of its own, which is what an error shows."""
    description = next(field.description for field in Settings.model_fields.values() if field.alias == name)
    assert description
    assert "\n" not in description


@pytest.mark.parametrize("name", ["QSTASH_TOKEN", "DATABASE_URL", "RESEND_API_KEY"])
def test_a_missing_secret_is_named_when_it_is_needed(name: Any) -> None:
    """And not before: a function that does not publish needs no token."""
    settings = Settings.read({})
    with pytest.raises(ConfigurationError, match=f"^{name}: it is not set. .+"):
        settings.secret(name)
    assert Settings.read(SECRETS).secret(name) == SECRETS[name]


@pytest.mark.parametrize("name", ["QSTASH_TOKEN", "RESEND_API_KEY"])
@pytest.mark.parametrize("value", ["hush-hush-token\n", "  hush-hush-token\r\n"])
def test_a_token_is_taken_without_the_blanks_around_it(name: Any, value: str) -> None:
    """As a file or a console brings them along."""
    assert Settings.read({name: value}).secret(name) == "hush-hush-token"


@pytest.mark.parametrize("missing", ["QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"])
@pytest.mark.parametrize("empty", [False, True])
def test_without_both_keys_nothing_is_accepted(missing: str, empty: bool) -> None:
    """An unset key stops the delivery; it never means that anybody may sign."""
    given = SECRETS | {missing: ""} if empty else {name: value for name, value in SECRETS.items() if name != missing}
    with pytest.raises(ConfigurationError, match=f"^{missing}: it is not set. .*Signing Keys"):
        _ = Settings.read(given).signing_keys


def test_both_keys_are_given_current_first() -> None:
    """The order in which they are tried."""
    assert Settings.read(SECRETS).signing_keys == ("sig_hush-hush-current", "sig_hush-hush-next")


@pytest.mark.parametrize("name", ALL)
def test_an_empty_setting_is_unset(name: str) -> None:
    """Many tools can only set variables to nothing, not remove them."""
    assert Settings.read({name: ""}) == Settings.read({})


def test_unknown_variables_are_ignored() -> None:
    """The environment holds much that is not ours; field names are not names of variables."""
    assert Settings.read({"PATH": "/bin", "qstash_token": "x", "probe": "true"}) == Settings.read({})


def test_settings_are_frozen() -> None:
    """Read once, the same for as long as the process lives."""
    settings = Settings.read(SECRETS)
    with pytest.raises(ValidationError, match="frozen"):
        settings.qstash_token = SecretStr("other")  # type: ignore[misc]
    with pytest.raises((AttributeError, ValidationError)):
        settings.limits.retries = 100  # type: ignore[misc]


def test_secrets_are_not_shown() -> None:
    """Neither by repr, str, formatting, nor as JSON, nor in a copy."""
    settings = Settings.read(SECRETS)
    shown = [repr(settings), str(settings), f"{settings}", settings.model_dump_json(), str(settings.model_dump())]
    shown += [repr(copy.deepcopy(settings)), repr(vars(settings)), repr(pickle.loads(pickle.dumps(settings)))]
    assert all("hush" not in one for one in shown)


@given(st.sampled_from(sorted(SECRETS)), st.text(min_size=1))
def test_no_error_says_a_secret(name: str, noise: str) -> None:
    """Whatever is wrong with it."""
    value = "\N{SNOWMAN}".join(f"({noise})")
    try:
        said = repr(Settings.read({name: value}))
    except ConfigurationError as error:
        said = str(error)
    assert "\N{SNOWMAN}" not in said


@pytest.mark.parametrize("address", ["a@b.example", "Acme Support <help@acme.example>"])
def test_addresses_may_have_a_name(address: str) -> None:
    """As a mail's header has them."""
    assert Settings.read({"EMAIL_FROM": address, "EMAIL_REPLY_TO": address}).email_reply_to == address


def test_a_signing_key_has_a_least_length() -> None:
    """A truncated one is found at the start; the shortest that is taken still takes long to guess."""
    assert Settings.read({"QSTASH_NEXT_SIGNING_KEY": "k" * 16}).qstash_next_signing_key
    assert problem("QSTASH_NEXT_SIGNING_KEY", "k" * 15).startswith("QSTASH_NEXT_SIGNING_KEY: ")


def test_waits_have_defaults() -> None:
    """Those that the documentation names."""
    settings = Settings.read({})
    assert (settings.qstash_timeout, settings.database_timeout) == (timedelta(seconds=5), timedelta(seconds=5))
    assert (settings.lease_grace, settings.publication_delay) == (timedelta(seconds=30), timedelta(seconds=30))
    assert (settings.delivery_grace, settings.time_scale) == (timedelta(minutes=2), 1)


def test_durations_are_seconds() -> None:
    """With a fraction, if need be."""
    settings = Settings.read({"QSTASH_TIMEOUT": "2.5", "DATABASE_TIMEOUT": "1e1"})
    assert (settings.qstash_timeout, settings.database_timeout) == (timedelta(seconds=2.5), timedelta(seconds=10))


def test_a_statement_s_limit_is_one_that_postgres_can_keep() -> None:
    """It counts milliseconds in 32 bits."""
    assert problem("DATABASE_TIMEOUT", "2147484").startswith("DATABASE_TIMEOUT: ")


@pytest.mark.parametrize("name", ["JOBS_BASE_URL", "APP_URL", "QSTASH_URL"])
def test_a_trailing_slash_makes_no_difference(name: str) -> None:
    """Paths are appended."""
    with_slash = Settings.read({name: "https://example.com/"})
    assert with_slash == Settings.read({name: "https://example.com"})


def test_functions_answer_below_the_base_url() -> None:
    """Each at its name."""
    settings = Settings.read({"JOBS_BASE_URL": "https://jobs.example/v1/"})
    assert settings.url("send-email") == "https://jobs.example/v1/send-email"
    assert settings.has_url("send-email")


def test_functions_may_have_urls_of_their_own() -> None:
    """`JOBS_URLS` goes first, for those it names."""
    urls = {"JOBS_URLS": '{"send-email": "https://abc.lambda-url.eu-central-1.on.aws/"}'}
    settings = Settings.read(urls)
    assert settings.url("send-email") == "https://abc.lambda-url.eu-central-1.on.aws"
    assert not settings.has_url("probe")
    both = Settings.read(urls | {"JOBS_BASE_URL": "https://jobs.example"})
    assert both.url("send-email") == settings.url("send-email")
    assert both.url("probe") == "https://jobs.example/probe"


def test_a_missing_url_is_named() -> None:
    """With the function that it is missing for."""
    with pytest.raises(ConfigurationError, match=r"^JOBS_BASE_URL: it is not set, and JOBS_URLS has no 'probe'\. "):
        Settings.read({}).url("probe")


@pytest.mark.parametrize(("plan", "delay_days"), [("free", 7), ("payg", 365)])
def test_the_plan_decides_the_limits(plan: str, delay_days: int) -> None:
    """Never a constant in the code."""
    limits = Settings.read({"QSTASH_PLAN": plan}).limits
    assert (limits.retries, limits.delay, limits.batch) == (5, timedelta(days=delay_days), 100)


def test_the_smallest_plan_is_the_default() -> None:
    """So that nothing is asked for that a new account does not have."""
    assert Settings.read({}).limits is LIMITS["free"]


def test_the_record_s_waits_are_scaled() -> None:
    """On the desk, where an hour takes a minute."""
    assert Settings.read({"JOBS_TIME_SCALE": "60"}).scaled(timedelta(hours=1)) == timedelta(minutes=1)
    assert Settings.read({}).scaled(timedelta(hours=1)) == timedelta(hours=1)


@pytest.mark.parametrize(("said", "meant"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_probes_fail_on_the_desk_only(said: str, meant: bool) -> None:
    """It takes a word to let them."""
    assert Settings.read({"JOBS_PROBE": said}).probe is meant
    assert Settings.read({}).probe is False


def test_the_process_s_settings_are_read_once() -> None:
    """At the first call, from the environment of the process, and not at import."""
    program = (
        "import os; from qstash_jobs.settings import settings; os.environ['PRODUCT_NAME'] = 'Late';"
        "first = settings(); os.environ['PRODUCT_NAME'] = 'Later'; print(first.product_name, settings() is first)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Late", "True"]
