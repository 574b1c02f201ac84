"""What holds for the repository as a whole: contracts, functions, events and schedules fit each other."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.cli import new
from infra.local.qstash.cron import parse_cron
from qstash_jobs.dispatch import zoned
from qstash_jobs.job import Job, registry
from qstash_jobs.schedules import SCHEDULES
from tests.conftest import ROOT

JOB_TYPES: dict[str, type[Job]] = {one.options.name: one for one in registry.contracts()}
FOLDERS = sorted(path.name for path in (ROOT / "functions").iterdir() if path.is_dir() and path.name[0] not in "_.")

PLAIN = {"download", "failure-callback", "webhook-ingress"}
"""Functions that serve no job type."""

PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==", re.MULTILINE)


def function_name(folder: str) -> str:
    return folder.replace("_", "-")


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_function_has_a_handler(folder: str) -> None:
    """It can be imported and called, and importing it needs no setting."""
    assert callable(importlib.import_module(f"functions.{folder}.handler").handler)


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_function_is_a_package(folder: str) -> None:
    """Otherwise import-linter does not look into it, and its contracts hold for nothing."""
    assert (ROOT / "functions" / folder / "__init__.py").is_file()


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_function_serves_a_job_type_or_is_known_not_to(folder: str) -> None:
    """A misspelt folder would be deployed, and never called."""
    assert (function_name(folder) in JOB_TYPES) != (function_name(folder) in PLAIN)


def test_each_job_type_has_a_function() -> None:
    """Its jobs would be enqueued, and nothing serve them."""
    assert set(JOB_TYPES) <= {function_name(folder) for folder in FOLDERS}


@pytest.mark.parametrize("name", JOB_TYPES)
def test_each_job_type_is_a_module_of_its_name(name: str) -> None:
    """Contract, function and event are found by name."""
    assert JOB_TYPES[name].__module__ == f"qstash_jobs.jobs.{JOB_TYPES[name].options.folder}"


def test_each_contract_module_holds_one_job_type() -> None:
    """And nothing else lies in the folder."""
    modules = {path.stem for path in (ROOT / "shared/qstash_jobs/jobs").glob("*.py")} - {"__init__"}
    assert modules == {job_type.options.folder for job_type in JOB_TYPES.values()}


@pytest.mark.parametrize("name", JOB_TYPES)
def test_each_job_type_says_what_it_is_for(name: str) -> None:
    """In a sentence, which the docs show."""
    assert re.match(r"[A-Z].+\.", JOB_TYPES[name].__doc__ or "")


def test_there_is_an_event_for_each_function_and_job_type() -> None:
    """And none that nothing takes."""
    assert {path.stem for path in (ROOT / "events").glob("*.json")} == set(JOB_TYPES) | PLAIN


@pytest.mark.parametrize("name", JOB_TYPES)
def test_each_event_carries_a_payload_that_its_contract_accepts(name: str) -> None:
    """Without unknown fields."""
    body = json.loads(json.loads((ROOT / "events" / f"{name}.json").read_text())["body"])
    assert body["type"] == name
    JOB_TYPES[name].model_validate(body["payload"])


def test_schedules_are_of_known_types_and_have_ids_of_their_own() -> None:
    """The same id twice would be one schedule."""
    assert {type(one.job) for one in SCHEDULES} <= set(JOB_TYPES.values())
    assert len({one.id for one in SCHEDULES}) == len(SCHEDULES)


def test_the_declared_schedules_fit_into_the_free_plan() -> None:
    """Ten schedules, and a thousand messages a day, of which most are left for jobs. Source of both:
    https://upstash.com/pricing/qstash"""
    sunday = datetime(2026, 11, 29, tzinfo=UTC).timestamp()
    firings = 0
    for one in SCHEDULES:
        cron, moment = parse_cron(zoned(one.cron, one.timezone), now=sunday), sunday - 1
        while (moment := cron.after(moment)) < sunday + 86_400:
            firings += 1
    assert len(SCHEDULES) <= 10
    assert firings == 292


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_function_imports_another(folder: str) -> None:
    """Each is deployed without the others, and nothing of them is there."""
    found: set[str] = set()
    for path in (ROOT / "functions" / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative imports do not survive packaging"
                found.add(node.module or "")
    assert not {name for name in found if name.partition(".")[0] in {"infra", "tests"}}
    others = {name for name in found if re.match(r"functions\b", name)}
    assert all(f"{name}.".startswith(f"functions.{folder}.") for name in others), others


def pinned(path: Path) -> set[str]:
    return set(PINNED.findall(path.read_text()))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "functions").glob("*/requirements.txt")), ids=lambda path: path.parent.name
)
def test_a_function_brings_nothing_that_the_layer_has(path: Path) -> None:
    """It would be shipped twice, and hide the layer's."""
    assert pinned(path)
    assert pinned(path) & pinned(ROOT / "requirements/layer.txt") == set()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "functions").glob("*/requirements.txt")), ids=lambda path: path.parent.name
)
def test_a_function_s_requirements_are_those_that_are_tested(path: Path) -> None:
    """The same versions."""
    lines = set(re.findall(r"^\S+==\S+", path.read_text(), re.MULTILINE))
    assert lines <= set(re.findall(r"^\S+==\S+", (ROOT / "requirements/test.txt").read_text(), re.MULTILINE))


