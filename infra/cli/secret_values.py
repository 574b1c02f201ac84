"""What a secret's value must be like, and what can be found out about it before it is written."""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from infra.local.service import ROOT
from qstash_jobs.dsn import Dsn
from qstash_jobs.errors import ConfigurationError, DatabaseUnreachable, PublishFailed
from qstash_jobs.settings import SECRET_ARN, Settings

KEYS = ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY")

QSTASH_URLS = ("https://qstash.upstash.io", "https://qstash-us-east-1.upstash.io")
"""Where QStash answers in its regions. Tokens, keys and messages of one are unknown in the others. Source:
https://upstash.com/docs/qstash/howto/multi-region"""

PATIENCE = timedelta(seconds=10)

LAYER = "/opt/python"
"""Where the functions have what is in shared/."""

_AUTHORITY = (
    f"For an authority that is not one of the system's, put its file into shared/qstash_jobs, deploy, and add "
    f"sslrootcert={LAYER}/qstash_jobs/ and the file's name: that of RDS is there, rds-ca.pem"
)

_BEGINNINGS = {
    **dict.fromkeys(KEYS, "sig_"),
    "RESEND_API_KEY": "re_",
    "STRIPE_WEBHOOK_SECRET": "whsec_",
    "RESEND_WEBHOOK_SECRET": "whsec_",
}
_KINDS = {"sig_": "a signing key", "re_": "Resend's API key", "whsec_": "a webhook's secret"}


class NotRight(Exception):
    """A value cannot be what it is to be; the message names the setting and never quotes the value."""


def cleaned(setting: str, value: str) -> str:
    """The value as it is kept, without what a copy from a page brings along. Raises `NotRight`."""
    value = value.strip().strip("\u200b\ufeff")
    if not value:
        raise NotRight(f"{setting}: it is empty")
    if SECRET_ARN.match(value):
        raise NotRight(f"{setting}: this is the ARN of a secret; what is kept in it must be the value itself")
    if setting != "CUSTOM_WEBHOOK_SECRETS":  # JSON, which may have lines
        _check_kind(setting, value)
    try:
        read = Settings.read({setting: value})
        _check_closer(setting, value, read)
    except ConfigurationError as error:
        raise NotRight(str(error)) from None
    return value


def _check_kind(setting: str, value: str) -> None:
    """That it is no other secret, which would be sent to who is not to have it. Raises `NotRight`."""
    beginning = _BEGINNINGS.get(setting)
    if beginning and not value.startswith(beginning):
        raise NotRight(f"{setting}: it begins with {beginning}")
    if setting in {"QSTASH_TOKEN", "JOBS_LINK_KEY"}:
        other = "a DSN, or another address" if "://" in value else None
        other = other or next((kind for sign, kind in _KINDS.items() if value.startswith(sign)), None)
        if other:
            raise NotRight(f"{setting}: this is {other}")
    if not value.isprintable():
        raise NotRight(f"{setting}: there is a line break in it, or another character that cannot be seen")
    if beginning and not re.fullmatch(r"[!-~]+", value):
        raise NotRight(f"{setting}: it is one word of letters, digits and signs")
    if setting == "QSTASH_TOKEN" and not re.fullmatch(r"[!-~]{16,}", value):
        raise NotRight(f"{setting}: it is one long word of letters, digits and signs")


def _check_closer(setting: str, value: str, read: Settings) -> None:
    """What the settings take as it is, and would fail later. Raises `NotRight` and `ConfigurationError`."""
    if setting == "DATABASE_URL":
        _check_dsn(Dsn.parse(value))
    if setting == "RESEND_WEBHOOK_SECRET":
        _check_base64(setting, value)
    if setting == "CUSTOM_WEBHOOK_SECRETS":
        for sender, secret in read.custom_webhook_secrets.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", sender):
                raise NotRight(f"{setting}: a sender's name is letters, digits, - and _, as it stands in its address")
            _check_base64(f"{setting}: {sender}", secret.get_secret_value())


def _check_dsn(dsn: Dsn) -> None:
    if dsn.is_local:
        raise NotRight("DATABASE_URL: it leads to this machine, which no function in Lambda can reach")
    if dsn.driver != "pg8000":
        raise NotRight("DATABASE_URL: the functions have no driver but pg8000; begin it with postgresql://")
    if dsn.authority and not dsn.authority.startswith(f"{LAYER}/"):
        raise NotRight(
            f"DATABASE_URL: sslrootcert={dsn.authority} is a file of this machine, which no function has. {_AUTHORITY}"
        )


def _check_base64(name: str, secret: str) -> None:
    if not secret.startswith("whsec_"):
        raise NotRight(f"{name}: it begins with whsec_")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)  # the libraries skip what is none
    except ValueError:
        key = b""
    if len(key) < 16:
        raise NotRight(f"{name}: behind whsec_ comes base64, and this is none, or too little; is a part missing?")


