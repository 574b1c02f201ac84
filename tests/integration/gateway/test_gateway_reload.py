"""Changed source is picked up without a restart."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from infra.local.gateway import FunctionSpec, Gateway

BEFORE = "def handler(event, context):\n    return 'old'"
AFTER = "def handler(event, context):\n    return 'new'"

WAIT_FOR_A_FILE = """
import os, pathlib, time

def handler(event, context):
    print("started")
    while not pathlib.Path(os.environ["RELEASE"]).exists():
        time.sleep(0.01)
    return 'old'
"""


def until_new(served) -> None:
    """Ask until the changed function answers."""
    deadline = time.monotonic() + 60
    while served.get().json() != "new":
        assert time.monotonic() < deadline, "the change was not noticed"


def test_a_change_takes_effect_with_the_next_request(serve):
    """Idle environments end, and the request after runs the new code, even of a file of the same size and second."""
    served = serve(BEFORE, reload=True)
    assert served.get().json() == "old"
    served.source.write_text(AFTER)

    until_new(served)


def test_a_new_file_beside_the_code_counts_as_a_change(serve):
    """A template is read once per process, so that its change needs a fresh one too."""
    served = serve(
        """
        import pathlib

        template = pathlib.Path(__file__).with_name("mail.html")
        text = template.read_text() if template.exists() else "old"

        def handler(event, context):
            return text
        """,
        reload=True,
    )
    assert served.get().json() == "old"
    served.source.with_name("mail.html").write_text("new")

    until_new(served)


def test_a_busy_environment_ends_after_its_request(serve, tmp_path):
    """A change interrupts nobody: the running request is answered by the old code, the next ones by the new."""
    release = tmp_path / "release"
    served = serve(WAIT_FOR_A_FILE, reload=True, environments=2, environment={"RELEASE": str(release)})
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(served.get)
        served.log.wait_for("started")
        (busy,) = served.pids()
        served.source.write_text(AFTER)
        until_new(served)
        release.touch()
        assert running.result().json() == "old"
        while busy in served.pids():
            time.sleep(0.01)

    until_new(served)


def test_a_function_that_is_new_is_served_without_a_restart(tmp_path):
    """A change asks for functions that were not there when the gateway started."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "first.py").write_text(BEFORE)
    specs = [FunctionSpec(name="first", module="first")]
    with Gateway(specs, path=[folder], reload=[folder], find=lambda: specs) as gateway:
        assert httpx.get(f"{gateway.url}/second").status_code == 404
        specs.append(FunctionSpec(name="second", module="second"))
        (folder / "second.py").write_text(AFTER)
        deadline = time.monotonic() + 60
        while (answer := httpx.get(f"{gateway.url}/second")).status_code != 200:
            assert time.monotonic() < deadline, "the function was not noticed"
        assert answer.json() == "new"
