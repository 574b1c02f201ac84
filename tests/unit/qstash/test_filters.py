"""What filters mean, against plain Python over the same messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.qstash.message import Message
from infra.local.qstash.publication import FlowControl, Publication
from infra.local.qstash.state import EventKind, State
from tests.unit.qstash.recorder import BASE_MS, Life, Recorder

URLS = (
    "http://127.0.0.1:9000/mail",
    "http://127.0.0.1:9000/mail?to=a,b",
    "http://127.0.0.1:9000/Mail/",
    "http://localhost/mail",
    "http://user@localhost:80/",
    "https://api.example.com",
)
LABELS = ("a", "A", "a b", "ä", '"', "%")
GROUPS = ("g", "G")
QUEUES = ("q", "Q")
SCHEDULES = ("scd_1", "scd_2")
KEYS = ("k", "k2")
ADDRESSES = ("127.0.0.1", "::1")
STATUSES = (0, 200, 404, 500)
TIMES = st.integers(BASE_MS, BASE_MS + 5)
"""Few, so that much happens at the same time."""

LIVES = st.fixed_dictionaries(
    {
        "publication": st.builds(
            Publication,
            url=st.sampled_from(URLS),
            labels=st.lists(st.sampled_from(LABELS), max_size=3).map(tuple),
            topic=st.sampled_from([None, *GROUPS, *GROUPS]),
            queue=st.sampled_from([None, *QUEUES, *QUEUES]),
            schedule_id=st.sampled_from([None, *SCHEDULES, *SCHEDULES]),
            flow_control=st.none() | st.sampled_from(KEYS).map(lambda key: FlowControl(key, 1)),
            caller_ip=st.sampled_from([None, *ADDRESSES, *ADDRESSES]),
        ),
        "created": TIMES,
        "events": st.lists(st.tuples(st.sampled_from(EventKind), TIMES), max_size=3),
        "state": st.sampled_from([state for state in State if state is not State.ACTIVE]),
        "dead": st.none() | st.tuples(st.sampled_from(STATUSES), TIMES),
    }
)


def one_or_more(values: Iterable[object]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([str(value) for value in values]), min_size=1, max_size=8)


def selections(**further: st.SearchStrategy[list[str]]) -> st.SearchStrategy[dict[str, list[str]]]:
    """Some filters, each with one or more values. Those for ids have numbers of messages, to be replaced by ids."""
    every = {
        "messageId": one_or_more(range(10)),
        "messageIds": one_or_more(range(10)),
        "url": one_or_more([*URLS, "http://127.0.0.1:9000/"]),
        "label": one_or_more([*LABELS, "a,"]),
        "topicName": one_or_more(GROUPS),
        "queueName": one_or_more([*QUEUES, "None"]),
        "scheduleId": one_or_more(SCHEDULES),
        "flowControlKey": one_or_more(KEYS),
        "callerIp": one_or_more(ADDRESSES),
        "callerIP": one_or_more(ADDRESSES),
        "fromDate": TIMES.map(lambda time: [str(time)]),
        "toDate": TIMES.map(lambda time: [str(time)]),
        **further,
    }
    names = st.lists(st.sampled_from(sorted(every)), max_size=3, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: every[name] for name in chosen}))


ADDRESS_FILTERS = {
    "host": one_or_more(["127.0.0.1:9000", "127.0.0.1", "localhost", "localhost:80", "api.example.com"]),
    "path": one_or_more(["/mail", "/Mail/", "/", "mail"]),
}
EVENT_STATES = one_or_more([*EventKind, "IN_PROGRESS", "CANCELLED"])


def traits(message: Message) -> dict[str, Sequence[str | None]]:
    """What a message has of what a filter may ask for."""
    publication, address = message.publication, urlsplit(message.publication.url)
    control = publication.flow_control
    return {
        "messageId": [message.id],
        "messageIds": [message.id],
        "url": [publication.url],
        "label": publication.labels,
        "topicName": [publication.topic],
        "queueName": [publication.queue],
        "scheduleId": [publication.schedule_id],
        "flowControlKey": [control.key if control else None],
        "callerIp": [publication.caller_ip],
        "callerIP": [publication.caller_ip],
        "host": [address.netloc.split("@")[-1]],
        "path": [address.path],
    }


def is_meant(selection: Mapping[str, Sequence[str]], time_ms: int, has: Mapping[str, Sequence[str | None]]) -> bool:
    """Every filter has a value that the entry has too; dates include their own millisecond."""
    wanted = dict(selection)
    first, last = wanted.pop("fromDate", ["0"])[0], wanted.pop("toDate", ["9" * 15])[0]
    return int(first) <= time_ms <= int(last) and all(
        any(value in has[name] for value in values) for name, values in wanted.items()
    )


def states(kind: EventKind) -> list[str]:
    """The values of the filter `state` that mean an event of this kind."""
    in_progress = ["IN_PROGRESS"] if kind in ("ACTIVE", "RETRY", "ERROR") else []
    return [kind.value, *in_progress, *(["CANCELLED"] if kind == "CANCELED" else [])]


def record(recorder: Recorder, lives: list[dict]) -> list[Life]:
    recorded = []
    for given_ in lives:
        life = recorder.accept(given_["publication"], given_["created"])
        for kind, time_ms in given_["events"]:
            recorder.happen(life, kind, time_ms)
        recorder.move(life, given_["state"])
        if given_["dead"] is not None:
            recorder.bury(life, *given_["dead"])
        recorded.append(life)
    return recorded


def with_ids(selection: dict[str, list[str]], ids: dict[str, list[str]]) -> dict[str, list[str]]:
    """The selection with ids instead of numbers of messages; a number that no message has is an id of none."""
    return {
        name: [ids[name][int(value)] if int(value) < len(ids[name]) else "none" for value in values]
        if name in ids
        else values
        for name, values in selection.items()
    }


@settings(deadline=None, max_examples=300)
@given(
    lives=st.lists(LIVES, min_size=2, max_size=12),
    of_events=selections(**ADDRESS_FILTERS, state=EVENT_STATES),
    of_letters=selections(responseStatus=one_or_more(STATUSES), dlqIds=one_or_more(range(10))),
    of_unsettled=selections(**ADDRESS_FILTERS),
    of_messages=selections(state=one_or_more(State)),
    active=st.sets(st.integers(0, 11)),
)
def test_every_selection_is_what_plain_python_selects(lives, of_events, of_letters, of_unsettled, of_messages, active):
    """Events, dead letters, messages, and those on their way: the values of a filter are alternatives, filters narrow each other."""
    with contextlib.closing(Recorder()) as recorder:
        recorded = recorder.run(lambda: record(recorder, lives))
        messages = [life.message.id for life in recorded]
        letters = [life.dead[1] if life.dead else "none" for life in recorded]
        ids = {"messageId": messages, "messageIds": messages, "dlqIds": letters}

        of_events = with_ids(of_events, ids)
        assert sorted(
            (event["messageId"], event["time"], event["state"]) for event in recorder.archive.events(of_events).entries
        ) == sorted(
            (life.message.id, time_ms, kind.value)
            for life in recorded
            for time_ms, kind in life.events
            if is_meant(of_events, time_ms, traits(life.message) | {"state": states(kind)})
        )

        of_letters = with_ids(of_letters, ids)
        assert [letter.id for letter in recorder.archive.dead_letters(of_letters).entries] == [
            life.dead[1]
            for life in reversed(recorded)
            if life.dead
            and is_meant(
                of_letters,
                life.dead[0],
                traits(life.message) | {"responseStatus": [str(life.dead[2])], "dlqIds": [life.dead[1]]},
            )
        ]

        of_unsettled = with_ids(of_unsettled, ids)
        assert recorder.archive.unsettled(of_unsettled) == [
            life.message.id
            for life in recorded
            if not life.message.state.settled and is_meant(of_unsettled, life.created_ms, traits(life.message))
        ]

        of_messages = with_ids(of_messages, ids)
        tried = {
            life.message.id
            for number, life in enumerate(recorded)
            if number in active and not life.message.state.settled
        }
        assert [standing.id for standing in recorder.archive.messages(of_messages, tried).entries] == [
            life.message.id
            for life in reversed(recorded)
            if is_meant(
                of_messages,
                life.created_ms,
                traits(life.message) | {"state": [State.ACTIVE if life.message.id in tried else life.message.state]},
            )
        ]
