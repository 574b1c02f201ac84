"""One attempt over HTTP: the request that a destination gets, and what came back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from infra.local.qstash.destination import Destinations
from infra.local.qstash.errors import BadRequest
from infra.local.qstash.message import Message
from infra.local.qstash.settings import Settings
from infra.local.qstash.signature import sign
from infra.local.qstash.verdict import Outcome

USER_AGENT = "Upstash-QStash"

KEEP_ALIVE_SECONDS = 1.0
"""Shorter than any server's, so that no attempt fails because it was sent on a connection that was just closed."""


class Courier:
    """Delivers messages. `open` it inside the event loop."""

    def __init__(self, settings: Settings, destinations: Destinations, signing_key: Callable[[], str]) -> None:
        self._limits = settings.limits
        self._region = settings.region
        self._destinations = destinations
        self._signing_key = signing_key
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def deliver(self, message: Message) -> Outcome:
        """Send one attempt. Whatever goes wrong on the way is an outcome too. Redirects are not followed."""
        if self._session is None:
            raise RuntimeError("the courier is not open")
        publication = message.publication
        try:
            # Again: a former run of the server may have been allowed more, or had another map.
            self._destinations.check(publication.url)
        except BadRequest as error:
            return Outcome(0, error=error.text)
        seconds = min(
            publication.timeout_seconds or self._limits.max_response_seconds, self._limits.max_response_seconds
        )
        try:
            async with self._session.request(
                publication.method,
                URL(self._destinations.delivered_to(publication.url), encoded=True),
                data=publication.body or None,
                headers=self._headers(message),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                body = await self._read(response)
                headers = tuple((str(name), _readable(value)) for name, value in response.headers.items())
                return Outcome(response.status, headers, body)
        except TimeoutError:
            return Outcome(0, error=f"timeout: no response within {seconds} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(0, error=_readable(f"{type(error).__name__}: {error}"))

    async def deliver_twice(self, message: Message) -> Outcome:
        """Send the attempt as two requests at once; the outcome is that of the first."""
        first, _ = await asyncio.gather(self.deliver(message), self.deliver(message))
        return first

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The body, cut at the largest size a message may have."""
        room = self._limits.max_message_bytes
        parts: list[bytes] = []
        async for part in response.content.iter_any():
            parts.append(part[:room])
            room -= len(part)
            if room <= 0:
                response.close()
                break
        return b"".join(parts)

    def _headers(self, message: Message) -> CIMultiDict[str]:
        """The publisher's headers, then QStash's own, which nobody can override."""
        publication = message.publication
        headers = CIMultiDict(publication.headers)
        headers.setdefault("User-Agent", USER_AGENT)
        own = {
            "Upstash-Message-Id": message.id,
            "Upstash-Retried": str(message.retried),
            "Upstash-Signature": sign(self._signing_key(), publication.url, publication.body),
            "Upstash-Region": self._region,
            "Upstash-Caller-Ip": publication.caller_ip,
            "Upstash-Topic-Name": publication.topic,
            "Upstash-Schedule-Id": publication.schedule_id,
            "Upstash-Label": ",".join(publication.labels),
            "Upstash-Retry-Delay": publication.retry_delay,
        }
        if publication.flow_control is not None:
            own["Upstash-Flow-Control-Key"] = publication.flow_control.key
            own["Upstash-Flow-Control-Value"] = publication.flow_control.value
        for name, value in own.items():
            headers.popall(name, None)
            if value:
                headers[name] = value
        return headers


def _readable(text: str) -> str:
    """Text that can be stored: bytes of an answer that are no UTF-8 come as halves of characters."""
    return text.encode(errors="surrogateescape").decode(errors="replace")
