"""`jobs secrets`: filled from a terminal or a pipe, checked against the real thing, never shown."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from infra.cli import secret_values
from infra.local.qstash import QStashServer
from infra.stage import AURORA, SECRETS
from qstash_jobs.database import Database
from tests.conftest import CURRENT_KEY, NEXT_KEY, ROOT
from tests.integration.cli.cloud import STAGE, Cloud, versions
from tests.integration.cli.conftest import Jobs, process_environment
from tests.integration.deployment.between import Between

TOKEN = "a-token-of-a-region-of-qstash"
DSN = "postgresql://someone:hush-hush@db.example.com/app?sslmode=require"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def region(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[QStashServer]:
    """The region of QStash where the stage's token is known."""
    with QStashServer(token=TOKEN, read_only_token="a-token-that-may-only-look") as server:
        monkeypatch.setattr(secret_values, "QSTASH_URLS", (server.url,))
        cloud.deploy(QSTASH_URL=server.url)
        yield server


def put(jobs: Jobs, *arguments: str, given: object = "") -> str:
    """What it said; nothing that was given is in it."""
    text = given if isinstance(given, str) else json.dumps(given)
    done = jobs("secrets", "put", "--stage", "prod", *arguments, "--from-stdin", given=text)
    assert done.code == 0, done
    assert "hush" not in done.out + done.err
    return done.out


def refused(jobs: Jobs, *arguments: str, given: object = "") -> str:
    text = given if isinstance(given, str) else json.dumps(given)
    done = jobs("secrets", "put", "--stage", "prod", *arguments, "--from-stdin", given=text)
    assert done.code in {1, 2}, done
    assert "hush" not in done.out + done.err
    return done.sentence


def test_all_from_a_pipe(jobs: Jobs, cloud: Cloud, region: QStashServer, database_url: str) -> None:
    """Each value lies in its secret, the signing keys come from QStash itself, and the next step is named."""
    said = put(
        jobs,
        "--no-check",
        given={
            "QSTASH_TOKEN": TOKEN,
            "DATABASE_URL": DSN,
            "QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY,
            "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY,
            "STRIPE_WEBHOOK_SECRET": WHSEC,
            "CUSTOM_WEBHOOK_SECRETS": {"crm": WHSEC},
        },
    )
    assert cloud.held("qstash-token") == {"QSTASH_TOKEN": TOKEN}
    assert cloud.held("database") == {"DATABASE_URL": DSN}
    assert cloud.held("custom-webhooks") == {"CUSTOM_WEBHOOK_SECRETS": {"crm": WHSEC}}
    assert cloud.held("resend") is None
    assert "make deploy STAGE=prod" in said


def test_the_signing_keys_are_taken_from_qstash(jobs: Jobs, cloud: Cloud, region: QStashServer) -> None:
    """With the token alone, nobody types them; and again later, by their name alone, when the token is there."""
    said = put(jobs, given={"QSTASH_TOKEN": TOKEN})
    assert "QStash's own" in said
    assert cloud.held("signing-keys") == {
        "QSTASH_CURRENT_SIGNING_KEY": region.current_signing_key,
        "QSTASH_NEXT_SIGNING_KEY": region.next_signing_key,
    }
    assert "Still empty, and needed: database" in said
    cloud.fill("signing-keys", {"QSTASH_CURRENT_SIGNING_KEY": "sig_" + "x" * 28})
    put(jobs, "signing-keys", given={})
    assert (cloud.held("signing-keys") or {})["QSTASH_CURRENT_SIGNING_KEY"] == region.current_signing_key


def test_vault_s_envelope_is_not_what_is_wanted(jobs: Jobs, cloud: Cloud, region: QStashServer) -> None:
    """The settings lie within it, and what to ask of Vault instead is said."""
    envelope = {"request_id": "x", "lease_id": "", "data": {"RESEND_API_KEY": "re_hush_hush"}, "warnings": None}
    assert "-field=data" in refused(jobs, given=envelope)
    assert "-field=data" in refused(jobs, "resend", given=envelope)
    put(jobs, given=envelope["data"])
    assert cloud.held("resend") == {"RESEND_API_KEY": "re_hush_hush"}


