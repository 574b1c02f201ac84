"""The only module that talks to QStash: its SDK, with limits on time and errors that have a status.

The SDK's own client waits up to ten minutes, sleeps between five tries, and hides the status in a sentence; a web
request that enqueues cannot afford that. Only its HTTP client is replaced: paths, headers and parsing stay the SDK's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
from qstash.dlq import DlqApi, DlqFilter, DlqMessage
from qstash.http import HttpClient, HttpMethod
from qstash.message import BatchRequest, MessageApi, prepare_batch_message_body
from qstash.schedule import Schedule, ScheduleApi, parse_schedule_response

from qstash_jobs.errors import PublishFailed

_ERROR_LIMIT = 300
"""Characters of an error that are kept."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message to publish."""

    url: str
    body: str
    retries: int
    timeout: timedelta
    label: str
    flow_control: Mapping[str, Any]
    failure_callback: str | None = None
    callback: str | None = None
    deduplication_id: str | None = None
    retry_delay: str | None = None
    delay: timedelta = timedelta(0)
    headers: Mapping[str, str] | None = None
    """Forwarded with each delivery."""

    @property
    def timeout_seconds(self) -> int:
        """As QStash takes it, in whole seconds."""
        return _seconds(self.timeout)

    def request(self) -> BatchRequest:
        """As the SDK takes it."""
        request: dict[str, Any] = {
            "url": self.url,
            "body": self.body,
            "content_type": "application/json",
            "retries": self.retries,
            "timeout": self.timeout_seconds,
            "label": self.label,
            "flow_control": self.flow_control,
            "failure_callback": self.failure_callback,
            "callback": self.callback,
            "deduplication_id": self.deduplication_id,
            "retry_delay": self.retry_delay,
            "delay": _seconds(self.delay) or None,
            "headers": dict(self.headers) if self.headers else None,
        }
        return {name: value for name, value in request.items() if value is not None}  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A message that QStash gave up."""

    dlq_id: str
    message_id: str
    url: str
    label: str | None
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event in the life of a message, as QStash logged it."""

    state: str
    """CREATED, ACTIVE, RETRY, ERROR, DELIVERED, FAILED, …"""
    status: int | None
    """What the function answered, in an ERROR."""
    error: str | None
    answer: str
    """The beginning of the function's answer."""


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """A schedule that QStash has."""

    id: str
    facts: Mapping[str, object]
    """What can differ from a declared one, by name."""
    owner: tuple[str, ...]
    """The labels behind the first, which say whose it is; see `schedule_changes.Wanted.owner`."""
    paused: bool
    next_at: datetime | None
    last_at: datetime | None
    last_states: Mapping[str, str]
    """How the messages of the last firing fared: IN_PROGRESS, SUCCESS or FAIL."""


