"""A setting may be kept in Secrets Manager, and addresses in Parameter Store: read late, kept a while, read anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from infra.local.qstash import QStashServer
from qstash_jobs import aws as signer
from qstash_jobs import relay
from qstash_jobs.database import database
from qstash_jobs.errors import ConfigurationError, PublishFailed, SettingsUnreachable, SignatureRejected
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.request import Request
from qstash_jobs.serving import serve
from qstash_jobs.settings import Settings, settings
from qstash_jobs.testing import Context, create_test_job, signed_event
from qstash_jobs.webhook_signatures import Sender
from tests.conftest import CURRENT_KEY, NEXT_KEY, ROOT
from tests.integration.conftest import Aws

MOMENT = datetime(2026, 11, 25, 12, 34, 56, tzinfo=UTC)
NEWER_KEY = "sig_9ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"


def rolled(aws: Aws) -> None:
    """QStash has rolled its keys, and the secret was filled anew."""
    aws.keep("jobs/prod/signing-keys", keys(NEXT_KEY, NEWER_KEY))


def keys(current: str, following: str) -> dict[str, str]:
    return {"QSTASH_CURRENT_SIGNING_KEY": current, "QSTASH_NEXT_SIGNING_KEY": following}


def keep_keys(aws: Aws) -> None:
    arn = aws.keep("jobs/prod/signing-keys", keys(CURRENT_KEY, NEXT_KEY))
    aws.set(QSTASH_CURRENT_SIGNING_KEY=arn, QSTASH_NEXT_SIGNING_KEY=arn)


def test_a_setting_is_read_from_its_secret(aws: Aws) -> None:
    """Whether the secret is an object with the setting's name, or the value alone."""
    aws.set(
        RESEND_API_KEY=aws.keep("jobs/prod/resend", {"RESEND_API_KEY": "re_1", "OTHER": 1}),
        QSTASH_TOKEN=aws.keep("jobs/prod/qstash-token", "token-1"),
    )
    assert settings().secret("RESEND_API_KEY") == "re_1"
    assert settings().secret("QSTASH_TOKEN") == "token-1"


def test_custom_webhook_secrets_are_an_object_or_its_json(aws: Aws) -> None:
    """As `jobs secrets put` writes them, or as a person does."""
    for value in ({"crm": "whsec_1"}, '{"crm": "whsec_1"}'):
        aws.set(CUSTOM_WEBHOOK_SECRETS=aws.keep("jobs/prod/custom-webhooks", {"CUSTOM_WEBHOOK_SECRETS": value}))
        assert Sender("custom", "crm").secret(settings()) == "whsec_1"
        with pytest.raises(ConfigurationError, match="no 'shop'"):
            Sender("custom", "shop").secret(settings())


def test_a_secret_is_read_once_until_it_is_old(aws: Aws, clock: Callable[[float], None]) -> None:
    """A new value is seen within five minutes, without a deployment."""
    aws.set(RESEND_API_KEY=aws.keep("jobs/prod/resend", {"RESEND_API_KEY": "re_1"}))
    assert settings().secret("RESEND_API_KEY") == "re_1"
    aws.keep("jobs/prod/resend", {"RESEND_API_KEY": "re_2"})
    clock(299)
    assert settings().secret("RESEND_API_KEY") == "re_1"
    clock(2)
    assert settings().secret("RESEND_API_KEY") == "re_2"


