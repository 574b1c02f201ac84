"""What the command says of itself, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.cli.app import app
from tests.integration.cli.conftest import Jobs, run_process

COMMANDS = [command.name or str(command.callback and command.callback.__name__) for command in app.registered_commands]


def test_all_commands_are_there(jobs: Jobs) -> None:
    """`jobs` alone lists them, each with a sentence."""
    done = jobs("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert f" {command} " in done.out
    assert set(COMMANDS) == {
        *("dev", "demo", "clean", "seed", "qstash", "advance", "enqueue", "list", "show", "watch", "cancel", "requeue"),
        *("migrate", "relay", "doctor", "new", "invoke", "webhook", "rotate-keys", "cost"),
    }


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_each_command_shows_an_example(jobs: Jobs, command: str, option: str) -> None:
    """Under both of the option's names."""
    done = jobs(command, option)
    assert done.code == 0
    assert f"jobs {command}" in done.out.partition(f"Usage: jobs {command}")[2]


def test_an_unknown_command_is_a_wrong_argument(jobs: Jobs) -> None:
    """Exit status 2."""
    done = jobs("lits")
    assert done.code == 2
    assert "No such command 'lits'" in done.sentence


def test_as_a_process_it_is_the_same(tmp_path: Path) -> None:
    """Without settings and without a desk: one sentence on standard error, in plain text."""
    done = run_process("list", cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Error: DATABASE_URL: it is not set. ")
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.err