class QStash:
    """QStash's API, as far as it is used here. Safe to share between threads."""

    def __init__(self, token: Callable[[], str], base_url: str, timeout: timedelta) -> None:
        """`token` is asked for with each request, because it may be rotated."""
        http = _Http(token, base_url, timeout)
        self._http = http
        self._messages = MessageApi(http)
        self._schedules = ScheduleApi(http)
        self._dlq = DlqApi(http)

    def publish(self, message: Message) -> str:
        """The id of the message that carries it, also when an earlier one does. Raises `PublishFailed`."""
        with _expected():
            return str(self._messages.publish(**message.request()).message_id)  # type: ignore[union-attr, misc]

    def publish_batch(self, messages: Sequence[Message]) -> list[str | PublishFailed]:
        """For each message its id, or why it was not taken. Raises `PublishFailed` when none was."""
        answers = self._http.request(
            path="/v2/batch",
            method="POST",
            headers={"Content-Type": "application/json"},
            body=prepare_batch_message_body([message.request() for message in messages]),
        )
        if not isinstance(answers, list) or len(answers) != len(messages):
            raise PublishFailed("QStash answered a batch with something else than a list of as many answers")
        return [_slot(answer) for answer in answers]

    def holds(self, message_id: str) -> bool:
        """Whether QStash still has the message. Raises `PublishFailed` when it does not say."""
        try:
            self._http.request(path=f"/v2/messages/{quote(message_id, safe='')}", method="GET")
        except PublishFailed as error:
            if _is_missing(error):
                return False
            raise
        return True

    def deliveries(self, message_id: str) -> list[Delivery]:
        """What QStash has logged of a message, the oldest first; it keeps that for days. Raises `PublishFailed`."""
        # Not through the SDK, whose version prints the log.
        answer = self._http.request(path="/v2/events", method="GET", params={"messageId": message_id, "count": "100"})
        with _expected():
            return [_delivery(one) for one in sorted(answer["events"], key=lambda one: int(one["time"]))]

    def cancel(self, message_id: str) -> None:
        """Stop a message; one that is not there any more is no error. Raises `PublishFailed`."""
        try:
            self._messages.cancel(quote(message_id, safe=""))
        except PublishFailed as error:
            if not _is_missing(error):
                raise

    def dead_letters(self, since: datetime | None = None) -> Iterator[list[DeadLetter]]:
        """What QStash gave up (since then), page by page, the newest first. Raises `PublishFailed`."""
        cursor: str | None = None
        newer: DlqFilter = {} if since is None else {"from_time": round(since.timestamp() * 1000)}
        while True:
            with _expected():
                page = self._dlq.list(cursor=cursor, count=100, filter=newer)
                letters = [_dead_letter(message) for message in page.messages]
            yield letters
            cursor = page.cursor
            if not cursor:
                return

    def put_schedule(self, schedule_id: str, cron: str, message: Message) -> str:
        """Create the schedule, or replace the one of this id; its id. Raises `PublishFailed`."""
        request: dict[str, Any] = dict(message.request())
        del request["url"]
        request.pop("deduplication_id", None)
        with _expected():
            return self._schedules.create(destination=message.url, cron=cron, schedule_id=schedule_id, **request)

    def schedules(self) -> list[Scheduled]:
        """All schedules of the account. Raises `PublishFailed`."""
        # Not through the SDK's list, which keeps the first label only.
        answer = self._http.request(path="/v2/schedules", method="GET")
        with _expected():
            return [_scheduled(one) for one in answer]

    def schedule(self, schedule_id: str) -> Scheduled | None:
        """One schedule, or None when there is none of this id. Raises `PublishFailed`."""
        try:
            answer = self._http.request(path=f"/v2/schedules/{quote(schedule_id, safe='')}", method="GET")
        except PublishFailed as error:
            if _is_missing(error):
                return None
            raise
        with _expected():
            return _scheduled(answer)

    def pause_schedule(self, schedule_id: str, *, paused: bool) -> None:
        """Let a schedule rest, or run again. Raises `PublishFailed`."""
        (self._schedules.pause if paused else self._schedules.resume)(schedule_id)

    def delete_schedule(self, schedule_id: str) -> None:
        """Delete a schedule; one that is not there is no error. Raises `PublishFailed`."""
        try:
            self._schedules.delete(schedule_id)
        except PublishFailed as error:
            if not _is_missing(error):
                raise

    def signing_keys(self) -> tuple[str, str]:
        """The current and the next signing key. Raises `PublishFailed`."""
        with _expected():
            answer = self._http.request(path="/v2/keys", method="GET")
            return answer["current"], answer["next"]

    def rotate_signing_keys(self) -> tuple[str, str]:
        """Make the next key the current one, and a fresh one the next; the new pair. What an app accepts then is signed
        with what was its next key: two rotations before it reads the keys anew lock it out. Raises `PublishFailed`; one
        without a status leaves open whether QStash did it. Source: https://upstash.com/docs/qstash/howto/roll-signing-keys
        """
        with _expected():
            answer = self._http.request(path="/v2/keys/rotate", method="POST")
            return answer["current"], answer["next"]

    def close(self) -> None:
        """Close the connections to it."""
        self._http.close()


