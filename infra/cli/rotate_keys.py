"""`jobs rotate-keys`: roll QStash's signing keys without a failed delivery."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from infra.cli import rotation, secret_values, stages
from infra.cli.aws import account
from infra.cli.environment import written_settings
from infra.cli.rotation import Claim, Complete, Pair, Prepare, Refuse, Roll, Seen, Wait, decide, plan
from infra.cli.screen import console
from infra.cli.secret_store import PREVIOUS, SecretStore, Version
from infra.cli.secret_values import KEYS
from qstash_jobs.errors import PublishFailed

if TYPE_CHECKING:
    from qstash_jobs.qstash import QStash

SECRET = "signing-keys"  # noqa: S105
PREPARED = "jobs-prepared"
CLAIMED = "jobs-roll"
NEVER = datetime.fromtimestamp(0, UTC)


class RotationStopped(Exception):
    """The keys were not rolled, or it is not known; the message says how things stand, and what to do."""


def rotate_keys(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Roll QStash's signing keys without a failed delivery: the old current key is void afterwards.

    It waits until every function has read the keys of now, rolls them at QStash, and writes the new ones. It may be
    stopped at any moment: run it again, and it goes on. It refuses while a roll would lock the functions out.

    [dim]jobs rotate-keys --stage prod --dry-run[/]   ·   [dim]jobs rotate-keys --stage prod[/]
    """
    stage = stages.required()
    if not (dry_run or yes or sys.stdin.isatty()):
        raise typer.BadParameter("there is no terminal to ask at; say --yes", param_hint="stdin")
    from qstash_jobs.qstash import QStash
    from qstash_jobs.settings import Settings

    with account() as aws:
        store = SecretStore(aws, stage)
        written = written_settings(stage, aws)
        token = store.read("qstash-token")
        if token is None or token.missing("qstash-token"):
            raise RotationStopped(
                f"the secret {stage.secret('qstash-token')} is empty, so QStash cannot be asked; fill it with: "
                f"jobs secrets put --stage {stage.name} qstash-token"
            )
        settings = Settings.read({**written, "QSTASH_TOKEN": str(token.value("QSTASH_TOKEN"))})
        url = settings.qstash_url
        qstash = QStash(lambda: settings.secret("QSTASH_TOKEN"), url, secret_values.PATIENCE)
        run = Rotation(qstash, store)
        try:
            _show(run, stage.prefix, url)
            if dry_run:
                return
            if not yes:
                typer.confirm(f"Roll the signing keys of {stage.name}?", abort=True)
            run.run()
        except KeyboardInterrupt:
            console.print(
                f"\nStopped; deliveries go on. To go on here:  jobs rotate-keys --stage {stage.name}", soft_wrap=True
            )
            raise typer.Exit(130) from None
        finally:
            qstash.close()
    console.print(
        f"Done. The key before is void everywhere within {_minutes(rotation.READ_WITHIN)}, and the keys can be rolled again then. "
        f"See that all is well:  jobs doctor --stage {stage.name}"
    )


def _show(run: Rotation, prefix: str, url: str) -> None:
    """How things stand, and what is going to be done. Raises `RotationStopped` when nothing is."""
    seen = run.see()
    step = decide(seen)
    if isinstance(step, Refuse):
        raise RotationStopped(_refusal(step))
    console.print(_standing(seen, step))
    for number, line in enumerate(plan(step), start=1):
        console.print(f"  {number}. {line}", markup=False)
    for other in run.others(prefix):
        console.print(
            f"[yellow]The account at {url} also has schedules of {other}, which has the same keys. After the roll it "
            f"works on, with what is its next key; write the new pair there too, before the next one.[/]"
        )


def _standing(seen: Seen, step: Prepare | Wait | Roll | Complete) -> str:
    match step:
        case Prepare(locked_out=True):
            return "[bold red]None of the secret's keys is QStash's: deliveries are refused just now.[/]"
        case Prepare():
            return "The secret does not hold QStash's pair."
        case Complete():
            return "QStash has rolled its keys already, and the secret does not hold the new pair yet."
        case Wait():
            return f"The secret holds QStash's pair, since {seen.written_at:%H:%M:%S} UTC."
        case Roll():
            return f"The secret holds QStash's pair, since {seen.written_at:%Y-%m-%d %H:%M} UTC."


def _refusal(step: Refuse) -> str:
    return (
        f"{step.reason}. A second roll before all functions have read the new keys would lock them out; "
        f"run it again from {step.until:%H:%M:%S} UTC"
    )


