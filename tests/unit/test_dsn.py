"""DSNs as providers print them, and sentences about those that cannot be honoured."""

from __future__ import annotations

import ssl
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstash_jobs.dsn import Dsn
from qstash_jobs.errors import ConfigurationError

SECRET = "hunter2-Pa55"
AUTHORITY = ssl.get_default_verify_paths().cafile or ""

PROVIDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Neon": (
        "postgresql://owner:npg_x@ep-cool-1234.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require",
        {"host": "ep-cool-1234.eu-central-1.aws.neon.tech", "database": "neondb", "user": "owner", "tls": "full"},
    ),
    "Neon's pooler": (
        "postgres://owner:npg_x@ep-cool-1234-pooler.eu-central-1.aws.neon.tech/neondb?sslmode=verify-full",
        {"host": "ep-cool-1234-pooler.eu-central-1.aws.neon.tech", "tls": "full"},
    ),
    "Supabase": (
        "postgresql://postgres:pw@db.abcdefgh.supabase.co:5432/postgres",
        {"host": "db.abcdefgh.supabase.co", "port": 5432, "database": "postgres", "tls": "full"},
    ),
    "Supabase's pooler": (
        "postgres://postgres.abcdefgh:pw@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
        {"user": "postgres.abcdefgh", "port": 6543, "tls": "full"},
    ),
    "RDS": (
        "postgresql://admin:pw@jobs.c1a2b3.eu-central-1.rds.amazonaws.com:5432/jobs?sslmode=verify-full&sslrootcert=/etc/rds.pem",
        {"host": "jobs.c1a2b3.eu-central-1.rds.amazonaws.com", "tls": "full", "authority": "/etc/rds.pem"},
    ),
    "Render": (
        "postgresql://u_b1:pw@dpg-c1-a.frankfurt-postgres.render.com/app_x1",
        {"host": "dpg-c1-a.frankfurt-postgres.render.com", "port": 5432, "database": "app_x1", "user": "u_b1"},
    ),
    "Heroku": (
        "postgres://u1:p0@ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:5432/d1a2b3",
        {"host": "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com", "database": "d1a2b3", "user": "u1", "password": "p0"},
    ),
    "DigitalOcean": (
        "postgresql://doadmin:pw@db-1-do-user-2.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
        {"port": 25060, "database": "defaultdb", "tls": "full"},
    ),
    "Cloud SQL": (
        "postgresql://app:pw@/jobs?host=/cloudsql/project:region:instance",
        {"host": "/cloudsql/project:region:instance", "database": "jobs", "tls": "none"},
    ),
    "the desk": (
        "postgresql://postgres@/jobs?host=/var/lib/x",
        {"host": "/var/lib/x", "port": 5432, "user": "postgres", "password": None, "tls": "none"},
    ),
    "a socket in the host's place": (
        "postgresql://postgres@%2Fvar%2FFolders%2Fpg:5433/jobs",
        {"host": "/var/Folders/pg", "port": 5433, "tls": "none"},
    ),
    "this machine": ("postgresql://localhost/jobs", {"host": "localhost", "user": "postgres", "tls": "none"}),
    "this machine by address": ("postgresql://127.0.0.1:5433", {"port": 5433, "database": "postgres", "tls": "none"}),
    "this machine by IPv6": ("postgresql://u@[::1]:5433/x", {"host": "::1", "port": 5433, "tls": "none"}),
    "IPv6": ("postgresql://u@[2001:db8::1]/x", {"host": "2001:db8::1", "port": 5432, "tls": "full"}),
    "nothing but a scheme": ("postgresql://", {"host": "localhost", "port": 5432, "database": "postgres"}),
    "options beside the address": ("postgresql:///x?host=db.example&port=6000", {"host": "db.example", "port": 6000}),
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_providers_print_it_like_this(name: str) -> None:
    """Each is understood as it is, without editing."""
    url, expected = PROVIDERS[name]
    found = asdict(Dsn.parse(url))
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("scheme", "driver"),
    [
        ("postgres", "pg8000"),
        ("postgresql", "pg8000"),
        ("postgresql+pg8000", "pg8000"),
        ("postgres+psycopg", "psycopg"),
        ("postgresql+psycopg", "psycopg"),
    ],
)
def test_the_scheme_names_the_driver(scheme: str, driver: str) -> None:
    """pg8000, unless it says otherwise."""
    assert Dsn.parse(f"{scheme}://localhost/x").driver == driver


@pytest.mark.parametrize("password", ["p@ss:w/o?r#d", "ü %", "100%25", "a+b", "[x]", "'; --"])
def test_percent_encoding_is_undone(password: str) -> None:
    """In user, password and database."""
    encoded = quote(password, safe="")
    dsn = Dsn.parse(f"postgresql://{encoded}:{encoded}@localhost/{encoded}")
    assert (dsn.user, dsn.password, dsn.database) == (password, password, password)


