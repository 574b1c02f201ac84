"""How a gateway begins and ends, and that nothing outlives it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from infra.local.gateway import FunctionSpec, Gateway, print_line

# Holds a connection to the test, as does a process that it starts: the connection ends when both are gone.
WITNESSED = """
import os, socket, subprocess, time

connection = socket.create_connection(("127.0.0.1", int(os.environ["WITNESS_PORT"])))
subprocess.Popen(["sleep", "600"], pass_fds=[connection.fileno()])

def handler(event, context):
    if event.get("body"):
        print("started")
        time.sleep(600)
    return 1
"""


@pytest.fixture
def witness() -> Iterator[socket.socket]:
    """A listening socket to which functions connect."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        yield listener


def wait_for_end(connection: socket.socket) -> None:
    """Wait until all processes that hold the other side are gone."""
    with connection:
        connection.settimeout(60)
        assert connection.recv(1) == b""


def test_the_end_of_the_gateway_is_the_end_of_its_processes(serve, witness):
    """An idle environment, and what it had started, are gone when the `with` is left."""
    served = serve(WITNESSED, environment={"WITNESS_PORT": str(witness.getsockname()[1])})
    served.get()
    connection, _ = witness.accept()
    served.stop()

    assert served.pids() == []
    wait_for_end(connection)


def test_a_request_that_runs_at_the_end_fails(serve, witness):
    """A busy environment is killed too, and its caller is not left waiting."""
    served = serve(WITNESSED, environment={"WITNESS_PORT": str(witness.getsockname()[1])}, environments=1, waiting=1)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(served.post, content="x", headers={"content-type": "text/plain"})
        served.log.wait_for("started")
        connection, _ = witness.accept()
        served.stop()

        assert running.result().status_code == 502
    wait_for_end(connection)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_processes_end_when_the_gateway_is_killed(tmp_path, witness, busy):
    """After SIGKILL of the gateway's own process its environments, and what they had started, end by themselves."""
    (tmp_path / "sample.py").write_text(WITNESSED)
    script = f"""
        import pathlib, sys
        from infra.local.gateway import FunctionSpec, Gateway

        specs = [FunctionSpec(name="sample-function", module="sample")]
        environment = {{"WITNESS_PORT": "{witness.getsockname()[1]}"}}
        with Gateway(specs, environment=environment, path=[pathlib.Path({str(tmp_path)!r})]) as gateway:
            print(gateway.url, flush=True)
            sys.stdin.read()
        """
    with (
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
        ThreadPoolExecutor(1) as threads,
    ):
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        running = threads.submit(httpx.post, f"{url}/sample-function", content="x" if busy else "", timeout=60)
        connection, _ = witness.accept()
        if busy:
            assert process.stdout.readline() == "started\n"
        else:
            assert running.result().status_code == 200
        process.kill()
        wait_for_end(connection)
        if busy:
            assert isinstance(running.exception(), httpx.TransportError)


def test_a_taken_port_is_an_error_at_the_start(witness):
    """Whoever starts a gateway on a port in use is told so at once."""
    gateway = Gateway([], port=witness.getsockname()[1])

    with pytest.raises(OSError, match="address already in use"), gateway:
        pass


def test_a_folder_that_is_not_there_is_an_error_at_the_start(tmp_path):
    """Watching nothing would hide a wrong path."""
    with pytest.raises(FileNotFoundError), Gateway([], reload=[tmp_path / "missing"]):
        pass


def test_two_functions_of_one_name_are_an_error():
    """A name is a URL, so it belongs to one function."""
    with pytest.raises(ValueError, match="two functions are named 'twice'"):
        Gateway([FunctionSpec(name="twice", module="one"), FunctionSpec(name="twice", module="two")])


def test_a_gateway_serves_inside_an_event_loop(tmp_path):
    """`async with` serves on the running loop, and `serve` until it is cancelled."""
    (tmp_path / "sample.py").write_text("def handler(event, context):\n    return 1")
    gateway = Gateway([FunctionSpec(name="sample-function", module="sample")], path=[tmp_path])

    async def use() -> None:
        async with gateway, httpx.AsyncClient(timeout=60) as http:
            assert (await http.get(f"{gateway.url}/sample-function")).json() == 1
        assert gateway.pids("sample-function") == []
        serving = asyncio.create_task(gateway.serve())
        await asyncio.sleep(0)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(use())


def test_lines_are_printed_unless_someone_takes_them(capsys):
    """The default log prints each line as it is."""
    print_line("sample-function", '{"level": "INFO"}')

    assert capsys.readouterr().out == '{"level": "INFO"}\n'