def _minutes(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 60:.1f} minutes"


class Rotation:
    """One run. `wait` returns once so much time has passed; `say` tells people."""

    def __init__(
        self,
        qstash: QStash,
        store: SecretStore,
        *,
        wait: Callable[[timedelta, str], None] | None = None,
        say: Callable[[str], None] = console.print,
    ) -> None:
        self._qstash = qstash
        self._store = store
        self._wait = wait or _wait
        self._say = say

    def see(self) -> Seen:
        """How things stand. Raises `AwsFailed` and `PublishFailed`."""
        theirs = Pair(*self._qstash.signing_keys())
        current = self._store.read(SECRET)
        return Seen(
            theirs=theirs,
            ours=_pair(current),
            before=_pair(self._store.read(SECRET, PREVIOUS)),
            written_at=current.written_at if current else NEVER,
            prepared=current is not None and PREPARED in current.labels,
            claim=_claim(self._store.read(SECRET, CLAIMED)),
            now=current.asked_at if current else NEVER,
        )

    def others(self, prefix: str) -> list[str]:
        """Whose schedules are in this QStash account besides ours. Raises `PublishFailed`."""
        return sorted({one.id.partition(".")[0] for one in self._qstash.schedules() if "." in one.id} - {prefix})

    def run(self) -> None:
        """To the end. Raises `RotationStopped`, `AwsFailed` and `PublishFailed`."""
        settled = False
        while True:
            seen = self.see()
            match decide(seen):
                case Prepare():
                    self._write(seen, label=PREPARED)
                    self._say("Written: QStash's pair.")
                case Wait(until):
                    self._wait(until - seen.now, "until every function has read the keys")
                case Roll(turn):
                    self._roll(seen.theirs, turn)
                    self._say("Rolled at QStash.")
                case Complete() if not settled:
                    self._wait(rotation.SETTLE, "for deliveries under way")
                    settled = True
                case Complete():
                    self._write(seen)
                    self._say("Written: the new pair.")
                    self._verify()
                    return
                case Refuse() as refusal:
                    raise RotationStopped(_refusal(refusal))

    def _roll(self, pair: Pair, turn: int) -> None:
        """Only one of several who have seen the same may: two rolls would lock the functions out."""
        began = time.monotonic()
        claim = {"turn": turn, "by": str(uuid4())}
        if not self._store.claim(SECRET, pair.claim_id(turn), claim, label=CLAIMED):
            raise RotationStopped("somebody else is rolling the keys just now; look again in a few minutes")
        if self.see().theirs != pair:
            return  # somebody who had claimed it before has done it meanwhile
        if time.monotonic() - began > rotation.CLAIM.total_seconds() / 2:
            raise RotationStopped("AWS or QStash took too long to answer, so nothing was rolled; run it again")
        try:
            self._qstash.rotate_signing_keys()
        except PublishFailed as error:
            if error.status is not None and error.status < 500:
                raise
            raise RotationStopped(
                f"it is not known whether QStash has rolled the keys ({error}). Functions accept both, so deliveries go "
                f"on. Run it again in {_minutes(rotation.CLAIM)}: it sees what was done, and goes on from there"
            ) from None

    def _write(self, seen: Seen, *, label: str | None = None) -> None:
        current = self._store.read(SECRET)
        held: Mapping[str, Any] = current.held if current else {}
        self._store.write(SECRET, {**held, **dict(zip(KEYS, seen.theirs, strict=True))}, label=label)

    def _verify(self) -> None:
        seen = self.see()
        if seen.ours != seen.theirs:
            raise RotationStopped(
                "the secret was written, and QStash has other keys now: somebody else rolls them too. Run it again at "
                "once, so that the secret holds what QStash has"
            )


def _pair(version: Version | None) -> Pair | None:
    if version is None or version.missing(SECRET):
        return None
    return Pair(*(str(version.held[name]) for name in KEYS))


def _claim(version: Version | None) -> Claim | None:
    if version is None or not isinstance(turn := version.held.get("turn"), int):
        return None
    return Claim(version.id, turn, version.written_at)


def _wait(duration: timedelta, why: str) -> None:
    """With a bar, where there is a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    seconds = max(0.0, duration.total_seconds())
    until = time.monotonic() + seconds
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    if not console.is_terminal:
        console.print(f"Waiting {seconds:.0f} s {why} …")
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"Waiting {why}", total=seconds)
        while (left := until - time.monotonic()) > 0:
            progress.update(bar, completed=seconds - left)
            time.sleep(min(0.5, left))
