"""`jobs rotate-keys`: while QStash delivers without a pause, whatever dies in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from infra.cli import rotation
from infra.cli.aws import Account, account
from infra.cli.rotate_keys import Rotation, RotationStopped
from infra.cli.rotation import Pair
from infra.cli.secret_store import SecretStore
from infra.cli.secret_values import KEYS
from infra.local.qstash import QStashServer
from qstash_jobs import secrets
from qstash_jobs.errors import PublishFailed
from qstash_jobs.qstash import Message, QStash
from tests.conftest import forget
from tests.integration.cli.cloud import REGION, STAGE, Cloud
from tests.integration.cli.conftest import Jobs
from tests.integration.cli.worker import Worker
from tests.waiting import until

TTL = 1.0
"""In the place of five minutes; moto's times are whole seconds."""

TOKEN = "a-token-of-the-stage"


@dataclass
class System:
    """A stage at work: QStash delivers a job every few milliseconds, and no delivery has a second try."""

    cloud: Cloud
    server: QStashServer
    worker: Worker
    qstash: QStash
    sent: int = 0

    def publish(self) -> None:
        body = {"jobId": str(uuid4()), "type": "probe", "payload": {}}
        self.qstash.publish(
            Message(
                url=f"{self.worker.url}/probe",
                body=json.dumps(body),
                retries=0,
                timeout=timedelta(seconds=20),
                label="probe",
                flow_control={"key": "probe", "parallelism": 1},  # none waits for another, signed already
            )
        )
        self.sent += 1

    @property
    def theirs(self) -> Pair:
        return Pair(*self.qstash.signing_keys())

    @property
    def ours(self) -> Pair | None:
        held = self.cloud.held("signing-keys")
        return Pair(held[KEYS[0]], held[KEYS[1]]) if held else None

    def rotation(self, account: Account, **more: Any) -> Rotation:
        return Rotation(self.qstash, SecretStore(account, STAGE), say=lambda _: None, **more)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """All waits shorter; what is under way gets more than its proportion, for a busy machine is no faster then."""
    monkeypatch.setattr(secrets, "TTL_SECONDS", TTL)
    monkeypatch.setattr(rotation, "READ_WITHIN", timedelta(seconds=TTL + 1.5))
    monkeypatch.setattr(rotation, "SETTLE", timedelta(seconds=1))
    monkeypatch.setattr(rotation, "CLAIM", timedelta(seconds=2))


@pytest.fixture
def system(cloud: Cloud, brief: None, database_url: str) -> Iterator[System]:
    """Its secret holds QStash's keys, written just now."""
    with QStashServer(token=TOKEN) as server, Worker() as worker:
        keys = (server.current_signing_key, server.next_signing_key)
        cloud.fill("signing-keys", dict(zip(KEYS, keys, strict=True)))
        cloud.fill("qstash-token", {"QSTASH_TOKEN": TOKEN})
        cloud.deploy(QSTASH_URL=server.url)
        arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:{STAGE.secret('signing-keys')}"
        with pytest.MonkeyPatch.context() as environment:
            for name, value in {
                "DATABASE_URL": database_url,
                "JOBS_BASE_URL": worker.url,
                KEYS[0]: arn,
                KEYS[1]: arn,
            }.items():
                environment.setenv(name, value)
            forget()
            qstash = QStash(lambda: TOKEN, server.url, timedelta(seconds=10))
            yield System(cloud, server, worker, qstash)
            qstash.close()
            forget()


@pytest.fixture
def traffic(system: System) -> Iterator[Callable[[], None]]:
    """Deliveries from now on; calling it ends them, and says that not one was refused."""
    ended = threading.Event()

    def publish() -> None:
        while not ended.wait(0.03):
            system.publish()

    thread = threading.Thread(target=publish)
    thread.start()
    until(lambda: system.worker.answers)

    def end() -> None:
        for _ in range(2):  # also what the last step has changed
            seen = len(system.worker.answers)
            until(lambda seen=seen: len(system.worker.answers) > seen + 10)  # type: ignore[misc]
        ended.set()
        thread.join()
        until(lambda: len(system.worker.answers) == system.sent)
        assert set(system.worker.answers) == {200}

    yield end
    ended.set()
    thread.join()