def test_an_outage_of_secrets_manager_is_survived(
    aws: Aws, clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    """With the value that was read last; another reading is tried every half minute."""
    aws.set(RESEND_API_KEY=aws.keep("jobs/prod/resend", {"RESEND_API_KEY": "re_1"}))
    assert settings().secret("RESEND_API_KEY") == "re_1"
    aws.leave()
    clock(301)
    assert settings().secret("RESEND_API_KEY") == "re_1"
    assert "the last value is used" in caplog.text
    aws.keep("jobs/prod/resend", {"RESEND_API_KEY": "re_2"})
    aws.return_()
    clock(29)
    assert settings().secret("RESEND_API_KEY") == "re_1"
    clock(2)
    assert settings().secret("RESEND_API_KEY") == "re_2"


def test_a_secret_that_was_never_read_and_cannot_be_is_an_error_of_its_own(aws: Aws) -> None:
    """The same may succeed later."""
    aws.set(RESEND_API_KEY=aws.keep("jobs/prod/resend", {"RESEND_API_KEY": "re_1"}))
    aws.leave()
    with pytest.raises(SettingsUnreachable):
        settings().secret("RESEND_API_KEY")


def test_an_empty_secret_says_how_to_fill_it(aws: Aws) -> None:
    """As it is after the first deployment."""
    arn = aws.client("secretsmanager").create_secret(Name="jobs/prod/resend")["ARN"]
    aws.set(RESEND_API_KEY=arn)
    with pytest.raises(ConfigurationError, match=r"jobs/prod/resend.* is empty.* jobs secrets put --stage prod$"):
        settings().secret("RESEND_API_KEY")


@pytest.mark.parametrize("value", [{"OTHER": "x"}, {"RESEND_API_KEY": ""}, {"RESEND_API_KEY": None}])
def test_a_secret_without_the_setting_is_named(aws: Aws, value: object) -> None:
    """And never quoted."""
    aws.set(RESEND_API_KEY=aws.keep("jobs/prod/resend", value))
    with pytest.raises(ConfigurationError, match=r"^RESEND_API_KEY: the secret jobs/prod/resend-\w+ does not hold it"):
        settings().secret("RESEND_API_KEY")


def test_a_malformed_value_in_a_secret_is_a_sentence_that_does_not_quote_it(aws: Aws) -> None:
    """The same sentence as for a malformed variable."""
    aws.set(DATABASE_URL=aws.keep("jobs/prod/database", {"DATABASE_URL": "mysql://u:hush@h/x"}))
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL: it must begin with postgresql://") as caught:
        settings().secret("DATABASE_URL")
    assert "hush" not in str(caught.value)


def test_only_secrets_may_be_kept_in_a_secret() -> None:
    """A name or an address is read where it stands."""
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:jobs/prod/x-AbCdEf"
    with pytest.raises(ConfigurationError, match=r"^PRODUCT_NAME: it is needed here"):
        Settings.read({"PRODUCT_NAME": arn})


def test_reading_settings_asks_nobody(aws: Aws) -> None:
    """A secret is read when it is needed, and a process that needs none reads none."""
    aws.leave()
    aws.set(RESEND_API_KEY="arn:aws:secretsmanager:eu-central-1:123456789012:secret:jobs/prod/resend-AbCdEf")
    assert settings().product_name == "Acme"


def test_a_database_of_rds_is_known_by_the_secret_that_rds_made(aws: Aws) -> None:
    """TLS is verified against the authorities that the settings name; a proxy stands before the host."""
    held = {"engine": "postgres", "host": "db.internal", "port": 5433, "username": "jobs", "password": "p@ss/%word",
            "dbname": "jobs"}  # fmt: skip
    aws.set(DATABASE_URL=aws.keep("jobs/prod/database", held), JOBS_DATABASE_CA="/opt/ca.pem")
    dsn = database().dsn
    assert (dsn.host, dsn.port, dsn.database, dsn.user) == ("db.internal", 5433, "jobs", "jobs")
    assert (dsn.password, dsn.tls, dsn.authority) == ("p@ss/%word", "full", "/opt/ca.pem")
    aws.set(JOBS_DATABASE_HOST="proxy.internal", JOBS_DATABASE_CA="")
    assert (database().dsn.host, database().dsn.authority) == ("proxy.internal", None)


def test_a_password_that_was_rotated_is_taken_up(aws: Aws, clock: Callable[[float], None], database_url: str) -> None:
    """As soon as Postgres lets us in with the old one no more, and by the connections that the process makes anew."""
    stranger = re.sub(r"//[^@]*@", "//nobody@", database_url)
    aws.set(DATABASE_URL=aws.keep("jobs/prod/database", {"DATABASE_URL": stranger}))
    with pytest.raises(ConfigurationError, match='role "nobody" does not exist'):
        database().run("SELECT 1")
    aws.keep("jobs/prod/database", {"DATABASE_URL": database_url})
    clock(61)
    assert database().run("SELECT 1") == [[1]]
    assert database().run_pooled("SELECT 1") == [[1]]


def test_a_token_that_was_rotated_is_taken_up(aws: Aws, clock: Callable[[float], None], qstash: QStashServer) -> None:
    """By the client that the process already has."""
    aws.set(QSTASH_TOKEN=aws.keep("jobs/prod/qstash-token", {"QSTASH_TOKEN": "old"}))
    client = relay.qstash()
    with pytest.raises(PublishFailed, match="401"):
        client.schedules()
    aws.keep("jobs/prod/qstash-token", {"QSTASH_TOKEN": qstash.token})
    clock(301)
    assert client.schedules() == []


def test_keys_that_were_rolled_twice_are_read_anew_when_both_fail(aws: Aws, clock: Callable[[float], None]) -> None:
    """A delivery is not refused for keys that were read a minute ago."""
    keep_keys(aws)
    assert settings().signing_keys == (CURRENT_KEY, NEXT_KEY)
    rolled(aws)
    event = signed_event(Probe(), key=NEWER_KEY)
    with pytest.raises(SignatureRejected, match="wrong_key"):
        Request.from_event(event).authenticate(settings(), "probe")
    clock(61)
    Request.from_event(event).authenticate(settings(), "probe")
    assert settings().signing_keys == (NEXT_KEY, NEWER_KEY)


def test_forged_requests_ask_for_no_secret_more_often_than_once_a_minute(
    aws: Aws, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise whoever knows the address could run up a bill."""
    asked: list[str] = []
    ask = signer.ask
    monkeypatch.setattr(signer, "ask", lambda *question: asked.append(question[1]) or ask(*question))
    keep_keys(aws)
    forged = Request.from_event(signed_event(Probe(), key="sig_of-somebody-else-altogether-"))
    for _ in range(6):
        for _ in range(10):
            with pytest.raises(SignatureRejected, match="wrong_key"):
                forged.authenticate(settings(), "probe")
        clock(20)
    assert len(asked) == 2


def test_a_delivery_without_readable_keys_is_answered_503(aws: Aws, clock: Callable[[float], None]) -> None:
    """QStash brings it again, and the job has lost no attempt."""
    keep_keys(aws)
    job_id = create_test_job(Probe())
    handler = serve(Probe, lambda _payload, _run: None)
    event = signed_event(Probe(), job_id=job_id, by_reference=True, key=CURRENT_KEY)
    aws.leave()
    answer = handler(event, Context(timedelta(seconds=30)))
    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "10")
    assert "settings_unreachable" in answer["body"]
    aws.return_()
    clock(10)
    assert handler(event, Context(timedelta(seconds=30)))["statusCode"] == 200


def test_a_request_that_is_not_signed_asks_for_no_key(aws: Aws) -> None:
    """Nor one whose signature is none: so it is told at once what it is, also while nothing can be asked."""
    keep_keys(aws)
    aws.leave()
    handler = serve(Probe, lambda _payload, _run: None)
    for signature in (None, "", "Bearer x", "a.b", "ä.b.c"):
        event = signed_event(Probe(), key=CURRENT_KEY)
        event["headers"] = {"upstash-signature": signature} if signature is not None else {}
        assert handler(event, Context(timedelta(seconds=30)))["statusCode"] == 401


def test_a_delivery_to_a_function_that_lacks_a_setting_is_answered_503(
    aws: Aws, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether its database or its keys: the log names the setting, QStash backs off, and an alarm counts it."""
    held = {"DATABASE_URL": aws.keep("jobs/prod/database", {"OTHER": "x"})}
    event = signed_event(Probe())
    for lacking in (held, {"DATABASE_URL": ""}, {"QSTASH_NEXT_SIGNING_KEY": ""}):
        aws.set(**lacking)
        caplog.clear()
        answer = serve(Probe, lambda _payload, _run: None)(event, Context(timedelta(seconds=30)))
        assert (answer["statusCode"], "misconfigured" in answer["body"]) == (503, True)
        assert "Retry-After" not in answer["headers"]
        (told,) = caplog.records
        (name,) = lacking
        assert (told.message, told.__dict__["reason"].startswith(f"{name}: ")) == ("Setting missing or malformed", True)
        assert '"SettingsUnreachable":[1.0]' in capsys.readouterr().out


def test_a_delivery_whose_database_is_kept_in_an_unreadable_secret_is_answered_503(aws: Aws) -> None:
    """Its keys were there."""
    aws.set(DATABASE_URL="arn:aws:secretsmanager:eu-central-1:123456789012:secret:jobs/prod/database-AbCdEf")
    aws.leave()
    answer = serve(Probe, lambda _payload, _run: None)(signed_event(Probe()), Context(timedelta(seconds=30)))
    assert (answer["statusCode"], "settings_unreachable" in answer["body"]) == (503, True)


def test_a_function_is_found_where_the_deployment_wrote_its_address(aws: Aws) -> None:
    """All addresses are read at once, also when they fill several pages."""
    for number in range(23):
        aws.publish(f"/jobs/prod/urls/job-{number}", f"https://{number}.lambda-url.eu-central-1.on.aws/")
    aws.set(JOBS_BASE_URL="", JOBS_URLS_PATH="/jobs/prod/urls/")
    assert [settings().url(f"job-{number}") for number in range(23)] == [
        f"https://{number}.lambda-url.eu-central-1.on.aws" for number in range(23)
    ]
    assert not settings().has_url("job-0")


def test_a_function_that_was_deployed_since_is_looked_for_again(aws: Aws, clock: Callable[[float], None]) -> None:
    """And one that is nowhere is named, with those that there are."""
    aws.publish("/jobs/prod/urls/probe", "https://a.lambda-url.eu-central-1.on.aws/")
    aws.set(JOBS_BASE_URL="", JOBS_URLS_PATH="/jobs/prod/urls/")
    assert settings().url("probe")
    aws.publish("/jobs/prod/urls/newer", "https://b.lambda-url.eu-central-1.on.aws/")
    with pytest.raises(ConfigurationError, match=r"no address of 'newer' below /jobs/prod/urls/ .*there are: probe\)"):
        settings().url("newer")
    clock(61)
    assert settings().url("newer") == "https://b.lambda-url.eu-central-1.on.aws"


def test_requests_signed_by_hand_are_those_that_aws_s_own_library_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Header for header, with a session token and without."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: MOMENT)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    for token in (None, "IQoJb3JpZ2luX2VjEXAMPLE//=="):
        if token:
            monkeypatch.setenv("AWS_SESSION_TOKEN", token)
        else:
            monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        host, body = "secretsmanager.eu-central-1.amazonaws.com", b'{"SecretId": "jobs/prod/\xc3\xa4"}'
        ours = signer.signed("secretsmanager", "eu-central-1", host, "secretsmanager.GetSecretValue", body, MOMENT)
        kept = ("content-type", "x-amz-target")
        theirs = AWSRequest("POST", f"https://{host}/", headers={name: ours[name] for name in kept}, data=body)
        credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
        SigV4Auth(credentials, "secretsmanager", "eu-central-1").add_auth(theirs)
        assert ours["authorization"] == theirs.headers["Authorization"]


def test_a_function_that_reads_its_secrets_loads_no_boto3(aws: Aws) -> None:
    """It would take longer than all else that a delivery loads."""
    keep_keys(aws)
    program = (
        "from qstash_jobs.settings import settings; settings().signing_keys; import sys; print('boto3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == f"{'AWS_LAMBDA_FUNCTION_NAME' not in os.environ}\n"
