"""Which step of a rotation follows from what is seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.cli.rotation import (
    CLAIM,
    READ_WITHIN,
    Claim,
    Complete,
    Pair,
    Prepare,
    Refuse,
    Roll,
    Seen,
    Step,
    Wait,
    decide,
    plan,
)
from qstash_jobs.secrets import RESTED_SECONDS, TTL_SECONDS

WRITTEN = datetime(2026, 11, 25, 12, tzinfo=UTC)
READ = WRITTEN + READ_WITHIN
A, B, C, D = "a", "b", "c", "d"

OLD = Seen(
    theirs=Pair(A, B),
    ours=Pair(A, B),
    before=None,
    written_at=WRITTEN,
    prepared=False,
    claim=None,
    now=READ + timedelta(days=1),
)
"""The two have the same pair, and everybody has read it."""
SOON = replace(OLD, now=READ - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (OLD, Roll(1)),
        (replace(OLD, now=READ), Roll(1)),
        # Somebody may not have read it yet.
        (SOON, Wait(READ)),
        (replace(SOON, before=Pair(C, D)), Wait(READ)),
        (replace(SOON, before=Pair(D, A), prepared=True), Wait(READ)),
        # The keys were rolled before the secret was written last.
        (replace(SOON, before=Pair(D, A)), Refuse("the keys were rolled a moment ago", READ)),
        (replace(OLD, before=Pair(D, A)), Roll(1)),
        # QStash is one roll ahead: what functions know as their next key signs already.
        (replace(OLD, theirs=Pair(B, C)), Complete()),
        (replace(SOON, theirs=Pair(B, C)), Complete()),
        # The secret holds something else.
        (replace(OLD, ours=None, written_at=datetime.fromtimestamp(0, UTC)), Prepare(locked_out=False)),
        (replace(OLD, ours=Pair(B, A)), Prepare(locked_out=False)),
        (replace(OLD, ours=Pair(A, D)), Prepare(locked_out=False)),
        (replace(OLD, ours=Pair(D, B)), Prepare(locked_out=False)),
        (replace(OLD, ours=Pair(C, D)), Prepare(locked_out=True)),
        # Rolled twice since it was written.
        (replace(OLD, theirs=Pair(C, D)), Prepare(locked_out=True)),
        # Somebody was about to roll this pair, or another.
        (
            replace(OLD, claim=Claim(Pair(A, B).claim_id(1), 1, OLD.now)),
            Refuse("somebody else is rolling them just now, or was when it ended", OLD.now + CLAIM),
        ),
        (replace(OLD, claim=Claim(Pair(A, B).claim_id(3), 3, OLD.now - CLAIM)), Roll(4)),
        (replace(OLD, claim=Claim(Pair(C, A).claim_id(1), 1, OLD.now)), Roll(1)),
    ],
)
def test_the_next_step(seen: Seen, step: Step) -> None:
    """From QStash's keys, the secret's versions, and AWS's clock alone."""
    assert decide(seen) == step


def test_nothing_is_rolled_unless_every_function_accepts_what_comes() -> None:
    """Whatever is seen, a roll follows only where all have had the time to read the pair whose next key will sign."""
    for now in (WRITTEN, SOON.now, READ, OLD.now):
        for ours in (None, Pair(A, B), Pair(B, A), Pair(B, C), Pair(D, A), Pair(C, D)):
            for before in (None, Pair(A, B), Pair(D, A)):
                for prepared in (False, True):
                    seen = Seen(Pair(A, B), ours, before, WRITTEN, prepared, None, now)
                    if isinstance(decide(seen), Roll):
                        assert ours == Pair(A, B)
                        assert now - WRITTEN > timedelta(seconds=TTL_SECONDS)


def test_a_claim_is_longer_than_its_use_and_shorter_than_patience() -> None:
    """The waits fit those of the functions."""
    assert timedelta(seconds=RESTED_SECONDS) < CLAIM < READ_WITHIN
    assert Pair(A, B).claim_id(1) != Pair(A, B).claim_id(2) != Pair(B, A).claim_id(2)


def test_the_plan_says_what_is_ahead() -> None:
    """For each step that goes on, all that follow; for a refusal nothing."""
    assert [len(plan(step)) for step in (Prepare(False), Wait(READ), Roll(1), Complete())] == [6, 5, 4, 3]
    assert plan(Refuse("", READ)) == []


def test_neither_keys_nor_claims_are_shown() -> None:
    """What is seen may end in a traceback."""
    shown = repr(replace(OLD, theirs=Pair("sig_hush", "sig_hush"), ours=Pair("sig_hush", "sig_hush")))
    assert "hush" not in shown