def as_kept(setting: str, value: str) -> Any:
    """In the secret's JSON: an object stays one."""
    return json.loads(value) if setting == "CUSTOM_WEBHOOK_SECRETS" else value


@dataclass(frozen=True)
class Account:
    """A QStash account, as its token showed it."""

    url: str
    keys: tuple[str, str]
    foreign: tuple[str, ...]
    """Prefixes of schedules that other stages or systems have there."""


def qstash_account(token: str, url: str | None, *, prefix: str = "") -> Account:
    """Whose token it is: QStash's keys there. `url` is where the stage looks for QStash; without one, any region will do.

    Raises `NotRight` when no region takes it, another than the stage's does, or it may only read; and `PublishFailed`
    when QStash does not answer.
    """
    from qstash_jobs.qstash import QStash

    refusals: list[str] = []
    for address in dict.fromkeys([url, *QSTASH_URLS] if url else QSTASH_URLS):
        qstash = QStash(lambda: token, address, PATIENCE)
        try:
            keys = qstash.signing_keys()
            if url and address != url:
                raise NotRight(
                    f"QSTASH_TOKEN: it is of another region: {address} takes it, and {url}, where this stage looks for "
                    f"QStash, does not. Take the token of that region, or deploy with qstash_url={address}"
                )
            _check_may_write(qstash)
            names = {one.id.partition(".")[0] for one in qstash.schedules() if "." in one.id}
            return Account(address, keys, tuple(sorted(names - {prefix})))
        except PublishFailed as error:
            if not error.of_the_token:
                if url and address != url:  # another region, which only serves to say more
                    continue
                raise
            refusals.append(address)
        finally:
            qstash.close()
    raise NotRight(
        f"QSTASH_TOKEN: QStash refuses it ({', '.join(refusals)}). Copy it anew: https://console.upstash.com/qstash"
    )


def _check_may_write(qstash: Any) -> None:
    """By deleting a schedule that nobody has. Raises `NotRight`."""
    try:
        qstash.delete_schedule(f"jobs-check-{uuid4().hex}")
    except PublishFailed as error:
        if error.of_the_token:
            raise NotRight("QSTASH_TOKEN: it is the read-only one; publishing needs the other") from None
        raise


def database_says(dsn: str) -> str:
    """Connect, and say what is there. Raises `NotRight`."""
    from qstash_jobs.database import Database

    database = Database(dsn, PATIENCE)
    if database.dsn.authority:
        here = database.dsn.authority.replace(LAYER, str(ROOT / "shared"), 1)
        database.dsn = replace(database.dsn, authority=here)
    if database.dsn.password is None and not database.dsn.is_local:
        raise NotRight("DATABASE_URL: there is no password in it. Where Postgres asks for none, say --no-check")
    try:
        database.run("SELECT 1")
        began = time.perf_counter()
        version = int(database.run("SHOW server_version_num")[0][0])
        milliseconds = (time.perf_counter() - began) * 1000
    except DatabaseUnreachable as error:
        raise NotRight(f"DATABASE_URL: {_unreachable(error, database.dsn.host)}") from None
    except ConfigurationError as error:
        raise NotRight(str(error)) from None
    finally:
        database.close()
    if version < 140_000:
        raise NotRight(f"DATABASE_URL: it is Postgres {version // 10_000}, and 14 or newer is needed")
    how = {"none": "without TLS", "unverified": "TLS not verified", "authority": "TLS verified but for the host's name"}
    tls = how.get(database.dsn.tls, "TLS verified")
    return f"Postgres {version // 10_000} at {database.dsn.host}, {tls}, {milliseconds:.0f} ms away"


def _unreachable(error: DatabaseUnreachable, host: str) -> str:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return f"{host} answers, and its certificate is not accepted: {error.__cause__.verify_message}. {_AUTHORITY}"
    if isinstance(error.__cause__, ssl.SSLError):
        return f"{host} answers, and TLS does not come about: {error}. Is it Postgres that is there?"
    if str(error) == "Server refuses SSL":  # pg8000's words
        return f"{host} takes no TLS. Turn it on there; or, in a network that nobody else is in, add sslmode=disable"
    return f"no answer at {host} ({error}). Where only functions can reach it, say --no-check"


def check_keys(values: Mapping[str, Any], account: Account | None) -> None:
    """That the two are a pair, and QStash's. Raises `NotRight`."""
    current, following = (values.get(name) for name in KEYS)
    if current and current == following:
        raise NotRight("QSTASH_NEXT_SIGNING_KEY: it is the same as the current one; the console shows two")
    if account and current and following and (current, following) != account.keys:
        swapped = " They are the wrong way round." if (following, current) == account.keys else ""
        raise NotRight(
            f"QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY: these are not the keys of {account.url}, so every "
            f"delivery would be refused.{swapped} Leave them out, and they are taken from QStash"
        )