@pytest.mark.parametrize("wrong", ["qstash.upstash.io", "https://qstash.upstash.io/v2/publish", "https://"])
def test_an_address_of_qstash_that_is_none(jobs: Jobs, cloud: Cloud, wrong: str) -> None:
    """It is looked at as the setting is, before anything is asked."""
    said = refused(jobs, "--qstash-url", wrong, given={"QSTASH_TOKEN": TOKEN})
    assert "--qstash-url" in said
    assert "address" in said


def test_an_address_of_qstash_with_a_slash(jobs: Jobs, cloud: Cloud, region: QStashServer) -> None:
    """As a browser shows it."""
    assert f"QStash at {region.url} takes" in put(jobs, "--qstash-url", f"{region.url}/", given={"QSTASH_TOKEN": TOKEN})


def test_a_value_is_merged_and_the_same_is_not_written_twice(jobs: Jobs, cloud: Cloud, region: QStashServer) -> None:
    """What else is in the secret stays; senders that are not mentioned too."""
    cloud.fill("resend", {"RESEND_API_KEY": "re_old", "note": "of ours"})
    put(jobs, "resend", given="re_new_one\n")
    assert cloud.held("resend") == {"RESEND_API_KEY": "re_new_one", "note": "of ours"}
    before = versions(cloud, "resend")
    assert "Nothing was changed." in put(jobs, "RESEND_API_KEY", given="re_new_one")
    assert versions(cloud, "resend") == before
    put(jobs, "custom-webhooks", given={"crm": WHSEC, "shop": WHSEC})
    put(jobs, "custom-webhooks", given={"CUSTOM_WEBHOOK_SECRETS": {"crm": None, "blog": WHSEC}})
    assert cloud.held("custom-webhooks") == {"CUSTOM_WEBHOOK_SECRETS": {"shop": WHSEC, "blog": WHSEC}}


def test_senders_that_were_typed_as_text_stay(jobs: Jobs, cloud: Cloud, region: QStashServer, tmp_path: Path) -> None:
    """The functions take an object or its JSON as text, as a console's form has it; so both are added to."""
    cloud.fill("custom-webhooks", {"CUSTOM_WEBHOOK_SECRETS": json.dumps({"crm": WHSEC})})
    put(jobs, "custom-webhooks", given={"shop": WHSEC})
    assert cloud.held("custom-webhooks") == {"CUSTOM_WEBHOOK_SECRETS": {"crm": WHSEC, "shop": WHSEC}}
    cloud.fill("custom-webhooks", {"CUSTOM_WEBHOOK_SECRETS": json.dumps({"crm": WHSEC})})
    words = [("name of a sender", "shop"), ("whsec_… of shop", WHSEC), ("(Enter ends)", "")]
    said, code = at_terminal(["secrets", "put", "--stage", "prod", "custom-webhooks"], words, cloud, tmp_path)
    assert (code, "there are crm" in said) == (0, True), said
    assert cloud.held("custom-webhooks") == {"CUSTOM_WEBHOOK_SECRETS": {"crm": WHSEC, "shop": WHSEC}}


def test_a_bare_value_of_the_console_gives_way_to_an_object(jobs: Jobs, cloud: Cloud, region: QStashServer) -> None:
    """A secret whose value somebody typed as it is counts as filled, and becomes JSON when it is written anew."""
    cloud.fill("resend", "re_typed_in_the_console")
    assert "yes" in row(jobs("secrets", "status", "--stage", "prod").out, "resend")
    put(jobs, "resend", given="re_new_one")
    assert cloud.held("resend") == {"RESEND_API_KEY": "re_new_one"}


