"""`python -m tests.benchmarks [NAME …]`: measure, print the table, write `build/benchmarks.json`.

Those that take minutes run only when they are named: `make bench ARGS=cleanup`.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from infra.cli.screen import console, errors, show, table
from infra.local.desk import Desk, Ports
from infra.local.service import ROOT
from tests.benchmarks import cleanup, exports, floors, qstash, runtime, synth, webhooks
from tests.benchmarks.measure import Result, at_least, compare, compare_reported, exactly

IMPORT_FLOOR = (
    "from aws_lambda_powertools import Logger, Metrics; from pydantic import BaseModel; import jwt, pg8000.dbapi"
)


def main() -> None:
    """Run what was named, or all that does not take minutes."""
    wanted = sys.argv[1:] or list(BENCHMARKS)
    chosen = {name: run for name, run in (BENCHMARKS | OF_MINUTES).items() if name in wanted}
    unknown = set(wanted) - set(chosen)
    if unknown:
        sys.exit(f"there is no benchmark {sorted(unknown)[0]!r}; there are {', '.join(BENCHMARKS | OF_MINUTES)}")
    logging.getLogger("qstash_jobs").setLevel(logging.ERROR)
    results: list[Result] = []
    with _desk() as desk, errors.status("") as progress, contextlib.redirect_stdout(io.StringIO()):  # functions log
        os.environ.update(desk.environment)
        for name, run in chosen.items():
            progress.update(f"Measuring {name} …")
            results.extend(run(desk))
    made = table("what", "ours", "floor", "ratio", "target", "")
    for one in results:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f} ×"
        floor = "" if one.floor is None else f"{one.floor:g} {one.unit}"
        mark = "[green]ok[/]" if one.ok else "[bold red]missed[/]"
        made.add_row(one.name, f"{one.value:g} {one.unit}", floor, ratio, one.target, mark)
    show(made)
    report = ROOT / "build" / "benchmarks.json"
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps([one.as_dict() for one in results], indent=2, ensure_ascii=False) + "\n")
    console.print(f"written to {report.relative_to(ROOT)}")
    sys.exit(0 if all(one.ok for one in results) else 1)


@contextlib.contextmanager
def _desk() -> Iterator[Desk]:
    folder = Path(tempfile.mkdtemp(prefix="jobs-bench-"))
    desk = Desk(folder, ports=Ports(0, 0, 0, 0), environments=2)
    try:
        with desk:
            yield desk
    finally:
        if desk.postgres is not None:
            desk.postgres.remove()
        shutil.rmtree(folder, ignore_errors=True)


def worker(desk: Desk) -> Iterator[Result]:
    """One delivery, from the event to the answer, with an empty handler."""
    from qstash_jobs.dispatch import enqueue_many
    from qstash_jobs.jobs.probe import Probe
    from qstash_jobs.serving import serve
    from qstash_jobs.settings import settings
    from qstash_jobs.testing import Context, signed_event

    url, key = settings().url("probe"), settings().signing_keys[0]
    handler = serve(Probe, lambda _payload, _run: None)
    bare = floors.connect(desk.environment["DATABASE_URL"])
    rounds, repeats = 30, 20
    jobs = enqueue_many([Probe() for _ in range((rounds + 1) * repeats * 2)], publish="relay")
    events = iter([signed_event(Probe(), job_id=job.job_id, by_reference=True) for job in jobs])
    context = Context(timedelta(hours=1))
    yield compare(
        "worker: one delivery",
        lambda: handler(next(events), context),
        lambda: floors.deliver(bare, next(events), key, url),
        at_most=1.5,
        rounds=rounds,
        repeats=repeats,
    )


def enqueueing(desk: Desk) -> Iterator[Result]:
    """One call of `enqueue`, with QStash's answer."""
    import httpx

    from qstash_jobs.dispatch import enqueue, new_execution
    from qstash_jobs.jobs.probe import Probe

    later = timedelta(days=1)  # so that nothing is delivered meanwhile
    bare = floors.connect(desk.environment["DATABASE_URL"])
    headers = {
        "Authorization": f"Bearer {desk.environment['QSTASH_TOKEN']}",
        "Content-Type": "application/json",
        "Upstash-Delay": "86400s",
        "Upstash-Retries": "4",
        "Upstash-Label": "probe",
        "Upstash-Flow-Control-Key": "probe",
        "Upstash-Flow-Control-Value": "parallelism=10",
    }
    url = f"{desk.environment['JOBS_BASE_URL']}/probe"
    with httpx.Client(base_url=desk.environment["QSTASH_URL"], headers=headers) as client:
        yield compare(
            "enqueue: row, message, confirmation",
            lambda: enqueue(Probe(), delay=later),
            lambda: floors.enqueue(bare, client, new_execution(Probe(), {"delay": later}), url, {}),
            at_most=1.5,
        )


