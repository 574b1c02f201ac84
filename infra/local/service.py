"""A part of the desk that runs as a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from infra.local.lifeline import Lifeline

ROOT = Path(__file__).parents[2]
"""The checkout."""
START_SECONDS = 30.0

Log = Callable[[str, str], None]
"""Takes the name of a part, and a line that it wrote."""


class DeskFailed(RuntimeError):
    """A part did not start; the message says which, why, and what to do."""


class Service:
    """A part that runs as a process of its own and answers HTTP."""

    def __init__(self, name: str, module: str, port: int, arguments: list[str], log: Log) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._command = [sys.executable, "-m", module, "--port", str(port), *arguments]
        self._log = log
        self._path = "/"
        self._process: subprocess.Popen[str] | None = None
        self._lifeline: Lifeline | None = None
        self._stopped: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self, path: str) -> None:
        """Start it and wait until it answers at `path`. Raises `DeskFailed`."""
        self._path = path
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                raise DeskFailed(taken(self.name, self._port))
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C is for the desk, which then stops its parts in order
        )
        self._lifeline = Lifeline(self._process.pid)
        lines: list[str] = []
        threading.Thread(target=self._pass_on, args=(self._process, lines), daemon=True).start()
        until = time.monotonic() + START_SECONDS
        while not _answers(self.url + path):
            if self._process.poll() is not None or time.monotonic() > until:
                said = "\n".join(lines[-20:])
                raise DeskFailed(f"{self.name} did not start:\n{said}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to stop, and wait."""
        if self._process is None:
            return
        self._stopped = self._process
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._forget()

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None, "not started"
        self._process.kill()
        self._process.wait()
        self._forget()

    def _forget(self) -> None:
        assert self._lifeline is not None
        self._lifeline.let_go()
        self._process = self._lifeline = None

    def restart(self) -> None:
        """Start it again, where it was."""
        self.start(self._path)

    def _pass_on(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                lines.append(line.rstrip())
                self._log(self.name, line.rstrip())
        code = process.wait()
        if process is not self._stopped:
            self._log(self.name, f"ended by itself ({code}): what needs it fails until the desk is started again")


def taken(part: str, port: int) -> str:
    """What to say of a port that a part needs and another process has."""
    return f"port {port} is taken, which {part} needs: stop what listens there, or choose another with --{part}-port"


def free_port() -> int:
    """A port where nobody listens now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code != HTTPStatus.NOT_FOUND
    except OSError:
        return False
