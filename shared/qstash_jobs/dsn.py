"""Where Postgres is: a DSN as its provider prints it, for whichever driver it names."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from qstash_jobs.errors import ConfigurationError
from qstash_jobs.tls import verified

Tls = Literal["none", "unverified", "authority", "full"]

_TLS: dict[str, Tls] = {
    "disable": "none",
    "no-verify": "unverified",
    "verify-ca": "authority",
    # Providers print `require`, which to libpq means encryption without knowing to whom; we always look.
    "allow": "full",
    "prefer": "full",
    "require": "full",
    "verify-full": "full",
}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_IGNORED = {"channel_binding", "sslnegotiation", "gssencmode", "target_session_attrs", "connect_timeout"}


@dataclass(frozen=True)
class Dsn:
    """A parsed DSN. Without `sslmode`, TLS is verified in full, except to this machine."""

    driver: Literal["pg8000", "psycopg"]
    host: str
    """A name, an address, or the folder of a unix socket."""
    port: int
    database: str
    user: str
    password: str | None = field(repr=False)
    tls: Tls
    authority: str | None
    """The file of the certificate authority, when it is not one of the system's."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ConfigurationError` when something in it cannot be honoured; it never says what the password is."""
        parts = _split(text)
        named = parts.scheme.partition("+")[2]
        options = dict(parse_qsl(parts.query))
        host = options.pop("host", None) or unquote(parts.hostname or "") or "localhost"
        port = _port(parts, options.pop("port", None))
        local = host.startswith("/") or host in _LOOPBACK
        mode = options.pop("sslmode", "disable" if local else "verify-full")
        if mode not in _TLS:
            raise ConfigurationError(f"DATABASE_URL: sslmode={mode} is none of {', '.join(_TLS)}")
        authority = options.pop("sslrootcert", "system")
        unknown = set(options) - _IGNORED
        if unknown:
            raise ConfigurationError(f"DATABASE_URL: the option {sorted(unknown)[0]!r} is not supported; leave it out")
        tls = "none" if host.startswith("/") else _TLS[mode]
        if tls == "authority" and authority == "system":
            tls = "full"  # anybody can have a certificate of a public authority, for a name of their own
        return cls(
            driver="psycopg" if named == "psycopg" else "pg8000",
            host=host,
            port=port,
            database=unquote(parts.path.lstrip("/")) or "postgres",
            user=unquote(parts.username or "") or "postgres",
            password=unquote(parts.password) if parts.password else None,
            tls=tls,
            authority=None if authority == "system" else authority,
        )

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return self.host.startswith("/") or self.host in _LOOPBACK

    def pg8000(self, timeout_seconds: float) -> dict[str, Any]:
        """The arguments of `pg8000.dbapi.connect`; the timeout holds for connecting and for every read."""
        place: dict[str, Any] = {"host": self.host, "port": self.port}
        if self.host.startswith("/"):
            place = {"unix_sock": str(Path(self.host) / f".s.PGSQL.{self.port}")}
        return place | {
            "user": self.user,
            "password": self.password,
            "database": self.database,
            "timeout": timeout_seconds,
            "ssl_context": self._ssl_context(),
            "application_name": "qstash-jobs",
        }

    def psycopg(self, timeout_seconds: float) -> dict[str, Any]:
        """The arguments of `psycopg.connect`; libpq watches a dead peer by TCP's own timeout."""
        modes = {"none": "disable", "unverified": "require", "authority": "verify-ca", "full": "verify-full"}
        tls = {"sslmode": modes[self.tls]}
        if self.tls in {"authority", "full"}:
            tls["sslrootcert"] = self.authority or "system"
        return tls | {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": self.database,
            "connect_timeout": max(2, round(timeout_seconds)),
            "tcp_user_timeout": round(timeout_seconds * 1000),
            "application_name": "qstash-jobs",
        }

    def _ssl_context(self) -> ssl.SSLContext | Literal[False]:
        if self.tls == "none":
            return False  # None would mean: try TLS without verification, then fall back to plain text
        if self.tls == "full" and self.authority is None:
            return verified()
        try:
            context = ssl.create_default_context(cafile=self.authority)
        except OSError as error:
            raise ConfigurationError(
                f"DATABASE_URL: sslrootcert={self.authority} holds no certificate: {error}"
            ) from None
        context.check_hostname = self.tls == "full"
        if self.tls == "unverified":
            context.verify_mode = ssl.CERT_NONE
        return context


def _split(text: str) -> SplitResult:
    unencoded = "in user and password, the characters / ? # @ : [ ] % must be percent-encoded, e.g. %2F for /"
    try:
        parts = urlsplit(text)
    except ValueError:  # its message may quote the password
        raise ConfigurationError(f"DATABASE_URL: it is no address; {unencoded}") from None
    dialect, _, driver = parts.scheme.partition("+")
    if dialect not in {"postgres", "postgresql"} or driver not in {"", "pg8000", "psycopg"}:
        found = f"with {parts.scheme}://" if "://" in text else "otherwise"
        raise ConfigurationError(
            f"DATABASE_URL: it begins {found}; use postgresql://, postgresql+pg8000:// or postgresql+psycopg://"
        )
    if "@" in parts.path + parts.query + parts.fragment:
        raise ConfigurationError(f"DATABASE_URL: there is an @ behind its host; {unencoded}")
    return parts


def _port(parts: SplitResult, option: str | None) -> int:
    try:
        port = parts.port if option is None else int(option)
    except ValueError:  # its message may quote the password
        port = 0
    if port is None:
        return 5432
    if not 0 < port < 65536:
        raise ConfigurationError("DATABASE_URL: its port is not one number from 1 to 65535")
    return port
