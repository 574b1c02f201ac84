"""The desk's S3 as a process: what people are told when it cannot start, or dies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from infra.local.service import Service
from tests.conftest import ROOT
from tests.waiting import until


@pytest.fixture
def lines() -> list[str]:
    """What the desk's log says."""
    return []


@pytest.fixture
def s3(lines: list[str]) -> Iterator[Service]:
    """S3 as `make dev` starts it."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = int(probe.getsockname()[1])
    started = Service("s3", "infra.local.s3", port, ["--bucket", "desk"], lambda _part, line: lines.append(line))
    started.start("/desk")
    yield started
    started.stop()


def test_a_taken_port_ends_it_at_once() -> None:
    """With the port in its words, and not by waiting for ever."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local.s3", "--port", port], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        try:
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 1
    assert f"port {port}: Address already in use; choose another with --port" in said


def test_a_part_that_dies_is_told_of(s3: Service, lines: list[str]) -> None:
    """In the desk's log, with what to do; whoever stops it knows already."""
    os.kill(s3.pid, signal.SIGKILL)
    until(lambda: any("ended by itself (-9)" in line and "started again" in line for line in lines))

    s3.stop()
    s3.restart()
    lines.clear()
    s3.stop()
    assert not any("by itself" in line for line in lines)