@pytest.mark.parametrize(
    ("mode", "tls"),
    [
        ("disable", "none"),
        ("no-verify", "unverified"),
        ("allow", "full"),
        ("prefer", "full"),
        ("require", "full"),
        ("verify-ca", "full"),
        ("verify-full", "full"),
    ],
)
def test_sslmode_is_never_weaker_than_it_says(mode: str, tls: str) -> None:
    """Without an authority of its own, also `verify-ca` looks at the name: anybody can have a public certificate."""
    assert Dsn.parse(f"postgresql://db.example/x?sslmode={mode}").tls == tls


def test_an_own_authority_may_vouch_for_any_name() -> None:
    """`verify-ca` with `sslrootcert`, as libpq has it."""
    dsn = Dsn.parse("postgresql://db.example/x?sslmode=verify-ca&sslrootcert=/ca.pem")
    assert (dsn.tls, dsn.authority) == ("authority", "/ca.pem")


def test_the_system_s_authorities_can_be_named() -> None:
    """`sslrootcert=system` is what we do anyway."""
    assert Dsn.parse("postgresql://db.example/x?sslrootcert=system").authority is None


def test_this_machine_is_asked_for_tls_when_that_is_said() -> None:
    """Only the default differs; a unix socket has none."""
    assert Dsn.parse("postgresql://localhost/x?sslmode=require").tls == "full"
    assert Dsn.parse("postgresql:///x?host=/tmp&sslmode=require").tls == "none"


@pytest.mark.parametrize("host", ["db.example", "127.0.0.1.example", "localhost.example", "10.0.0.1"])
def test_tls_is_verified_by_default(host: str) -> None:
    """Anywhere else than on this machine."""
    assert Dsn.parse(f"postgresql://{host}/x").tls == "full"


@pytest.mark.parametrize(
    "option",
    [
        "channel_binding=require",
        "connect_timeout=10",
        "target_session_attrs=any",
        "sslnegotiation=direct",
        "gssencmode=disable",
    ],
)
def test_options_that_change_nothing_here_are_ignored(option: str) -> None:
    """Providers add them for libpq."""
    assert Dsn.parse(f"postgresql://localhost/x?{option}") == Dsn.parse("postgresql://localhost/x")


REFUSED = {
    f"mysql://u:{SECRET}@h/x": "mysql://",
    f"postgresql+asyncpg://u:{SECRET}@h/x": "postgresql+asyncpg://",
    f"postgresql+psycopg2://u:{SECRET}@h/x": "postgresql+psycopg2://",
    f"host=h password={SECRET}": "it begins otherwise; use postgresql://",
    SECRET: "it begins otherwise; use postgresql://",
    "": "it begins otherwise; use postgresql://",
    f"postgresql://u:{SECRET}@h/x?sslmode=maybe": "sslmode",
    f"postgresql://u:{SECRET}@h/x?pgbouncer=true": "'pgbouncer'",
    f"postgresql://u:{SECRET}@h/x?options=-c%20statement_timeout%3D0": "'options'",
    f"postgresql://u@h/x?password={SECRET}": "'password'",
    f"postgresql://u:{SECRET}@h:port/x": "port",
    f"postgresql://u:{SECRET}@h:70000/x": "port",
    f"postgresql://u:{SECRET}@h:0/x": "port",
    f"postgresql://u:{SECRET}@h/x?port=65536": "port",
    f"postgresql://u:{SECRET}@h/x?port=-1": "port",
    f"postgresql://u:{SECRET}@h/x?port=none": "port",
    f"postgresql://u:{SECRET}@h/x?port=0": "port",
    f"postgresql://u:{SECRET}@h1:5432,h2:5432/x": "port",
    f"postgresql://u:{SECRET}@[::1/x": "percent-encoded",
    f"postgresql://u:[{SECRET}]@h/x": "percent-encoded",
    f"postgresql://u:a/{SECRET}@h/x": "percent-encoded",
    f"postgresql://u:1/{SECRET}@h/x": "percent-encoded",
    f"postgresql://u:1?{SECRET}@h/x": "percent-encoded",
    f"postgresql://u:1#{SECRET}@h/x": "percent-encoded",
    f"postgresql://u:{SECRET}#@h/x": "percent-encoded",
    f"postgresql://u:{SECRET}/@h/x": "percent-encoded",
    f"postgresql://u:{SECRET}?@h/x": "percent-encoded",
    f"postgresql://u:{SECRET}\N{FULLWIDTH COMMERCIAL AT}@h/x": "percent-encoded",
}


