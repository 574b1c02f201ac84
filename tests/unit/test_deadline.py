"""The job's own deadline strikes inside the block, once, and never after it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from qstash_jobs.deadline import deadline, reserved
from qstash_jobs.errors import JobTimeout

SOON = timedelta(milliseconds=20)
LONG_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _others_alarm() -> Iterator[None]:
    """Leaves the alarm as it was; the test run's own time limit uses it too."""
    before = signal.getsignal(signal.SIGALRM)
    others = signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, *others)


def test_somebody_elses_alarm_goes_on() -> None:
    """As if the block had not been, also when the deadline struck inside it."""
    signal.setitimer(signal.ITIMER_REAL, 60)
    with deadline(timedelta(seconds=30)):
        pass
    with pytest.raises(JobTimeout), deadline(SOON):
        time.sleep(LONG_SECONDS)
    left_seconds, _ = signal.getitimer(signal.ITIMER_REAL)
    assert 30 < left_seconds <= 60


@pytest.mark.parametrize(
    ("remaining", "kept"),
    [
        (timedelta(0), timedelta(milliseconds=250)),
        (timedelta(seconds=1), timedelta(milliseconds=250)),
        (timedelta(seconds=5), timedelta(milliseconds=250)),
        (timedelta(seconds=10), timedelta(milliseconds=500)),
        (timedelta(seconds=30), timedelta(milliseconds=1500)),
        (timedelta(seconds=60), timedelta(seconds=3)),
        (timedelta(seconds=900), timedelta(seconds=3)),
    ],
)
def test_time_is_reserved_for_the_finish(remaining: timedelta, kept: timedelta) -> None:
    """A twentieth, within bounds."""
    assert reserved(remaining) == kept


def test_the_deadline_strikes_inside_the_block() -> None:
    """Also while it waits for something."""
    began = time.monotonic()
    with pytest.raises(JobTimeout, match=r"the time is up: 0\.02 s"), deadline(SOON):
        time.sleep(LONG_SECONDS)
    assert time.monotonic() - began < LONG_SECONDS


@pytest.mark.parametrize("after", [timedelta(0), timedelta(seconds=-5)])
def test_no_time_strikes_at_once(after: timedelta) -> None:
    """Zero is not: without end."""
    with pytest.raises(JobTimeout), deadline(after):
        time.sleep(LONG_SECONDS)


def test_a_handler_does_not_catch_it_by_accident() -> None:
    """`except Exception` is common, and lets it through."""

    def handler() -> None:
        try:
            time.sleep(LONG_SECONDS)
        except Exception:  # noqa: BLE001
            pytest.fail("it was caught")

    with pytest.raises(JobTimeout), deadline(SOON):
        handler()


def test_a_block_in_time_is_not_struck() -> None:
    """Neither in it nor after it."""
    struck = []
    signal.signal(signal.SIGALRM, lambda *_: struck.append(1))
    with deadline(timedelta(seconds=LONG_SECONDS)):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert struck == []


@pytest.mark.parametrize("ends", [False, True])
def test_the_handler_of_before_is_back(ends: bool) -> None:
    """However the block ends."""

    def mine(*_arguments: object) -> None:
        """Someone else's alarm."""

    signal.signal(signal.SIGALRM, mine)
    if ends:
        with pytest.raises(KeyError), deadline(timedelta(seconds=LONG_SECONDS)):
            raise KeyError
    else:
        with deadline(timedelta(seconds=LONG_SECONDS)):
            assert signal.getsignal(signal.SIGALRM) is not mine
    assert signal.getsignal(signal.SIGALRM) is mine
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_it_strikes_once() -> None:
    """What is done about it has time: the alarm does not ring again."""
    left = []

    def handler() -> None:
        try:
            time.sleep(LONG_SECONDS)
        finally:
            left.append(signal.getitimer(signal.ITIMER_REAL))

    with pytest.raises(JobTimeout), deadline(SOON):
        handler()
    assert left == [(0, 0)]


def test_races_at_the_end_do_no_harm() -> None:
    """A strike inside the block or none at all, over many blocks that end about when their time does."""
    outcomes = set()

    def work(seconds: float) -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    for turn in range(300):
        try:
            with deadline(timedelta(milliseconds=1)):
                work(turn / 300 * 0.002)
        except JobTimeout:
            outcomes.add("struck")
        else:
            outcomes.add("in time")
    assert outcomes == {"struck", "in time"}


def test_elsewhere_only_the_lease_limits() -> None:
    """Signals are the main thread's: in another the block runs on, and no alarm is set."""
    seen = []

    def work() -> None:
        with deadline(timedelta(0)):
            seen.append(signal.getitimer(signal.ITIMER_REAL)[1])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]
