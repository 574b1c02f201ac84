"""The local QStash server, as a process of its own on a database file: how fast it is, and what it costs.

Its processor time and its memory are read from /proc; where there is none, those lines are left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from infra.local.desk import Desk
from infra.local.qstash.settings import DEVELOPMENT_TOKEN
from infra.local.service import ROOT
from tests.benchmarks.measure import Result, at_least, at_most, compare_reported

NOWHERE = "http://127.0.0.1:9/probe"
ROUNDS = 5
MESSAGES = 3_000
PENDING = 100_000
LATER_SECONDS = 86_400
IDLE_SECONDS = 10
PROC = Path("/proc")

SERVE = [sys.executable, "-m", "infra.local.qstash", "--port", "0"]
LOAD = [sys.executable, "-m", "tests.benchmarks.load"]


class Span(NamedTuple):
    """A time that something took, in unix seconds."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Server:
    """A server that has answered; `started_seconds` is what it took from the start of the process."""

    def __init__(self, folder: Path) -> None:
        began = time.perf_counter()
        command = [*SERVE, "--database", str(folder / "qstash.db")]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = next(line.split()[-1] for line in self._process.stdout if "running at" in line)
        headers = {"Authorization": f"Bearer {DEVELOPMENT_TOKEN}"}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=60)
        self.http.get("/v2/keys").raise_for_status()
        self.started_seconds = time.perf_counter() - began

    def close(self) -> None:
        self.http.close()
        self._process.terminate()
        self._process.communicate()

    @property
    def cpu_seconds(self) -> float:
        """Processor time since it was started, in its own code and in the system's on its behalf."""
        fields = (PROC / str(self._process.pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_megabytes(self) -> float:
        fields = (PROC / str(self._process.pid) / "statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def publish(self, count: int, destination: str = NOWHERE, *, delay_seconds: int = 0) -> Span:
        """Publish so many messages from another process."""
        command = [*LOAD, "publish", self.url, DEVELOPMENT_TOKEN, str(count), destination]
        done = subprocess.run(
            [*command, f"Upstash-Delay={delay_seconds}s"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return Span(*map(float, done.stdout.split()))

    def fill(self, count: int, delay_seconds: int) -> None:
        """Take in so many messages like those of `enqueue_many`."""
        for first in range(0, count, 1_000):
            entries = [_entry(number, delay_seconds) for number in range(first, first + 1_000)]
            answers = self.http.post("/v2/batch", json=entries).raise_for_status().json()
            assert all("messageId" in answer for answer in answers)

    def advance(self, seconds: float) -> None:
        self.http.post("/admin/advance", params={"seconds": seconds}).raise_for_status()

    def delivered(self) -> int:
        """How many deliveries are recorded."""
        total, cursor = 0, ""
        while True:
            page = self.http.get("/v2/events", params={"state": "DELIVERED", "cursor": cursor}).json()
            total, cursor = total + len(page["events"]), page.get("cursor", "")
            if not cursor:
                return total


def _entry(number: int, delay_seconds: int) -> dict[str, object]:
    job_id = f"00000000-0000-0000-0000-{number:012}"
    headers = {
        "Content-Type": "application/json",
        "Upstash-Delay": f"{delay_seconds}s",
        "Upstash-Retries": "4",
        "Upstash-Label": "probe",
        "Upstash-Flow-Control-Key": "probe",
        "Upstash-Flow-Control-Value": "parallelism=10",
        "Upstash-Deduplication-Id": job_id,
    }
    return {"destination": NOWHERE, "headers": headers, "body": json.dumps({"jobId": job_id, "type": "probe"})}


class Receiver:
    """A destination in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [*LOAD, "receive"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._line()

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate()

    def expect(self, count: int) -> None:
        """Watch for so many requests from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        assert self._line() == "ready"

    def arrived(self) -> float:
        """When the last of the expected ones had arrived, in unix seconds."""
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def _server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="jobs-bench-") as folder, contextlib.closing(Server(Path(folder))) as one:
        yield one


def throughput(_desk: Desk) -> Iterator[Result]:
    """Messages in, messages out, and both at once; one request a message."""
    with _server() as server, contextlib.closing(Receiver()) as receiver:
        _in_then_out(server, receiver)
        rounds = [_in_then_out(server, receiver) for _ in range(ROUNDS)]
        both = [_in_and_out(server, receiver) for _ in range(ROUNDS)]
        assert server.delivered() == (1 + 2 * ROUNDS) * MESSAGES
    yield at_least("qstash: publishes", statistics.median(rate for rate, _ in rounds), 800)
    yield at_least("qstash: deliveries", statistics.median(rate for _, rate in rounds), 400)
    yield at_least("qstash: publishes amid deliveries", statistics.median(rate for rate, _ in both), 800)
    yield at_least("qstash: deliveries amid publishes", statistics.median(rate for _, rate in both), 400)


def _in_then_out(server: Server, receiver: Receiver) -> tuple[float, float]:
    """Publishes a second, and then deliveries a second of the same messages, all due at once."""
    published = server.publish(MESSAGES, receiver.url, delay_seconds=LATER_SECONDS)
    receiver.expect(MESSAGES)
    began = time.time()
    server.advance(LATER_SECONDS)
    return MESSAGES / published.seconds, MESSAGES / (receiver.arrived() - began)


def _in_and_out(server: Server, receiver: Receiver) -> tuple[float, float]:
    """The same while each message is delivered as soon as it is in."""
    receiver.expect(MESSAGES)
    published = server.publish(MESSAGES, receiver.url)
    return MESSAGES / published.seconds, MESSAGES / (receiver.arrived() - published.began)


def pending(_desk: Desk) -> Iterator[Result]:
    """What messages cost that wait for their time, in memory and to those that come after them."""
    with _server() as empty, _server() as full:
        for server in (empty, full):
            server.publish(500, delay_seconds=LATER_SECONDS)
        full.fill(PENDING, LATER_SECONDS)
        if PROC.exists():
            grown = full.resident_megabytes - empty.resident_megabytes
            yield at_most(f"qstash: memory for {PENDING:,} pending", grown, 200, "MB")
        yield compare_reported(
            f"qstash: publish among {PENDING:,} pending",
            lambda: _publish_milliseconds(full),
            lambda: _publish_milliseconds(empty),
            at_most=1.5,
            rounds=ROUNDS,
        )


def _publish_milliseconds(server: Server) -> float:
    return server.publish(MESSAGES, delay_seconds=LATER_SECONDS).seconds * 1_000 / MESSAGES


def idle(_desk: Desk) -> Iterator[Result]:
    """The share of a core that a server takes with nothing to do."""
    if PROC.exists():
        with _server() as server:
            before = server.cpu_seconds
            time.sleep(IDLE_SECONDS)
            share = (server.cpu_seconds - before) / IDLE_SECONDS
        yield at_most("qstash: idle, share of a core", share * 100, 0.5, "%")


def start(_desk: Desk) -> Iterator[Result]:
    """From the start of the process to its first answer, on a new database."""
    seconds = []
    for _ in range(ROUNDS):
        with _server() as server:
            seconds.append(server.started_seconds)
    yield at_most("qstash: start", statistics.median(seconds), 1, "s")