def test_a_rotation_under_traffic(system: System, traffic: Callable[[], None], jobs: Jobs) -> None:
    """The whole command: QStash has new keys, the secret has the same, and no delivery was refused."""
    before = system.theirs
    done = jobs("rotate-keys", "--stage", "prod", "--yes")
    assert done.code == 0, done
    assert system.ours == system.theirs
    assert system.theirs.current == before.next
    assert before.current not in system.theirs
    traffic()
    for key in (*before, *system.theirs, TOKEN):
        assert key not in done.out + done.err


def test_again_at_once_is_refused(system: System, traffic: Callable[[], None], jobs: Jobs) -> None:
    """Functions may still hold the pair of before; once they cannot any more, it is done."""
    assert jobs("rotate-keys", "--stage", "prod", "--yes").code == 0
    rolled = system.theirs
    again = jobs("rotate-keys", "--stage", "prod", "--yes")
    assert (again.code, "lock them out" in again.sentence) == (1, True), again
    assert system.theirs == rolled
    with account() as aws:
        until(lambda: isinstance(rotation.decide(system.rotation(aws).see()), rotation.Roll))
    assert jobs("rotate-keys", "--stage", "prod", "--yes").code == 0
    assert system.theirs.current == rolled.next
    traffic()


def test_a_dry_run_changes_nothing(system: System, jobs: Jobs) -> None:
    """It says what would be done, from where things stand."""
    before = (system.theirs, system.ours)
    done = jobs("rotate-keys", "--stage", "prod", "--dry-run")
    assert done.code == 0
    assert "roll the keys at QStash" in done.out
    assert (system.theirs, system.ours) == before
    system.qstash.rotate_signing_keys()
    assert "has rolled its keys already" in jobs("rotate-keys", "--stage", "prod", "--dry-run").out
    system.qstash.rotate_signing_keys()
    assert "deliveries are refused just now" in jobs("rotate-keys", "--stage", "prod", "--dry-run").out


def test_a_token_with_a_line_break(system: System, jobs: Jobs) -> None:
    """One at its end does no harm; one within is named by its setting, without the token."""
    system.cloud.fill("qstash-token", f"{TOKEN}\n")
    assert jobs("rotate-keys", "--stage", "prod", "--dry-run").code == 0
    system.cloud.fill("qstash-token", "hush\nhush")
    done = jobs("rotate-keys", "--stage", "prod", "--dry-run")
    assert (done.code, "QSTASH_TOKEN: it is one word" in done.sentence) == (1, True), done
    assert "hush" not in done.out + done.err


def test_a_roll_in_the_console_is_completed(system: System, traffic: Callable[[], None], jobs: Jobs) -> None:
    """QStash is one roll ahead: the secret follows, and nothing is rolled a second time."""
    system.qstash.rotate_signing_keys()
    ahead = system.theirs
    assert jobs("rotate-keys", "--stage", "prod", "--yes").code == 0
    assert system.theirs == system.ours == ahead
    traffic()


def test_a_secret_with_other_keys_is_written_first(system: System, jobs: Jobs) -> None:
    """What was filled in wrongly is mended, waited for, and then rolled."""
    system.cloud.fill("signing-keys", {KEYS[0]: "sig_" + "x" * 28, "note": "of ours"})
    before = system.theirs
    assert jobs("rotate-keys", "--stage", "prod", "--yes").code == 0
    assert system.theirs == system.ours
    assert system.theirs.current == before.next
    assert (system.cloud.held("signing-keys") or {})["note"] == "of ours"


class Killed(BaseException):
    """The process is gone."""


def dying(what: object, names: tuple[str, ...], fuse: Iterator[bool]) -> None:
    """Let methods of an object end the process before they do anything, or after they did it, when the fuse says so."""
    for name in names:
        whole = getattr(what, name)

        def dies(*arguments: Any, _whole: Callable[..., Any] = whole, **options: Any) -> Any:
            if next(fuse):
                raise Killed
            answer = _whole(*arguments, **options)
            if next(fuse):
                raise Killed
            return answer

        setattr(what, name, dies)