class _Http(HttpClient):
    """The SDK's HTTP client with one try, a limit on its time, and an error that has a status."""

    def __init__(self, token: Callable[[], str], base_url: str, timeout: timedelta) -> None:
        self._current_token = token
        self._base_url = base_url
        seconds = timeout.total_seconds()
        # Each phase has its own limit; together they stay within the time that the caller has.
        limits = httpx.Timeout(connect=seconds * 0.3, write=seconds * 0.2, read=seconds * 0.4, pool=seconds * 0.1)
        self._client = httpx.Client(timeout=limits)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(
        self,
        *,
        path: str,
        method: HttpMethod,
        headers: dict[str, str] | None = None,
        body: str | bytes | None = None,
        params: dict[str, str] | None = None,
        parse_response: bool = True,
        base_url: str | None = None,
        token: str | None = None,
    ) -> Any:
        try:
            answer = self._client.request(
                method,
                (base_url or self._base_url) + path,
                params=params,
                headers={"Authorization": token or f"Bearer {self._current_token()}", **(headers or {})},
                content=body,
            )
        except (httpx.LocalProtocolError, UnicodeError):  # which quote the header, and with it perhaps the token
            raise _failed(
                "QStash cannot be asked this: it holds what HTTP cannot carry. Is QSTASH_TOKEN one word of letters, "
                "digits and signs?"
            ) from None
        except httpx.HTTPError as error:
            raise _failed(f"QStash did not answer: {type(error).__name__}: {error}") from error
        except httpx.InvalidURL as error:
            raise _failed(f"QStash cannot be asked this: {type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise _failed(f"QStash answered {answer.status_code}: {answer.text}", answer.status_code)
        try:
            return answer.json() if parse_response else answer.text
        except ValueError as error:
            raise _failed(f"QStash answered no JSON: {answer.text}", answer.status_code) from error


def _failed(sentence: str, status: int | None = None) -> PublishFailed:
    """Of what may be anybody's text: short, and storable."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in sentence)
    return PublishFailed(shown[:_ERROR_LIMIT], status)


@contextmanager
def _expected() -> Iterator[None]:
    """What the SDK's parsers trip over did not come from QStash, whatever its status said."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _failed(f"QStash answered something unexpected: {type(error).__name__}: {error}", 200) from error


def _is_missing(error: PublishFailed) -> bool:
    """Whether QStash does not know the thing. When it does not know us, it says nothing about the thing."""
    return error.status == 404 and not error.of_the_token


def _slot(answer: object) -> str | PublishFailed:
    """The id of one message of a batch, or why it was not taken."""
    if not isinstance(answer, dict):
        return _failed(f"QStash answered something unexpected: {answer!r}", 200)
    if "messageId" in answer:
        return str(answer["messageId"])
    said = str(answer.get("error", answer))
    # A slot has no status; one that speaks of a limit says nothing against its message, unless it is the message's own.
    of_the_account = re.search(r"quota|limit", said, re.I) and not re.search(r"max(MessageSize|Delay|Retries)", said)
    return _failed(said, 429 if of_the_account else 400)


def _seconds(duration: timedelta) -> int:
    return -(-duration // timedelta(seconds=1))  # rounded up: never earlier than asked for


def _scheduled(answer: dict[str, Any]) -> Scheduled:
    one: Schedule = parse_schedule_response(answer)
    flow = one.flow_control
    labels = tuple(answer.get("labels") or ([one.label] if one.label else []))
    return Scheduled(
        id=one.schedule_id,
        facts={
            "cron": one.cron,
            "destination": one.destination,
            "method": one.method,
            "body": one.body,
            "retries": one.retries,
            "timeout": one.timeout,
            "delay": one.delay or None,
            "queue": one.queue,
            "label": labels[0] if labels else None,
            "callback": one.callback,
            "failure callback": one.failure_callback,
            "retry delay": one.retry_delay_expression,
            "flow control": flow and (flow.key, flow.parallelism, flow.rate, flow.period),
        },
        owner=labels[1:],
        paused=one.paused,
        next_at=_moment(one.next_schedule_time),
        last_at=_moment(one.last_schedule_time),
        last_states={message_id: str(state.value) for message_id, state in (one.last_schedule_states or {}).items()},
    )


def _delivery(event: dict[str, Any]) -> Delivery:
    try:
        answer = base64.b64decode(event.get("responseBody") or "").decode(errors="replace")
    except binascii.Error:
        answer = ""
    return Delivery(
        state=str(event["state"]),
        status=event.get("responseStatus") or None,
        error=event.get("error") or None,
        answer=answer[:_ERROR_LIMIT],
    )


def _moment(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def _dead_letter(message: DlqMessage) -> DeadLetter:
    body = (message.body or "").encode()
    if message.body_base64:
        try:
            body = base64.b64decode(message.body_base64)
        except binascii.Error:
            body = b""
    return DeadLetter(
        dlq_id=message.dlq_id, message_id=message.message_id, url=message.url, label=message.label, body=body
    )