@pytest.mark.parametrize(("url", "expected"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_cannot_be_honoured_is_a_sentence(url: str, expected: str) -> None:
    """One, that names the setting and the part that is wrong, and holds nothing of the password."""
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL: [^\n]+$") as caught:
        Dsn.parse(url)
    said = str(caught.value)
    assert expected in said
    assert not any(SECRET[i : i + 4] in said for i in range(len(SECRET) - 3))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@given(st.text(st.characters(categories=["L", "N", "P", "S"], max_codepoint=0x2FFFF), min_size=4, max_size=12))
def test_no_password_is_ever_said(noise: str) -> None:
    """Whatever stands unencoded in the password's place, a sentence about it holds none of it."""
    password = "\N{SNOWMAN}".join(noise)
    try:
        said = repr(Dsn.parse(f"postgresql://user:{password}@db.example/x"))
    except ConfigurationError as error:
        said = str(error)
    assert "\N{SNOWMAN}" not in said
    assert said.startswith("DATABASE_URL: ") or "host='db.example'" in said


def test_the_password_is_not_in_the_repr() -> None:
    """A DSN in a log line gives nothing away."""
    assert SECRET not in repr(Dsn.parse(f"postgresql://u:{SECRET}@h/x"))


# What the drivers are told


def test_pg8000_is_told_of_a_socket_by_its_file() -> None:
    """And of the timeout, which pg8000 has for every read."""
    arguments = Dsn.parse("postgresql://u@/x?host=/run&port=6432").pg8000(2.5)
    assert arguments["unix_sock"] == "/run/.s.PGSQL.6432"
    assert "host" not in arguments
    assert arguments["timeout"] == 2.5


def test_pg8000_is_told_of_a_host_by_its_name() -> None:
    """With all that it needs, and its name for the server's list of connections."""
    assert Dsn.parse("postgresql://u:p@localhost:1/x").pg8000(2.5) == {
        "host": "localhost",
        "port": 1,
        "user": "u",
        "password": "p",
        "database": "x",
        "timeout": 2.5,
        "ssl_context": False,
        "application_name": "qstash-jobs",
    }


def test_pg8000_never_falls_back_to_plain_text() -> None:
    """None would make it try TLS without verification, then none at all."""
    assert Dsn.parse("postgresql://u@localhost/x").pg8000(1)["ssl_context"] is False


@pytest.mark.parametrize(
    ("options", "verified", "named"),
    [
        ("sslmode=require", ssl.CERT_REQUIRED, True),
        ("", ssl.CERT_REQUIRED, True),
        (f"sslmode=verify-ca&sslrootcert={AUTHORITY}", ssl.CERT_REQUIRED, False),
        ("sslmode=no-verify", ssl.CERT_NONE, False),
    ],
)
def test_pg8000_verifies_as_told(options: str, verified: ssl.VerifyMode, named: bool) -> None:
    """Certificate and name, by default."""
    context = Dsn.parse(f"postgresql://db.example/x?{options}").pg8000(1)["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (verified, named)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_missing_authority_is_a_wrong_setting(tmp_path: Path, content: str | None) -> None:
    """Waiting will not help, so it is not called unreachable."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    dsn = Dsn.parse(f"postgresql://db.example/x?sslrootcert={file}")
    with pytest.raises(ConfigurationError, match="DATABASE_URL: sslrootcert"):
        dsn.pg8000(1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("sslmode=require", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("sslmode=verify-ca", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("sslmode=verify-ca&sslrootcert=/ca.pem", {"sslmode": "verify-ca", "sslrootcert": "/ca.pem"}),
        ("sslmode=verify-full&sslrootcert=/ca.pem", {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}),
        ("sslmode=no-verify", {"sslmode": "require"}),
        ("sslmode=disable", {"sslmode": "disable"}),
    ],
)
def test_libpq_verifies_as_told(options: str, expected: dict[str, Any]) -> None:
    """Certificate and name, by default; libpq itself refuses `verify-ca` with the system's authorities."""
    arguments = Dsn.parse(f"postgresql+psycopg://u:p@db.example:65535/x?{options}").psycopg(2.4)
    assert {key: value for key, value in arguments.items() if key.startswith("ssl")} == expected
    assert {key: value for key, value in arguments.items() if not key.startswith("ssl")} == {
        "host": "db.example",
        "port": 65535,
        "user": "u",
        "password": "p",
        "dbname": "x",
        "connect_timeout": 2,
        "tcp_user_timeout": 2400,
        "application_name": "qstash-jobs",
    }


def test_libpq_waits_for_a_connection_as_long_as_for_a_statement() -> None:
    """In whole seconds, and not less than two, which is the least that it takes."""
    dsn = Dsn.parse("postgresql+psycopg://localhost/x")
    assert [dsn.psycopg(seconds)["connect_timeout"] for seconds in (0.1, 2.6, 60)] == [2, 3, 60]
