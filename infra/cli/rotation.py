"""How the signing keys are rolled without a failed delivery: what is seen, and which step follows from it.

QStash signs with its current key, and a rotation makes the next key the current one and a fresh key the next. A function
accepts what either key of the secret signed, as it read it at most five minutes ago. So a rotation is safe once every
function holds QStash's present pair; after it they know the new current key as their next one, and the secret can be
written at leisure. A second rotation before they have read it anew would lock them out.

Nothing is remembered here between two steps: what to do follows from QStash's keys and from the secret's versions, so that
a rotation may end anywhere, and the next run goes on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from qstash_jobs.secrets import TTL_SECONDS

READ_WITHIN = timedelta(seconds=TTL_SECONDS + 30)
"""After this, every function that runs holds what was written: it reads a secret anew when it is five minutes old, and
what is under way then has ended with some to spare."""

SETTLE = timedelta(seconds=10)
"""Between the rotation and the writing, for deliveries under way that the old key signed: a function that reads its keys
for the first time just then must still find the old one."""

CLAIM = timedelta(minutes=2)
"""How long the one who is about to roll has the right to it. It is used within the first half, or given up."""


class Pair(NamedTuple):
    """A current and a next signing key."""

    current: str
    next: str

    def claim_id(self, turn: int) -> str:
        """The id of the version that claims the rotation of this pair; it tells nothing of the keys."""
        told = f"jobs rotate-keys\n{self.current}\n{self.next}\n{turn}"
        return str(UUID(bytes=hashlib.sha256(told.encode()).digest()[:16]))


@dataclass(frozen=True)
class Claim:
    """Somebody was about to roll."""

    id: str
    turn: int
    written_at: datetime


@dataclass(frozen=True)
class Seen:
    """QStash's keys and the secret's, at one moment."""

    theirs: Pair = field(repr=False)
    ours: Pair | None = field(repr=False)
    """None while the secret does not hold both."""
    before: Pair | None = field(repr=False)
    """What the secret held before."""
    written_at: datetime
    """When the secret was written last; any time will do when it is empty."""
    prepared: bool
    """Whether that was in order to roll."""
    claim: Claim | None
    now: datetime
    """By AWS's clock, as the others are."""


@dataclass(frozen=True)
class Prepare:
    """The secret does not hold QStash's pair: write it, and wait until it is read everywhere."""

    locked_out: bool
    """None of its keys is QStash's, so deliveries are refused until then."""


@dataclass(frozen=True)
class Wait:
    """Some function may not have read the present pair yet."""

    until: datetime


@dataclass(frozen=True)
class Roll:
    """Every function holds the present pair."""

    turn: int
    """Whose claim it is, from 1."""


@dataclass(frozen=True)
class Complete:
    """QStash has rolled, and the secret has still the pair of before: write it."""


@dataclass(frozen=True)
class Refuse:
    """Not now."""

    reason: str
    until: datetime


Step = Prepare | Wait | Roll | Complete | Refuse


def decide(seen: Seen) -> Step:
    """What to do next."""
    ours, theirs = seen.ours, seen.theirs
    if ours == theirs:
        due = seen.written_at + READ_WITHIN
        if seen.now < due:
            was_rolled = seen.before is not None and seen.before.next == theirs.current and not seen.prepared
            return Refuse("the keys were rolled a moment ago", due) if was_rolled else Wait(due)
        return _claimed(seen)
    if ours is not None and ours.next == theirs.current and ours.current != theirs.next:
        return Complete()
    return Prepare(locked_out=ours is not None and not set(ours) & set(theirs))


def _claimed(seen: Seen) -> Step:
    claim = seen.claim
    if claim is None or claim.id != seen.theirs.claim_id(claim.turn):  # of another pair: that rotation is over
        return Roll(1)
    until = claim.written_at + CLAIM
    if seen.now < until:
        return Refuse("somebody else is rolling them just now, or was when it ended", until)
    return Roll(claim.turn + 1)


def plan(step: Step) -> list[str]:
    """The steps from here to the end, for people. None when nothing would be done."""
    wait = f"wait until every function has read it ({round(READ_WITHIN.total_seconds())} s)"
    end = [
        f"wait {round(SETTLE.total_seconds())} s for deliveries under way",
        "write QStash's new pair into the secret",
        "ask QStash and Secrets Manager whether both have the same",
    ]
    match step:
        case Prepare():
            return ["write QStash's pair into the secret", wait, "roll the keys at QStash", *end]
        case Wait(until):
            return [
                f"wait until {until:%H:%M:%S} UTC, when every function has read it",
                "roll the keys at QStash",
                *end,
            ]
        case Roll():
            return ["roll the keys at QStash", *end]
        case Complete():
            return end
        case Refuse():
            return []