def test_a_function_s_requirements_are_made_of_the_group_of_its_name() -> None:
    """Each that has such a group in pyproject.toml has the file, and no other has one."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    with_file = {path.parent.name for path in (ROOT / "functions").glob("*/requirements.txt")}
    assert with_file == {folder for folder in FOLDERS if function_name(folder) in groups}
    assert groups.keys() >= new.GROUPS


def test_make_lock_finds_the_libraries_of_a_new_function(tmp_path: Path) -> None:
    """A folder and a group of its name are all it needs; its libraries are on the desk and in the tests too."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("probe", "resize_image"):
        (tmp_path / "functions" / name).mkdir(parents=True)
        (tmp_path / "functions" / name / "handler.py").touch()
    (tmp_path / "pyproject.toml").write_text(
        '[dependency-groups]\ndesk = ["rich>=14"]\n"resize-image"=["pillow>=12"]\n'
    )
    done = subprocess.run(
        ["make", "--dry-run", "lock", f"BIN={Path(sys.executable).parent}", "--assume-old=.venv/bin/python"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = re.findall(r"--group resize-image .*?--output-file (\S+)", done.stdout)
    assert made == [
        *(f"requirements/{name}.txt" for name in ("test", "desk", "deploy")),
        "functions/resize_image/requirements.txt",
    ]
    assert "--group probe" not in done.stdout
    assert "functions/probe" not in done.stdout


REQUIREMENTS = sorted([*(ROOT / "functions").glob("*/requirements.txt"), *(ROOT / "requirements").glob("*.txt")])


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_requirements_are_pinned_with_hashes_and_name_no_index(path: Path) -> None:
    """Where packages come from is each machine's own business."""
    text = path.read_text()
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement
    assert not re.search(r"^\s*--?(i|index-url|extra-index-url|find-links|f)\b", text, re.MULTILINE)
    assert "://" not in text


OF_ONE_MACHINE = {
    "a registry": re.compile(r"//[^\s/]*\b(pypi|pythonhosted|npmjs|artifactory|jfrog|nexus|devpi)\b"),
    "a home": re.compile(r"/root/|/Users/\w|/home/(?!ada/)\w"),
    "this checkout": re.compile(rf"(?<![\w.-])({re.escape(str(ROOT))}|/work)/"),
}
"""`/home/ada/` is the home of nobody, in examples."""


def test_no_file_tells_of_the_machine_that_it_was_written_on() -> None:
    """Neither a package index, nor somebody's home, nor where a checkout was."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("this is no git checkout, so it cannot be said which files belong to it")
    found: list[str] = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path == Path(__file__) or not path.is_file():
            continue
        text = path.read_text(errors="replace")
        found += [
            f"{name}: {what} ({match[0]})" for what, sign in OF_ONE_MACHINE.items() if (match := sign.search(text))
        ]
    assert found == []
