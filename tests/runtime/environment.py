"""One Lambda environment: the emulator, and the runtime process that it starts, with nothing of this machine's own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from infra.local.gateway.environment import Crashed, HandlerRaised, InvocationFailed, TimedOut
from infra.local.lifeline import Lifeline
from infra.local.service import free_port
from tests.waiting import until

INVOCATIONS = "/2015-03-31/functions/function/invocations"
SET_PRIVILEGES = shutil.which("setpriv")
"""Takes from root, which tests may run as, the right to write where nobody may."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a function finds what Lambda would give it."""

    emulator: Path
    task: Path
    opt: Path
    runtime: Path


@dataclass(frozen=True)
class Invocation:
    """How long one took, and whether the runtime had to be started for it."""

    milliseconds: float
    cold: bool


class RuntimeEnvironment:
    """Takes one event at a time; a second one meanwhile is the caller's mistake, for the emulator does not survive it."""

    def __init__(
        self,
        place: Place,
        handler: str,
        *,
        name: str,
        variables: Mapping[str, str],
        timeout: timedelta = timedelta(seconds=10),
        memory: int = 512,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self.lines: list[str] = []
        self.invocations: list[Invocation] = []
        self._port, api = free_port(), free_port()
        own = [str(place.emulator), "--log-level", "warn"]
        own += ["--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"]
        own += ["--runtime-api-address", f"127.0.0.1:{api}"]
        if os.geteuid() == 0:
            assert SET_PRIVILEGES, "as root, these tests need setpriv, of util-linux: apt-get install util-linux"
            own = [SET_PRIVILEGES, "--bounding-set", "-dac_override", *own]
        runtime = [sys.executable, "-S", "-m", "awslambdaric", handler]  # -S: without this machine's packages
        self._process = subprocess.Popen(
            [*own, *runtime],
            env={**_of_lambda(place, name, timeout, memory), **variables},
            cwd=place.task,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lifeline = Lifeline(self._process.pid)
        threading.Thread(target=self._read_log, daemon=True).start()
        until(self._listens, timedelta(seconds=20), lambda: "\n".join(self.lines) or "the emulator does not listen")

    def invoke(self, event: bytes) -> bytes:
        """The handler's result, both as JSON. Raises `InvocationFailed`, as the desk's gateway does."""
        before = self.runtime_pid
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self.timeout.total_seconds() + 20)
        try:
            connection.request("POST", INVOCATIONS, event)
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Crashed(f"the emulator ended: {error}\n{self.log}") from error
        finally:
            connection.close()
        took = (time.perf_counter() - began) * 1000
        self.invocations.append(Invocation(took, cold=before is None or before != self.runtime_pid))
        return _result(status, body)

    @property
    def runtime_pid(self) -> int | None:
        """The process that runs the handler, or None while there is none."""
        path = Path(f"/proc/{self._process.pid}/task")
        with contextlib.suppress(FileNotFoundError):
            children = [pid for thread in path.iterdir() for pid in (thread / "children").read_text().split()]
            return int(children[0]) if children else None
        return None

    @property
    def log(self) -> str:
        """What the function and the emulator wrote."""
        return "\n".join(self.lines)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Between two invocations Lambda gives an environment no processor at all."""
        pid = self.runtime_pid
        assert pid is not None, "nothing runs yet"
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: "\nState:\tT" in Path(f"/proc/{pid}/status").read_text())
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """End both processes."""
        pid = self.runtime_pid
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._lifeline.let_go()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))

    def _listens(self) -> bool:
        assert self._process.poll() is None, f"the emulator ended:\n{self.log}"
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=1)) as connection:
            try:
                connection.connect()
            except OSError:
                return False
            return True


def _of_lambda(place: Place, name: str, timeout: timedelta, memory: int) -> dict[str, str]:
    """Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""
    return {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "of-the-role",
        "AWS_SESSION_TOKEN": "of-the-session",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(round(timeout.total_seconds())),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "LAMBDA_TASK_ROOT": str(place.task),
        "LANG": "en_US.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        # /var/task comes first, as the folder that the runtime is started in; then the layer, then the runtime's own.
        "PYTHONPATH": f"{place.opt / 'python'}:{place.runtime}",
        "PYTHONTZPATH": "",  # Lambda's system knows no time zones
        "TZ": ":UTC",
    }


def _result(status: int, body: bytes) -> bytes:
    """What the emulator answered, as what a function URL makes of it: a result, or a failure."""
    if body.startswith(b"Task timed out"):
        raise TimedOut(body.decode())
    try:
        value = json.loads(body)
    except ValueError:
        raise InvocationFailed(f"the emulator answered {status}: {body[:500]!r}") from None
    if isinstance(value, dict) and {"errorType", "errorMessage"} <= value.keys():
        said = f"{value['errorType']}: {value['errorMessage']}"
        raise (Crashed if str(value["errorType"]).startswith("Runtime.Exit") else HandlerRaised)(said)
    if status != 200:
        raise InvocationFailed(f"the emulator answered {status}: {body[:500]!r}")
    return body
