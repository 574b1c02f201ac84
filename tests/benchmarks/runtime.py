"""The built packages on Lambda's runtime, emulated: what a cold start and a warm delivery take, against a hand-written
handler with the same libraries in the same runtime."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

from infra.build.artifacts import Artifacts
from infra.build.builder import build
from infra.build.bytecode import compile_below
from infra.build.platform import this_machine
from infra.local.desk import Desk
from infra.local.service import ROOT
from qstash_jobs.dispatch import enqueue_many
from qstash_jobs.job import Job
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.jobs.send_email import WelcomeData
from qstash_jobs.testing import signed_event
from tests.benchmarks.measure import Result, at_most, compare_reported
from tests.runtime.emulator import emulator
from tests.runtime.environment import Place, RuntimeEnvironment
from tests.runtime.stage import DeployedStage
from tests.runtime.unpacked import Unpacked, write_protect

COLD_ROUNDS = 15
WARM_ROUNDS = 20
WARM_REPEATS = 20
FLOOR = Path(__file__).parent / "lambda_floor.py"
EMPTY = """
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.serving import serve

handler = serve(Probe, lambda _payload, _run: None)
"""
"""The probe's own handler reports progress, which is a statement more."""


def runtime(desk: Desk) -> Iterator[Result]:
    """Figures, and ratios."""
    architecture = this_machine()
    folder = ROOT / "build" / "tests" / architecture
    build(ROOT, architecture=architecture, into=folder)
    artifacts = Artifacts.of(ROOT, folder)
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = Unpacked(artifacts, Path(scratch))
        place = Place(
            emulator=emulator(artifacts.architecture), task=unpacked.opt, opt=unpacked.opt, runtime=unpacked.runtime
        )
        stage = DeployedStage(
            place, unpacked, desk.environment["DATABASE_URL"], desk.environment["AWS_ENDPOINT_URL_S3"]
        )
        try:
            yield from _measure(stage, _floor(unpacked, Path(scratch) / "floor"))
        finally:
            stage.stop()


def _floor(unpacked: Unpacked, folder: Path) -> Path:
    """An asset with the hand-written handlers, and an empty one of ours, beside the packages of `send_email`."""
    task = unpacked.tasks["send_email"]
    subprocess.run(["cp", "-r", f"{task}/.", str(folder)], check=True)
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
    (folder / "floor.py").write_text(FLOOR.read_text())
    (folder / "empty.py").write_text(EMPTY)
    compile_below(folder, "/var/task")
    write_protect(folder)
    return folder


def _measure(stage: DeployedStage, floor: Path) -> Iterator[Result]:
    mail = WelcomeData(recipient_name="Ada").addressed("ada@example.com")
    mails = _deliveries(stage, mail, 2 * COLD_ROUNDS + 2)
    probes = _deliveries(stage, Probe(), 2 * (WARM_ROUNDS * WARM_REPEATS + 20))
    ours = _cold(lambda: stage.start("send-email"), mails)
    theirs = _cold(lambda: stage.start("send-email", task=floor, handler="floor.send_email"), mails)
    ours(), theirs()  # what the first reads from the disk, the others find in memory
    cold = compare_reported("lambda: cold start of send-email", ours, theirs, at_most=1.2, rounds=COLD_ROUNDS)
    yield cold
    yield at_most("lambda: cold start of send-email, alone", cold.value, 900, "ms")
    served, hand_written = (
        stage.start("probe", task=floor, handler=handler) for handler in ("empty.handler", "floor.probe")
    )
    try:
        for _ in range(10):
            _deliver(served, probes), _deliver(hand_written, probes)
        warm = compare_reported(
            "lambda: a warm delivery",
            lambda: statistics.median(_deliver(served, probes) for _ in range(WARM_REPEATS)),
            lambda: statistics.median(_deliver(hand_written, probes) for _ in range(WARM_REPEATS)),
            at_most=1.2,
            rounds=WARM_ROUNDS,
        )
        yield warm
        yield at_most("lambda: a warm delivery, alone", warm.value, 5, "ms")
    finally:
        served.stop()
        hand_written.stop()


def _deliveries(stage: DeployedStage, job: Job, count: int) -> Iterator[bytes]:
    """Deliveries of jobs that wait for them, each once."""
    url, key = stage.address(job.options.name), stage.values["QSTASH_CURRENT_SIGNING_KEY"]
    ids: list[UUID] = [one.job_id for one in enqueue_many([job] * count, publish="relay")]
    for job_id in ids:
        event = signed_event(job, job_id=job_id, by_reference=True, url=url, key=key)
        yield json.dumps(event).encode()


def _cold(start: Callable[[], RuntimeEnvironment], events: Iterator[bytes]) -> Callable[[], float]:
    """The first delivery to a new environment, in ms: the runtime starts, imports, reads secrets, connects, and works."""

    def run() -> float:
        environment = start()
        try:
            return _deliver(environment, events)
        finally:
            environment.stop()

    return run


def _deliver(environment: RuntimeEnvironment, events: Iterator[bytes]) -> float:
    event = next(events)
    began = time.perf_counter()
    result = json.loads(environment.invoke(event))
    took = (time.perf_counter() - began) * 1000
    if result["statusCode"] != 200:
        raise RuntimeError(f"{environment.name} answered {result}:\n{environment.log}")
    return took