@pytest.mark.parametrize("moment", range(8))
def test_killed_between_two_steps(system: System, traffic: Callable[[], None], moment: int) -> None:
    """Before and after each thing that is changed (the preparing write, the claim, the roll, the last write), and in the
    waits between: deliveries go on, and the next run ends with both in step, rolled exactly once."""
    held = system.cloud.held("signing-keys") or {}
    system.cloud.fill("signing-keys", {KEYS[0]: held[KEYS[1]], KEYS[1]: held[KEYS[0]]})  # the wrong way round
    before = system.theirs
    fuse = iter([count == moment for count in range(8)])
    with account() as aws:
        store = SecretStore(aws, STAGE)
        qstash = QStash(lambda: TOKEN, system.server.url, timedelta(seconds=10))
        dying(store, ("write", "claim"), fuse)
        dying(qstash, ("rotate_signing_keys",), fuse)
        with pytest.raises(Killed):
            Rotation(qstash, store, say=lambda _: None).run()
        qstash.close()
        while True:
            try:
                system.rotation(aws).run()
                break
            except RotationStopped as stopped:  # the dead one's claim, or its roll, is still too young
                if "were rolled a moment ago" in str(stopped):
                    break
                until(lambda: not isinstance(rotation.decide(system.rotation(aws).see()), rotation.Refuse))
    assert system.theirs == system.ours
    assert system.theirs.current == before.next
    traffic()


def test_of_two_at_once_one_rolls(system: System, traffic: Callable[[], None]) -> None:
    """Both see that it is time; two rolls would lock everybody out."""
    before = system.theirs
    both_have_seen = threading.Barrier(2)
    said: list[str] = []

    class Together(SecretStore):
        def claim(self, *arguments: Any, **options: Any) -> bool:
            both_have_seen.wait(30)
            return super().claim(*arguments, **options)

    def run() -> None:
        with account() as aws:
            try:
                Rotation(system.qstash, Together(aws, STAGE), say=lambda _: None).run()
                said.append("done")
            except RotationStopped as error:
                said.append(str(error))

    with account() as aws:
        until(lambda: isinstance(rotation.decide(system.rotation(aws).see()), rotation.Roll))
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.split()[0] for one in said) == ["done", "somebody"]
    assert system.theirs == system.ours
    assert system.theirs.current == before.next
    traffic()


def test_a_roll_without_an_answer(system: System, traffic: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """QStash did it, and the answer was lost: nobody rolls again before that is known, and the next run completes it."""
    roll, before = system.qstash.rotate_signing_keys, system.theirs

    def lost() -> tuple[str, str]:
        roll()
        raise PublishFailed("QStash did not answer: ReadTimeout")

    monkeypatch.setattr(system.qstash, "rotate_signing_keys", lost)
    with account() as aws:
        with pytest.raises(RotationStopped, match="it is not known whether"):
            system.rotation(aws).run()
        system.rotation(aws).run()
    assert system.theirs == system.ours
    assert system.theirs.current == before.next
    traffic()


def test_ctrl_c_says_how_to_go_on(system: System, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the wait, which is where people press it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("infra.cli.rotate_keys._wait", interrupted)
    done = jobs("rotate-keys", "--stage", "prod", "--yes")
    assert done.code == 130
    assert "jobs rotate-keys --stage prod" in done.out


def test_what_is_missing_is_said(system: System, jobs: Jobs) -> None:
    """No stage, nothing deployed, no token, a token that QStash refuses, nobody to ask."""
    assert "--stage" in jobs("rotate-keys").sentence
    assert "say --yes" in jobs("rotate-keys", "--stage", "prod").sentence
    assert "nothing is deployed as stage staging" in jobs("rotate-keys", "--stage", "staging", "--yes").sentence
    system.cloud.fill("qstash-token", {"QSTASH_TOKEN": "another-token-than-qstash-knows"})
    assert "401" in jobs("rotate-keys", "--stage", "prod", "--yes").sentence
    system.cloud.fill("qstash-token", {"QSTASH_TOKEN": ""})
    assert "jobs secrets put --stage prod qstash-token" in jobs("rotate-keys", "--stage", "prod", "--yes").sentence


def test_another_stage_in_the_same_account_is_named(system: System, jobs: Jobs) -> None:
    """It has the same keys, and its secret wants the new pair too."""
    message = Message(
        url=f"{system.worker.url}/probe",
        body="{}",
        retries=0,
        timeout=timedelta(seconds=20),
        label="probe",
        flow_control={"key": "probe", "parallelism": 1},  # none waits for another, signed already
    )
    for name in ("jobs-prod.reconcile-jobs", "jobs-staging.reconcile-jobs"):
        system.qstash.put_schedule(name, "0 0 1 1 *", message)
    done = jobs("rotate-keys", "--stage", "prod", "--dry-run")
    assert "schedules of jobs-staging," in done.out
