"""`jobs dev`, `jobs demo` and `jobs clean`, as processes: what they start, and that nothing of it stays."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from qstash_jobs.job import registry
from tests.integration.cli.conftest import Jobs, process_environment, run_process
from tests.integration.test_lifeline import alive
from tests.waiting import until

FREE_PORTS = ["--qstash-port", "0", "--functions-port", "0", "--mailbox-port", "0", "--s3-port", "0"]


class Dev:
    """`jobs dev` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "dev", "--time-scale", "20", *FREE_PORTS],
            cwd=folder,
            env=process_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=ignore_interrupts,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.wait_for("Ctrl-C stops")
        self.pids = descendants(self.process.pid)
        self.urls = dict(
            re.findall(r"^(functions|QStash|mailbox|S3) +(http://127\.0\.0\.1:\d+)", self.text, re.MULTILINE)
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.append(line)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_for(self, words: str) -> None:
        until(lambda: words in self.text or self.process.poll() is not None, otherwise=lambda: self.text)
        assert words in self.text, self.text

    def end(self, how: signal.Signals) -> None:
        """Tell it, and wait until it is gone."""
        self.process.send_signal(how)
        self.process.wait(30)
        self._reader.join(30)

    def left(self) -> list[str]:
        """What is still there of what it started."""
        ports = [urlsplit(url).port or 0 for url in self.urls.values()]
        return [
            *(f"process {pid}" for pid in self.pids if alive(pid)),
            *(f"port {port}" for port in ports if listens(port)),
        ]


def ignore_interrupts() -> None:
    """As a shell leaves it to what it starts in the background: Ctrl-C is to end the desk all the same."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def descendants(pid: int) -> set[int]:
    """The processes that it started, and those that they started."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: dict[int, set[int]] = {}
    for line in listed.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, set()).add(child)
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = children.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One desk for the tests of this module, in their order: the last ones end it."""
    started = Dev(tmp_path_factory.mktemp("desk"))
    yield started
    if started.process.poll() is None:
        started.end(signal.SIGINT)
    cleaned = run_process("clean", cwd=started.folder)
    assert cleaned.code == 0, cleaned.err
    assert not (started.folder / ".local").exists()


def test_dev_prints_where_everything_is(dev: Dev) -> None:
    """Functions, QStash, mailbox, S3, Postgres, logs; each address answers."""
    assert set(dev.urls) == {"functions", "QStash", "mailbox", "S3"}
    assert all(listens(urlsplit(url).port or 0) for url in dev.urls.values())
    assert (dev.folder / ".local" / "qstash.db").exists()
    with urllib.request.urlopen(dev.urls["mailbox"], timeout=30) as page:
        assert page.status == 200
    assert re.search(r"^Postgres +postgresql://", dev.text, re.MULTILINE)
    assert (dev.folder / ".local" / "desk.log").exists()


def test_other_commands_find_the_desk_of_the_folder(dev: Dev) -> None:
    """No setting is needed in another terminal; the first one shows a line for each step of the job."""
    done = run_process("enqueue", "probe", '{"mode": "fail-once"}', "--wait", cwd=dev.folder)
    assert done.code == 0, done.err
    job_id = done.out.strip()
    until(lambda: re.search(rf"^{job_id}  probe  completed  2/3", dev.text, re.MULTILINE), otherwise=lambda: dev.text)
    shown = json.loads(run_process("show", job_id, "--json", cwd=dev.folder).out)
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["retried", "completed"]


def test_a_second_start_says_that_one_runs(dev: Dev) -> None:
    """With its process, and how to stop it."""
    done = run_process("dev", *FREE_PORTS, cwd=dev.folder)
    assert done.code == 1
    assert done.sentence == f"Error: it runs already (process {dev.process.pid}); stop it there with Ctrl-C"


@pytest.mark.parametrize("part", ["QStash", "mailbox", "S3", "functions"])
def test_a_taken_port_is_named_with_the_way_out(dev: Dev, tmp_path_factory: pytest.TempPathFactory, part: str) -> None:
    """And what was started before is ended again."""
    folder = tmp_path_factory.getbasetemp() / "other"
    folder.mkdir(exist_ok=True)
    option = f"--{part.lower()}-port"
    port = urlsplit(dev.urls[part]).port
    done = run_process("dev", *FREE_PORTS, option, str(port), cwd=folder)
    assert done.code == 1
    assert f"port {port} is taken, which {part.lower()} needs" in done.sentence
    assert f"choose another with {option}" in done.sentence
    if part == "functions":
        assert run_process("clean", cwd=folder).code == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("DATABASE_URL", "postgresql://u:p@db.example.com/app"), ("QSTASH_URL", "https://qstash.upstash.io")],
)
def test_a_desk_does_not_work_elsewhere_by_mistake(
    nowhere: pytest.MonkeyPatch, jobs: Jobs, tmp_path: Path, name: str, value: str
) -> None:
    """It would make its tables, or its schedules, where others work: that must be said."""
    nowhere.setenv(name, value)
    done = jobs("dev")
    assert done.code == 1
    assert f"{name} leads to" in done.sentence
    assert "say --remote" in done.sentence
    assert not (tmp_path / ".local").exists()


def test_ctrl_c_ends_everything(dev: Dev) -> None:
    """Within seconds: no process and no listening port stays, and other commands find no desk."""
    dev.pids |= descendants(dev.process.pid)
    assert len(dev.pids) > 5
    dev.end(signal.SIGINT)
    assert dev.process.returncode == 0, dev.text
    assert dev.lines[-1] == "Stopped.\n"
    until(lambda: not dev.left(), timedelta(seconds=10), lambda: str(dev.left()))
    assert run_process("list", cwd=dev.folder).code == 1


def test_a_killed_desk_leaves_nothing_behind(dev: Dev) -> None:
    """SIGKILL in the midst of a job; what it stored is there at the next start."""
    again = Dev(dev.folder)
    job_id = run_process("enqueue", "probe", '{"seconds": 1.5}', cwd=dev.folder).out.strip()
    until(lambda: f"{job_id}  probe  processing" in again.text, otherwise=lambda: again.text)
    again.pids |= descendants(again.process.pid)
    again.end(signal.SIGKILL)
    until(lambda: not again.left(), otherwise=lambda: str(again.left()))
    done = run_process("list", cwd=dev.folder)
    assert done.code == 1
    assert "Is the desk running?" in done.sentence
    third = Dev(dev.folder)
    assert job_id in run_process("list", cwd=dev.folder).out
    third.end(signal.SIGTERM)
    assert third.process.returncode == 0, third.text
    until(lambda: not third.left(), otherwise=lambda: str(third.left()))


def test_there_may_be_nothing_to_clean(tmp_path: Path) -> None:
    """Then cleaning is done already."""
    assert run_process("clean", cwd=tmp_path).code == 0


def test_the_demo_ends_as_it_should(tmp_path: Path) -> None:
    """Each of its jobs has a tick."""
    done = run_process("demo", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    rows = re.findall(r"^(\S)  (\S+) ", done.out, re.MULTILINE)
    assert {mark for mark, _ in rows} == {"✓"}
    assert {name for _, name in rows} == {one.options.name for one in registry.contracts()}
    assert f"{len(rows)} jobs settled after" in done.out
    assert list(tmp_path.iterdir()) == []