WRONG = [
    ("QSTASH_TOKEN", "hush", "one long word"),
    ("QSTASH_TOKEN", CURRENT_KEY, "a signing key"),
    ("QSTASH_TOKEN", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x", "the value itself"),
    ("QSTASH_TOKEN", DSN, "another address"),
    ("QSTASH_TOKEN", "re_hush_hush_hush_hush", "Resend's API key"),
    ("QSTASH_TOKEN", WHSEC, "a webhook's secret"),
    ("JOBS_LINK_KEY", f"{DSN}&connect_timeout=5", "another address"),
    ("JOBS_LINK_KEY", CURRENT_KEY, "a signing key"),
    ("RESEND_API_KEY", "re_hush\nhush", "cannot be seen"),
    ("RESEND_API_KEY", "re_hush hush", "one word"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_hush\thush", "cannot be seen"),
    ("JOBS_LINK_KEY", "hush-hush\x00hush-hush-hush-hush-hush-hush", "cannot be seen"),
    ("DATABASE_URL", "postgresql://u:hush@db.exa\nmple.com/x", "cannot be seen"),
    ("QSTASH_CURRENT_SIGNING_KEY", "sig_hush\nhush-hush-hush-hush", "cannot be seen"),
    ("DATABASE_URL", "mysql://u:hush@h/x", "postgresql://"),
    ("DATABASE_URL", "postgresql://u:hush@localhost/x", "this machine"),
    ("DATABASE_URL", "postgresql://u:hush/hush@db.example.com/x", "percent-encoded"),
    ("DATABASE_URL", "postgresql://u:hush@db.example.com/x?sslmode=maybe", "none of"),
    ("DATABASE_URL", "postgresql+psycopg://u:hush@db.example.com/x", "begin it with postgresql://"),
    *[("DATABASE_URL", f"{DSN}&sslrootcert={path}", "a file of this machine") for path in ("./ca.pem", "/etc/ca.pem")],
    ("RESEND_API_KEY", "hush-hush", "begins with re_"),
    ("STRIPE_WEBHOOK_SECRET", "hush-hush", "begins with whsec_"),
    ("RESEND_WEBHOOK_SECRET", "whsec_hush-hush-hush!", "base64"),
    ("CUSTOM_WEBHOOK_SECRETS", {"crm": "hush"}, "begins with whsec_"),
    ("CUSTOM_WEBHOOK_SECRETS", {"c r m": WHSEC}, "sender's name"),
    ("CUSTOM_WEBHOOK_SECRETS", "hush", "not JSON"),
    ("JOBS_LINK_KEY", "hush-hush", "32 characters"),
    ("QSTASH_CURRENT_SIGNING_KEY", "sig_hush", "28 letters"),
    ("QSTASH_NEXT_SIGNING_KEY", "hush-hush-hush-hush", "begins with sig_"),
]


@pytest.mark.parametrize(("setting", "value", "words"), WRONG)
def test_a_value_that_cannot_be_right_is_refused(
    jobs: Jobs, cloud: Cloud, setting: str, value: object, words: str
) -> None:
    """With its setting's name and what is wrong, and never with the value; the good one beside it is not written either."""
    said = refused(jobs, "--no-check", given={setting: value, "RESEND_API_KEY": "re_right"} | {setting: value})
    assert setting in said
    assert words in said
    assert "nothing was written" in said
    assert [name for name in SECRETS if cloud.held(name)] == []


def test_what_is_no_token_is_sent_to_nobody(
    jobs: Jobs, cloud: Cloud, region: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another secret in the place of the token is refused before QStash is asked."""
    asked: list[str] = []
    monkeypatch.setattr(secret_values, "qstash_account", lambda token, *_, **__: asked.append(token))
    for wrong in (DSN, "re_hush_hush_hush_hush", WHSEC, CURRENT_KEY):
        assert "QSTASH_TOKEN: " in refused(jobs, "qstash-token", given=wrong)
    assert asked == []


def test_a_token_of_another_region_names_that_region(
    jobs: Jobs, cloud: Cloud, region: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage looks for QStash in one region, and the token is of the other."""
    with QStashServer(token="a-token-of-the-other-region") as other:
        monkeypatch.setattr(secret_values, "QSTASH_URLS", (region.url, other.url))
        said = refused(jobs, given={"QSTASH_TOKEN": "a-token-of-the-other-region"})
        assert f"{other.url} takes it, and {region.url}" in said
        assert f"qstash_url={other.url}" in said
        nobody_s = refused(jobs, given={"QSTASH_TOKEN": "a-token-that-nobody-knows"})
        assert "QStash refuses it" in nobody_s
    assert "read-only" in refused(jobs, given={"QSTASH_TOKEN": "a-token-that-may-only-look"})
    assert cloud.held("qstash-token") is None


def test_before_the_first_deployment_the_region_is_found(
    jobs: Jobs, cloud: Cloud, region: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing says yet where QStash is, so the token does, and what is to be deployed with is said."""
    cloud.client("ssm").delete_parameter(Name=STAGE.settings_parameter)
    with QStashServer(token="a-token-of-the-other-region") as other:
        monkeypatch.setattr(secret_values, "QSTASH_URLS", (region.url, other.url))
        said = put(jobs, given={"QSTASH_TOKEN": "a-token-of-the-other-region"})
    assert f"deploy with qstash_url={other.url}" in said
    assert cloud.held("qstash-token") == {"QSTASH_TOKEN": "a-token-of-the-other-region"}


def test_a_region_may_say_that_it_does_not_know_the_user(
    jobs: Jobs, cloud: Cloud, region: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QStash answers 404 then, and no 401; the next region is asked all the same."""
    cloud.client("ssm").delete_parameter(Name=STAGE.settings_parameter)
    elsewhere = Between(region.url)
    elsewhere.tamper = lambda _exchange: (404, b'{"error":"user not found in this region"}')
    monkeypatch.setattr(secret_values, "QSTASH_URLS", (elsewhere.url, region.url))
    assert f"deploy with qstash_url={region.url}" in put(jobs, given={"QSTASH_TOKEN": TOKEN})
    monkeypatch.setattr(secret_values, "QSTASH_URLS", (elsewhere.url,))
    assert "QStash refuses it" in refused(jobs, given={"QSTASH_TOKEN": TOKEN})
    cloud.deploy(QSTASH_URL=elsewhere.url)
    monkeypatch.setattr(secret_values, "QSTASH_URLS", (elsewhere.url, region.url))
    assert f"{region.url} takes it, and {elsewhere.url}" in refused(jobs, given={"QSTASH_TOKEN": TOKEN})
    elsewhere.close()


def test_keys_that_are_not_qstash_s_are_refused(jobs: Jobs, cloud: Cloud, region: QStashServer) -> None:
    """Every delivery would be refused; swapped, they are known as such."""
    cloud.fill("qstash-token", {"QSTASH_TOKEN": TOKEN})
    names = secret_values.KEYS
    wrong = refused(jobs, given=dict(zip(names, ("sig_" + "a" * 28, "sig_" + "b" * 28), strict=True)))
    assert f"not the keys of {region.url}" in wrong
    swapped = (region.next_signing_key, region.current_signing_key)
    assert "the wrong way round" in refused(jobs, given=dict(zip(names, swapped, strict=True)))
    twice = (region.current_signing_key, region.current_signing_key)
    assert "the same as the current one" in refused(jobs, given=dict(zip(names, twice, strict=True)))
    assert cloud.held("signing-keys") is None


def test_a_database_is_connected_to(
    jobs: Jobs, cloud: Cloud, region: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not answer is not written, unless that is asked for."""
    dead = "postgresql://someone:hush-hush@127.0.0.2:9/app"
    monkeypatch.setattr(secret_values, "PATIENCE", secret_values.PATIENCE / 5)
    said = refused(jobs, "database", given=dead)
    assert "no answer at 127.0.0.2" in said
    assert "--no-check" in said
    put(jobs, "database", "--no-check", given=dead)
    assert cloud.held("database") == {"DATABASE_URL": dead}


def test_a_database_whose_certificate_nobody_knows(
    jobs: Jobs, cloud: Cloud, region: QStashServer, tmp_path: Path
) -> None:
    """It does answer, so what is wrong is said to be its certificate, and what can be done about that."""
    made, key = tmp_path / "made.pem", tmp_path / "key.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=db"]
    subprocess.run(["openssl", "req", *kind, "-keyout", key, "-out", made], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    with postgres_that_answers(b"S", context) as dsn:
        said = refused(jobs, "database", given=dsn)
    assert "its certificate is not accepted: self-signed certificate" in said
    assert "sslrootcert=/opt/python/qstash_jobs/" in said
    assert "no answer" not in said


def test_a_database_without_tls(jobs: Jobs, cloud: Cloud, region: QStashServer) -> None:
    """It says so, and is not taken for one that cannot be reached."""
    with postgres_that_answers(b"N") as dsn:
        said = refused(jobs, "database", given=dsn)
    assert "takes no TLS" in said
    assert "sslmode=disable" in said
    assert "no answer" not in said


def test_a_dsn_without_a_password(jobs: Jobs, cloud: Cloud, region: QStashServer) -> None:
    """Postgres is not asked before it is there; one that wants none is believed with --no-check."""
    bare = "postgresql://someone@db.example.com/app"
    assert "there is no password in it" in refused(jobs, "database", given=bare)
    put(jobs, "database", "--no-check", given=bare)
    assert cloud.held("database") == {"DATABASE_URL": bare}


def test_an_authority_that_the_layer_brings(
    jobs: Jobs, cloud: Cloud, region: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is looked for in this checkout, from which the layer is made."""
    found: list[str | None] = []
    monkeypatch.setattr(Database, "run", lambda self, _: found.append(self.dsn.authority) or [["180000"]])
    path = "/opt/python/qstash_jobs/rds-ca.pem"
    dsn = f"postgresql://someone:hush-hush@db.example.com/app?sslmode=verify-full&sslrootcert={path}"
    put(jobs, "database", given=dsn)
    assert cloud.held("database") == {"DATABASE_URL": dsn}
    assert found[0] == str(ROOT / "shared/qstash_jobs/rds-ca.pem")


@contextmanager
def postgres_that_answers(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """The DSN of a server that says this to who asks for TLS."""
    with socket.create_server(("127.0.0.2", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                stream, _ = server.accept()
                with stream:
                    stream.recv(8)
                    stream.sendall(answer)
                    if context:
                        context.wrap_socket(stream, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"postgresql://someone:hush-hush@127.0.0.2:{server.getsockname()[1]}/app"
        thread.join()


def test_what_a_database_says(database_url: str) -> None:
    """Its version and how the connection is protected."""
    assert secret_values.database_says(database_url).startswith("Postgres 1")
    assert "without TLS" in secret_values.database_says(database_url)


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"{name} "))


def test_status(jobs: Jobs, cloud: Cloud) -> None:
    """What is filled, when, and what for; half-filled says which half; no values; exit 1 while jobs could not run."""
    cloud.fill("signing-keys", {"QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY})
    cloud.fill("database", {"username": "u", "password": "hush"})
    assert row(jobs("secrets", "status", "--stage", "prod").out, "database").split()[1] == "no"
    cloud.fill("database", {"username": "u", "password": "hush", "host": "h"})
    done = jobs("secrets", "status", "--stage", "prod")
    assert done.code == 1
    assert "hush" not in done.out
    assert CURRENT_KEY not in done.out
    assert "not QSTASH_NEXT_SIGNING_KEY" in row(done.out, "signing-keys")
    assert "yes" in row(done.out, "database")
    assert "send-email" in row(done.out, "resend")
    assert "jobs secrets put --stage prod qstash-token signing-keys" in done.out
    cloud.fill("signing-keys", {"QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY, "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY})
    cloud.fill("qstash-token", {"QSTASH_TOKEN": TOKEN})
    well = jobs("secrets", "status", "--stage", "prod", "--json")
    assert well.code == 0
    assert json.loads(well.out)["resend"]["missing"] == ["RESEND_API_KEY"]


def test_the_password_of_a_database_that_is_yet_to_be_made(
    jobs: Jobs, cloud: Cloud, region: QStashServer, tmp_path: Path
) -> None:
    """Aurora's is made up before the first deployment, which adds the host; a DSN is neither missed nor asked for."""
    cloud.client("secretsmanager").create_secret(Name=STAGE.secret(AURORA))
    assert "Still empty, and needed: database" in put(jobs, given={"QSTASH_TOKEN": TOKEN})
    cloud.fill(AURORA, {"username": "jobs", "password": "hush"})
    cloud.fill("link-key", {"JOBS_LINK_KEY": "x" * 64})
    assert "Still empty" not in put(jobs, given={"QSTASH_TOKEN": TOKEN})
    done = jobs("secrets", "status", "--stage", "prod")
    assert (done.code, "yes" in row(done.out, "database")) == (0, True)
    assert "hush" not in done.out
    words = [(f"{setting} (", "") for setting in ("RESEND_API_KEY", "STRIPE_WEBHOOK_SECRET", "RESEND_WEBHOOK_SECRET")]
    said, code = at_terminal(["secrets", "put", "--stage", "prod"], [*words, ("(Enter ends)", "")], cloud, tmp_path)
    assert (code, "DATABASE_URL (" in said) == (0, False), said


def test_a_bare_key_counts_where_it_is_used(jobs: Jobs, cloud: Cloud, region: QStashServer) -> None:
    """A token that was typed into the console as it is finds QStash's keys like one that was put."""
    cloud.fill("qstash-token", TOKEN)
    assert "Written: signing-keys." in put(jobs, "signing-keys", given={})
    assert (cloud.held("signing-keys") or {})["QSTASH_CURRENT_SIGNING_KEY"] == region.current_signing_key


def test_where_there_is_no_stage(jobs: Jobs, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage named, a stage without secrets, a region without it, a value on the command line, no terminal."""
    assert "--stage" in jobs("secrets", "status").sentence
    said = jobs("secrets", "status", "--stage", "staging").sentence
    assert "there is no secret jobs/staging/qstash-token in eu-central-1" in said
    assert "make deploy-secrets STAGE=staging" in said
    on_the_line = jobs("secrets", "put", "--stage", "prod", "QSTASH_TOKEN=x")
    assert (on_the_line.code, "never on the command line" in on_the_line.sentence) == (2, True)
    assert "--from-stdin" in jobs("secrets", "put", "--stage", "prod").sentence
    unknown = refused(jobs, given={"PASSWORD": "hush"})
    assert "PASSWORD: not to be filled here" in unknown
    assert "must be a JSON object" in refused(jobs, given="hush-hush")
    assert "in eu-west-1" in jobs("secrets", "status", "--stage", "prod", "--region", "eu-west-1").sentence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no AWS credentials here"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "which AWS region"),
        ({"AWS_PROFILE": "nobody", "AWS_ACCESS_KEY_ID": ""}, "nobody"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Is the network there"),
    ],
)
def test_without_access(
    jobs: Jobs, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], words: str
) -> None:
    """No credentials, no region, no such profile, no network: a sentence each."""
    for name, value in change.items():
        monkeypatch.setenv(name, value)
        if not value:
            monkeypatch.delenv(name)
    done = jobs("secrets", "status", "--stage", "prod")
    assert (done.code, words in done.sentence) == (1, True), done


def test_at_a_terminal_nothing_is_echoed(cloud: Cloud, region: QStashServer, tmp_path: Path) -> None:
    """A real terminal: the value is asked for by its name, is not echoed, a wrong one is asked for again, and is written."""
    words = [
        ("RESEND_API_KEY (", "hush-not-a-key"),
        ("RESEND_API_KEY (", "re_hush_hush"),
    ]
    said, code = at_terminal(["secrets", "put", "--stage", "prod", "resend"], words, cloud, tmp_path)
    assert code == 0, said
    assert "hush" not in said
    assert "begins with re_" in said
    assert cloud.held("resend") == {"RESEND_API_KEY": "re_hush_hush"}


def test_at_a_terminal_keys_are_a_pair(cloud: Cloud, region: QStashServer, tmp_path: Path) -> None:
    """A wrong one beside the one that is there is asked for again, and nothing is written while they are no pair."""
    current, following = secret_values.KEYS
    cloud.fill("qstash-token", {"QSTASH_TOKEN": TOKEN})
    right = {current: region.current_signing_key, following: region.next_signing_key}
    cloud.fill("signing-keys", right)
    wrong = "sig_" + "a" * 28
    words = [("Take both keys", "n"), (f"{current} (", wrong), (f"{following} (", ""), (f"{current} (", "")]
    command = ["secrets", "put", "--stage", "prod", "signing-keys"]
    said, code = at_terminal(command, [*words, (f"{following} (", "")], cloud, tmp_path)
    assert code == 0, said
    assert f"not the keys of {region.url}" in said
    assert "Nothing was changed." in said
    assert cloud.held("signing-keys") == right
    words = [("Take both keys", "n"), (f"{current} (", right[following]), (f"{following} (", right[current])]
    said, code = at_terminal(
        command, [*words, (f"{current} (", right[current]), (f"{following} (", right[following])], cloud, tmp_path
    )
    assert code == 0, said
    assert "the wrong way round" in said
    assert cloud.held("signing-keys") == right


def at_terminal(command: list[str], words: list[tuple[str, str]], cloud: Cloud, cwd: Path) -> tuple[str, int]:
    """What a terminal showed while a person answered each question with a word, and the exit status."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "infra.cli", *command],
            {**process_environment(ROOT), **cloud.environment, "TERM": "dumb", "COLUMNS": "300"},
        )
    shown, answered, seen, until = "", 0, 0, time.monotonic() + 60
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            piece = os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # its end, on Linux
            break
        if not piece:
            break
        shown += piece
        if answered < len(words) and (at := shown.find(words[answered][0], seen)) >= 0:
            os.write(terminal, f"{words[answered][1]}\n".encode())
            answered, seen = answered + 1, at + len(words[answered][0])
    os.close(terminal)
    return shown, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
