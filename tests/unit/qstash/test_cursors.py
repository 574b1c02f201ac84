"""Pages of the event log, of the dead letters and of all messages, while they change between them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.qstash.archive import DeadLetter, Page, Standing
from infra.local.qstash.message import Json
from infra.local.qstash.publication import Publication
from infra.local.qstash.state import EventKind
from tests.unit.qstash.recorder import BASE_MS, RETENTION_MS, Recorder

Entry = Hashable
"""What tells an entry of a list from the others."""


class Reader:
    """Reads a list page by page, and knows what was there when it began and still is."""

    def __init__(
        self,
        read: Callable[[dict[str, list[str]]], Page[Any]],
        identity: Callable[[Any], Entry],
        entries: list[Entry],
    ) -> None:
        self._read = read
        self._identity = identity
        self._cursor: str | None = ""
        self.staying = list(entries)
        self.seen: list[Entry] = []

    def next_page(self, count: int) -> bool:
        """Whether there may be another one."""
        if self._cursor is not None:
            page = self._read({"count": [str(count)], "cursor": [self._cursor]})
            assert len(page.entries) == count if page.cursor else len(page.entries) <= count
            self.seen += map(self._identity, page.entries)
            assert len(set(self.seen)) == len(self.seen), "an entry was repeated"
            self._cursor = page.cursor
        return self._cursor is not None

    def check(self) -> None:
        """All that stayed was seen, the newest first."""
        staying = set(self.staying)
        assert [entry for entry in self.seen if entry in staying] == self.staying[::-1]


def event_identity(event: Json) -> Entry:
    return event["messageId"], event["state"]


def letter_identity(letter: DeadLetter) -> Entry:
    return letter.id


def message_identity(standing: Standing) -> Entry:
    return standing.id


class Lists:
    """The lists as they should be, the oldest first, each entry with its time."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._now_ms = BASE_MS
        self.events: dict[Entry, int] = {}
        self.letters: dict[Entry, int] = {}
        self.messages: list[Entry] = []  # none of them is settled, so all of them stay
        self.readers: list[Reader] = []

    def arrive(self, count: int) -> None:
        """So many messages fail; some in the same millisecond."""
        for number in range(count):
            self._now_ms += number % 2
            life = self._recorder.accept(Publication(url="http://localhost"), self._now_ms)
            self._recorder.happen(life, EventKind.FAILED, self._now_ms)
            self._recorder.bury(life, 500, self._now_ms)
            self.events |= {(life.message.id, kind.value): self._now_ms for _, kind in life.events}
            self.messages.append(life.message.id)
            assert life.dead is not None
            self.letters[life.dead[1]] = self._now_ms

    def begin(self) -> None:
        """Another reader of each list comes."""
        archive = self._recorder.archive
        self.readers.append(Reader(archive.events, event_identity, [*self.events]))
        self.readers.append(Reader(archive.dead_letters, letter_identity, [*self.letters]))
        self.readers.append(Reader(lambda wanted: archive.messages(wanted, ()), message_identity, self.messages))

    def read(self, count: int) -> None:
        for reader in self.readers:
            reader.next_page(count)

    def delete(self, number: int) -> None:
        """One of the dead letters goes; 0 is the newest."""
        if self.letters:
            letter = [*self.letters][-1 - number % len(self.letters)]
            self._recorder.archive.remove([self._recorder.archive.dead_letter(str(letter))])
            self._gone({letter})

    def forget(self, share: int) -> None:
        """Time passes, and what is older than the plan keeps it is pruned."""
        self._now_ms += RETENTION_MS * share // 4
        self._recorder.clock.now_ms = self._now_ms
        self._recorder.ledger.prune()
        limit = self._now_ms - RETENTION_MS
        self._gone({entry for entry, time in (*self.events.items(), *self.letters.items()) if time < limit})

    def restart(self, _: int) -> None:
        self._recorder.restart()

    def _gone(self, entries: set[Entry]) -> None:
        for listed in (self.events, self.letters):
            for entry in entries & listed.keys():
                del listed[entry]
        for reader in self.readers:
            reader.staying = [entry for entry in reader.staying if entry not in entries]

    def finish(self, count: int) -> None:
        """Every reader reads to the end."""
        for reader in self.readers:
            while reader.next_page(count):
                pass
            reader.check()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just(Lists.arrive), st.integers(1, 4)),
        st.tuples(st.just(Lists.read), st.integers(1, 4)),
        st.tuples(st.just(Lists.read), st.integers(1, 4)),
        st.tuples(st.just(Lists.delete), st.integers(0, 5)),
        st.tuples(st.just(Lists.forget), st.integers(1, 4)),
        st.tuples(st.just(Lists.restart), st.just(0)),
        st.tuples(st.just(lambda lists, _: lists.begin()), st.just(0)),
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=300)
@given(before=st.integers(0, 12), steps=STEPS, last=st.integers(1, 100))
def test_pages_neither_lose_nor_repeat_what_was_there_and_stays(before, steps, last):
    """Whatever comes, is deleted or pruned between pages of any size, over restarts too."""

    def story() -> None:
        lists = Lists(recorder)
        lists.arrive(before)
        lists.begin()
        for step, number in steps:
            step(lists, number)
        lists.finish(last)

    with contextlib.closing(Recorder()) as recorder:
        recorder.run(story)