def bulk(desk: Desk) -> Iterator[Result]:
    """The database's part of `enqueue_many`."""
    from qstash_jobs.dispatch import enqueue_many
    from qstash_jobs.jobs.probe import Probe

    rates = []
    for _ in range(5):
        jobs = [Probe() for _ in range(10_000)]
        began = time.perf_counter()
        enqueue_many(jobs, publish="relay", delay=timedelta(days=300))
        rates.append(10_000 / (time.perf_counter() - began))
    yield at_least("enqueue_many: rows of 10,000", sorted(rates)[2], 10_000)


def imports(_desk: Desk) -> Iterator[Result]:
    """Each function's handler in a fresh process, with hash-based bytecode as the layer has it."""
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder)
        shutil.copytree(ROOT / "shared", staged, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "functions", staged / "functions", ignore=shutil.ignore_patterns("__pycache__"))
        compiled = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(staged)]
        subprocess.run(compiled, check=True)
        for function in sorted(path.parent.name for path in (ROOT / "functions").glob("*/handler.py")):
            yield compare_reported(
                f"import: {function}",
                _fresh(f"import functions.{function}.handler", staged),
                _fresh(IMPORT_FLOOR, staged),
                at_most=1.2,
                rounds=21,
            )


def _fresh(code: str, path: Path) -> Callable[[], float]:
    """The import alone, in ms: what the interpreter takes to start counts for neither."""
    timed = f"import time; t = time.perf_counter(); {code}; print((time.perf_counter() - t) * 1000)"
    environment = {"PYTHONPATH": str(path), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}

    def run() -> float:
        command = [sys.executable, "-P", "-c", timed]
        return float(subprocess.run(command, check=True, env=environment, cwd=path, capture_output=True).stdout)

    return run


def whole_way(desk: Desk) -> Iterator[Result]:
    """Jobs from `enqueue_many` to their completion, over real HTTP with real signatures."""
    from qstash_jobs.database import database
    from qstash_jobs.dispatch import enqueue_many
    from qstash_jobs.jobs.probe import Probe

    def drain(count: int) -> float:
        began = time.perf_counter()
        ids = [one.job_id for one in enqueue_many([Probe() for _ in range(count)])]
        listed = ", ".join(f"'{job_id}'" for job_id in ids)
        while database().run_pooled(
            f"SELECT 1 FROM job_executions WHERE job_id IN ({listed}) AND status <> 'completed' LIMIT 1"
        ):
            time.sleep(0.02)
        return count / (time.perf_counter() - began)

    drain(200)
    yield at_least("whole way: jobs", sorted(drain(1500) for _ in range(3))[1], 300)


def round_trips(desk: Desk) -> Iterator[Result]:
    """Network round trips to Postgres for one execution."""
    from tests.integration.serving.turns import count_turns

    yield exactly("round trips per execution", count_turns(desk.environment["DATABASE_URL"]), 2)


BENCHMARKS: dict[str, Callable[[Desk], Iterator[Result]]] = {
    "round_trips": round_trips,
    "worker": worker,
    "enqueue": enqueueing,
    "bulk": bulk,
    "imports": imports,
    "whole_way": whole_way,
    "exports": exports.exports,
    "webhooks": webhooks.ingress,
    "runtime": runtime.runtime,
    "synth": synth.synth,
    "qstash_throughput": qstash.throughput,
    "qstash_pending": qstash.pending,
    "qstash_idle": qstash.idle,
    "qstash_start": qstash.start,
}

OF_MINUTES: dict[str, Callable[[Desk], Iterator[Result]]] = {"cleanup": cleanup.deletions}

if __name__ == "__main__":
    main()
