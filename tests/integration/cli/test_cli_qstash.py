"""`jobs qstash` and `jobs advance`: the local QStash alone, and its time."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from qstash import QStash

from infra.local.qstash import QStashServer
from infra.local.qstash.settings import DEVELOPMENT_TOKEN
from tests.integration.cli.conftest import Jobs, process_environment
from tests.waiting import until


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`jobs qstash` as a process, and its first lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "qstash", "--port", "0", "--database", str(tmp_path / "q.db")],
        cwd=tmp_path,
        env={**process_environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    while "QSTASH_DEV" not in said:
        said += process.stdout.readline()
        assert process.poll() is None, said
    yield process, said
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_it_says_all_that_a_client_needs(alone: tuple[subprocess.Popen[str], str]) -> None:
    """For a shell, for Python and for TypeScript; the line that a program waits for; and Ctrl-C ends it."""
    process, said = alone
    assert re.search(r"runn+ing( at|\.)", said, re.IGNORECASE)
    exported = dict(re.findall(r'export (\w+)="(.+)"', said))
    assert set(exported) == {
        "QSTASH_URL",
        "QSTASH_TOKEN",
        "QSTASH_CURRENT_SIGNING_KEY",
        "QSTASH_NEXT_SIGNING_KEY",
    }
    python = re.search(r'client = QStash\("(.+)", base_url="(.+)"\)', said)
    assert python is not None
    client = QStash(python[1], base_url=python[2])
    keys = client.signing_key.get()
    client.http._client.close()
    assert [keys.current, keys.next] == [exported[f"QSTASH_{one}_SIGNING_KEY"] for one in ("CURRENT", "NEXT")]
    assert f'new Client({{ baseUrl: "{exported["QSTASH_URL"]}", token: "{exported["QSTASH_TOKEN"]}" }})' in said
    assert f"QSTASH_DEV=true QSTASH_DEV_PORT={exported['QSTASH_URL'].rpartition(':')[2]}" in said
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_time_can_be_moved(jobs: Jobs, nowhere: pytest.MonkeyPatch) -> None:
    """A message that waits for six hours goes out; the address and the token are those of the settings."""
    with QStashServer() as server:
        nowhere.setenv("QSTASH_URL", server.url)
        nowhere.setenv("QSTASH_TOKEN", server.token)
        client = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"})
        with client:
            client.post("/v2/publish/http://127.0.0.1:9/", headers={"Upstash-Delay": "6h", "Upstash-Retries": "0"})
            done = jobs("advance", "6h")
            assert (done.code, done.out) == (0, f"6 h 0 min later at {server.url}\n")
            until(lambda: client.get("/v2/dlq").json()["messages"], timedelta(seconds=20))


def test_a_server_without_a_time_says_so(jobs: Jobs, nowhere: pytest.MonkeyPatch) -> None:
    """None at all, another token, or a duration that is none."""
    nothing = jobs("advance", "1h", "--url", "http://127.0.0.1:9")
    assert (nothing.code, "no QStash answers at http://127.0.0.1:9" in nothing.sentence) == (1, True)
    assert "start one with" in nothing.sentence
    with QStashServer(token="another") as server:
        refused = jobs("advance", "1h", "--url", server.url, "--token", DEVELOPMENT_TOKEN)
        assert (refused.code, "answered 401" in refused.sentence) == (1, True)
    assert jobs("advance", "soon").code == 2
