"""`jobs new`: what it writes passes the checks as it is, and those of the whole stage after `make docs`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integration.cli.conftest import Jobs, process_environment, run_process

WRITTEN = [
    "shared/qstash_jobs/jobs/resize_image.py",
    "functions/resize_image/handler.py",
    "tests/unit/test_resize_image.py",
    "events/resize-image.json",
]


def in_copy(copy: Path, *command: str) -> None:
    """Run a module of Python's there; it has to succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        env=process_environment(copy),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's sources, with a new job type in them."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("shared", "functions", "infra", "events", "docs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests" / "infra", root / "tests" / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests" / "unit").mkdir()
    for name in (
        *("Makefile", "pyproject.toml", ".env.example"),
        *("tests/__init__.py", "tests/conftest.py", "tests/moto.py", "tests/unit/__init__.py"),
    ):
        shutil.copy(ROOT / name, root / name)
    in_copy(root, "infra.docs")
    done = run_process("new", "resize-image", cwd=root, root=root)
    assert done.code == 0, done.err
    for name in WRITTEN:
        assert f"wrote {name}\n" in done.out
    assert done.out.endswith("before `make check test`:  make docs\n")
    return root


def test_what_is_written_is_formatted_and_clean(copy: Path) -> None:
    """As `make check` looks at it."""
    in_copy(copy, "ruff", "format", "--check", *WRITTEN[:3])
    in_copy(copy, "ruff", "check", *WRITTEN[:3])
    in_copy(copy, "mypy", *WRITTEN[:2])


def test_the_function_is_a_package(copy: Path) -> None:
    """So that import-linter looks into it."""
    assert (copy / "functions/resize_image/__init__.py").is_file()


def test_the_written_test_passes(copy: Path) -> None:
    """In the copy, which has the new contract."""
    in_copy(copy, "pytest", "-q", WRITTEN[2])


def test_the_docs_know_the_new_type(copy: Path) -> None:
    """The generated reference is up to date, because `make check` compares it."""
    in_copy(copy, "infra.docs", "--check")
    assert "resize-image" in (copy / "docs/reference/job-types.md").read_text()


OF_THE_STAGE = (
    "tests/infra/test_cost_of_a_stage.py",
    "tests/infra/test_drawing.py::test_the_picture_in_the_docs_is_current",
    "tests/infra/test_functions.py::test_no_function_reads_more_than_it_needs[resize-image]",
    "tests/infra/test_functions.py::test_a_setting_that_is_a_secret_is_told_by_its_arn[resize-image]",
    "tests/infra/test_changes.py::test_what_lasts_is_called_as_ever",
)


@pytest.mark.timeout(300)  # CDK makes the stacks four times
def test_after_make_docs_the_stage_has_the_new_type(copy: Path) -> None:
    """Its alarms are counted, its secrets known, its ids listed, and it is in the picture."""
    bin_ = Path(sys.executable).parent
    done = subprocess.run(
        ["make", "docs", f"BIN={bin_}", "--assume-old=.venv/test"],
        cwd=copy,
        env=process_environment(copy),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FunctionsResizeImage" in (copy / "tests/infra/logical_ids.json").read_text()
    in_copy(copy, "pytest", "-q", *OF_THE_STAGE)


def test_the_written_event_is_accepted(copy: Path) -> None:
    """Its payload is one of the new contract."""
    body = json.loads(json.loads((copy / WRITTEN[3]).read_text())["body"])
    check = (
        "import sys, json\nfrom qstash_jobs.job import registry\n"
        "body = json.loads(sys.argv[1])\nregistry.get(body['type']).model_validate(body['payload'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", check, json.dumps(body)],
        cwd=copy,
        env=process_environment(copy),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_second_one_of_the_same_name_is_refused(copy: Path) -> None:
    """The registry knows it now; nothing is overwritten."""
    before = (copy / WRITTEN[0]).read_text()
    done = run_process("new", "resize-image", cwd=copy, root=copy)
    assert done.code == 2
    assert "ResizeImage has this name already" in done.sentence
    assert before == (copy / WRITTEN[0]).read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("probe", "Probe has this name already"),
        ("Resize", "lower-case words joined by hyphens"),
        ("resize_image", "lower-case words joined by hyphens"),
        ("2-images", "lower-case words joined by hyphens"),
        ("../escape", "lower-case words joined by hyphens"),
        ("", "lower-case words joined by hyphens"),
        ("resize-" * 5 + "image", "at most 26 characters"),
        ("class", "class means something else"),
        ("print", "print means something else"),
        ("run", "run means something else"),
        ("json-value", "json_value means something else"),
        ("check", "a dependency group of pyproject.toml is called check"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, jobs: Jobs, name: str, said: str) -> None:
    """With what a name looks like; nothing is written."""
    done = jobs("new", name, "--root", str(tmp_path))
    assert done.code == 2
    assert said in done.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path, jobs: Jobs) -> None:
    """A function without a contract may have the name."""
    (tmp_path / "functions/resize_image").mkdir(parents=True)
    (tmp_path / "functions/resize_image/handler.py").write_text("mine")
    done = jobs("new", "resize-image", "--root", str(tmp_path))
    assert done.code == 2
    assert "handler.py exists already" in done.sentence
    assert (tmp_path / "functions/resize_image/handler.py").read_text() == "mine"
    assert not (tmp_path / "shared").exists()


@pytest.mark.parametrize("name", ["a", "zip-2-files", "abcdefghijklmnopqrstuvwxyz"])
def test_short_and_long_names_are_formatted_too(tmp_path: Path, jobs: Jobs, name: str) -> None:
    """No line is too long, and none is wrapped that need not be."""
    assert jobs("new", name, "--root", str(tmp_path)).code == 0
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    in_copy(tmp_path, "ruff", "format", "--check", ".")
    in_copy(tmp_path, "ruff", "check", "--ignore", "I001", ".")  # which needs the whole checkout
