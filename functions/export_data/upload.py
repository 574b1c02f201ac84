"""A file that grows in the bucket while it is written: parts go up on a thread while the next ones are filled.

At the end of a page everything written so far can be *settled*: then it is in the bucket, and whoever has the state that
`settle` returned, this attempt or a later one, goes on from there.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from pydantic import BaseModel

from qstash_jobs.bucket import MOST_PARTS, SMALLEST_PART, Bucket

_PART = 8 * 2**20
"""Bytes; 10,000 of them are 80 GB."""

_IN_FLIGHT = 2
"""Parts that wait for their upload; together with the one held back and the one being filled they bound the memory."""


class Settled(BaseModel):
    """The parts of an upload that are in the bucket."""

    upload_id: str
    tags: tuple[str, ...] = ()
    size: int = 0
    """Bytes."""


class Upload:
    """An upload to one key, begun or gone on with, for as long as the `with` lasts. What was not settled is lost."""

    def __init__(self, bucket: Bucket, key: str, settled: Settled) -> None:
        self._bucket = bucket
        self._key = key
        self._settled = settled
        self._size = settled.size
        self._pieces: list[bytes] = []
        self._held = b""  # a part that waits for the next one, so that what is left can always be settled along with it
        self._filled = 0
        self._sent = len(settled.tags)
        self._waiting: deque[Future[str]] = deque()
        self._tags = list(settled.tags)
        self._thread = ThreadPoolExecutor(1, "upload")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=kind is None, cancel_futures=True)

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return self._size

    def write(self, content: bytes) -> None:
        """Add to the file. Raises what went wrong with an earlier part."""
        self._pieces.append(content)
        self._filled += len(content)
        self._size += len(content)
        if self._filled >= _PART:
            held, self._held = self._held, self._take()
            if held:
                self._send(held)

    def settle(self) -> Settled | None:
        """Where the upload can be gone on with; None while there is too little for a part, and the state before holds."""
        if len(self._held) + self._filled < SMALLEST_PART:
            return None
        held, rest = self._held, self._take()
        self._held = b""
        for part in (held, rest) if held and len(rest) >= SMALLEST_PART else (held + rest,):
            self._send(part)
        self._collect(0)
        return Settled(upload_id=self._settled.upload_id, tags=tuple(self._tags), size=self._size)

    def complete(self) -> None:
        """Make the file of all that was written."""
        for part in (self._held, self._take()):
            if part:
                self._send(part)
        if not self._sent:  # an empty file has a part too
            self._send(b"")
        self._collect(0)
        self._bucket.complete(self._key, self._settled.upload_id, self._tags)

    def _take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        self._filled = 0
        return taken

    def _send(self, part: bytes) -> None:
        self._sent += 1
        if self._sent > MOST_PARTS:
            raise OverflowError(f"a file of more than {MOST_PARTS:,} parts")
        self._collect(_IN_FLIGHT - 1)
        self._waiting.append(
            self._thread.submit(self._bucket.put_part, self._key, self._settled.upload_id, self._sent, part)
        )

    def _collect(self, at_most: int) -> None:
        while len(self._waiting) > at_most:
            self._tags.append(self._waiting.popleft().result())
