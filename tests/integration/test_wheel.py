"""The wheel that app services install."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from this checkout, offline."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def unpacked(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its content, on a path of its own."""
    folder = tmp_path_factory.mktemp("site")
    wheel.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def metadata(unpacked: Path) -> Message:
    """What an installer reads."""
    (found,) = unpacked.glob("*.dist-info/METADATA")
    return Parser().parsestr(found.read_text())


def test_it_holds_the_two_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """No functions, no infra, no tests: those stay in the repository."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"qstash_jobs", "saas"}
    assert not [name for name in wheel.namelist() if name.endswith(".pyc")]


def test_it_is_whole(wheel: zipfile.ZipFile) -> None:
    """Every module of `shared`, and the mark that it is typed."""
    modules = {
        path.relative_to(ROOT / "shared").as_posix()
        for package in ("qstash_jobs", "saas")
        for path in (ROOT / "shared" / package).rglob("*.py")
    }
    assert modules <= set(wheel.namelist())
    assert "qstash_jobs/py.typed" in wheel.namelist()


def test_its_metadata_name_the_extras_and_the_python(metadata: Message) -> None:
    """One extra to enqueue, one to serve; without them only the contracts, for which pydantic is enough."""
    assert (metadata["Name"], metadata["Requires-Python"]) == ("qstash-jobs", ">=3.11")
    assert metadata.get_all("Provides-Extra") == ["enqueue", "serve"]
    needed = metadata.get_all("Requires-Dist") or []
    assert [one for one in needed if "extra ==" not in one] == ["pydantic[email]>=2.12"]
    extras = {name: {one.partition(">")[0] for one in needed if f"'{name}'" in one} for name in ("enqueue", "serve")}
    assert extras == {
        "enqueue": {"pg8000", "qstash", "sqlalchemy", "tzdata"},
        "serve": {"aws-lambda-powertools", "pg8000", "pyjwt"},
    }


def test_it_is_licensed(metadata: Message, wheel: zipfile.ZipFile) -> None:
    """With the text of the licence."""
    assert metadata["License-Expression"] == "MIT"
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


def test_unpacked_it_works_by_itself(unpacked: Path) -> None:
    """The face and every contract can be imported where the repository is not on the path."""
    program = (
        "import sys, pathlib, qstash_jobs, saas\n"
        "from qstash_jobs.job import registry\n"
        "from qstash_jobs.schedules import SCHEDULES\n"
        f"assert pathlib.Path(qstash_jobs.__file__).is_relative_to({str(unpacked)!r}), qstash_jobs.__file__\n"
        "assert [getattr(qstash_jobs, name) for name in qstash_jobs.__all__]\n"
        "print(*[one.options.name for one in registry])"
    )
    elsewhere = (
        f"import sys; sys.path[:] = [{str(unpacked)!r}] + [p for p in sys.path if not p.startswith({str(ROOT)!r}) "
        f"or 'site-packages' in p]\n"
        "sys.meta_path[:] = [one for one in sys.meta_path if 'editable' not in repr(one).lower()]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", elsewhere + program], cwd=unpacked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    contracts = {path.stem.replace("_", "-") for path in (ROOT / "shared/qstash_jobs/jobs").glob("[!_]*.py")}
    assert contracts == set(done.stdout.split())
