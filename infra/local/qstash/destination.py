"""Where messages may go, and how an address is taken from a request: byte for byte, as the publisher wrote it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import unquote_plus, urlsplit

from infra.local.qstash.errors import BadRequest

CONFIGURATION_PREFIX = "upstash-"
TOKEN_PARAMETER = "qstash_token"  # noqa: S105
LONGEST_URL = 8_192


def split_query(query: str) -> tuple[str, list[tuple[str, str]]]:
    """Part the destination's own query, untouched, from QStash's parameters (lower-case names, decoded values)."""
    kept, ours = [], []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        name = unquote_plus(name).lower()
        if name.startswith(CONFIGURATION_PREFIX) or name == TOKEN_PARAMETER:
            ours.append((name, unquote_plus(value)))
        else:
            kept.append(part)
    return "&".join(kept), ours


def from_path(raw_path: bytes, segments: int, query: str) -> str:
    """The destination after the first `segments` segments of a request's raw path, with its own query."""
    parts = raw_path.decode("latin-1").split("/", segments + 1)
    destination = parts[segments + 1] if len(parts) > segments + 1 else ""
    return f"{destination}?{query}" if query else destination


class Destinations:
    """Which addresses are accepted, and where each is really delivered."""

    def __init__(self, host_map: Mapping[str, str], *, allow_remote: bool) -> None:
        self._bases = sorted(
            ((published.rstrip("/"), local.rstrip("/")) for published, local in host_map.items()),
            key=lambda pair: -len(pair[0]),
        )
        self._allow_remote = allow_remote

    def delivered_to(self, url: str) -> str:
        """The address that `url` is delivered to: another one if a mapped base covers it."""
        for published, local in self._bases:
            if url.startswith(published) and url[len(published) : len(published) + 1] in ("", "/", "?"):
                return local + url[len(published) :]
        return url

    def check(self, url: str, *, subject: str = "destination url") -> str:
        """`url` without its fragment. Raises BadRequest if nothing may be sent there."""
        url = url.partition("#")[0]
        scheme, separator, _ = url.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            raise BadRequest(f"invalid {subject}: endpoint has invalid scheme, add http:// or https://")
        host = _host(self.delivered_to(url), subject)
        _host(url, subject)
        if not self._allow_remote and not is_loopback(host):
            raise BadRequest(
                f"invalid {subject}: {host} is not this machine; map its address to a local one with --map, "
                "or start the server with --allow-remote"
            )
        return url


def _host(url: str, subject: str) -> str:
    if len(url) > LONGEST_URL or not _printable(url):
        raise BadRequest(f"invalid {subject}: it must be printable ASCII of at most {LONGEST_URL} characters")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadRequest(f"invalid {subject}: {error}") from error
    if not host:
        raise BadRequest(f"invalid {subject}: it names no host")
    return host


def _printable(url: str) -> bool:
    return url.isascii() and all(" " < character < "\x7f" for character in url)


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine whatever a resolver says."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_and_path(urls: Iterable[str]) -> list[tuple[str, str]]:
    """The host (with its port) and the path of each address."""
    return [(parts.netloc.rpartition("@")[2], parts.path) for parts in map(urlsplit, urls)]
