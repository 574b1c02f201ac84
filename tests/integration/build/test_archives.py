"""What is in the archives that a deployment uploads, and what is not."""

from __future__ import annotations

import importlib.util
import marshal
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import PurePosixPath
from types import CodeType

import pytest

from infra.build.limits import LAYER, LAYER_WITH_BYTECODE, MB, UNZIPPED
from infra.build.sources import files_below
from qstash_jobs.job import registry
from tests.conftest import ROOT
from tests.integration.build.conftest import Built

FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/handler.py"))
ELF_MACHINES = {"arm64": 183, "x86_64": 62}
"""Source: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html"""
TRUSTED = 0b01
"""The flags of bytecode that is made by hash and not checked against its source (PEP 552)."""


def pinned(requirements: str) -> dict[str, str]:
    """The packages that a file of requirements pins, with their versions; those of other Pythons left out."""
    lines = re.findall(r"^([a-z0-9-]+)==(\S+)( ;.*)?", (ROOT / requirements).read_text(), re.MULTILINE)
    return {name: version for name, version, marker in lines if "python_full_version <" not in marker}


def installed(built: Built, archive: str) -> dict[str, str]:
    """The packages in an archive, with their versions, as importlib.metadata would tell them."""
    found = {}
    with zipfile.ZipFile(built.archives[archive]) as file:
        for name in file.namelist():
            if name.endswith(".dist-info/METADATA"):
                metadata = Parser().parsestr(file.read(name).decode())
                found[re.sub(r"[-_.]+", "-", metadata["Name"]).lower()] = metadata["Version"]
    return found


def ours(names: set[str], *folders: str) -> set[str]:
    """The files in these folders that are no bytecode."""
    return {name for name in names if name.startswith(folders) and not name.endswith(".pyc")}


def test_there_is_an_archive_for_each_function_and_no_other(built: Built) -> None:
    """Nobody lists functions: a folder with a handler is one, and each job type has one."""
    assert set(FUNCTIONS) == set(built.artifacts.functions)
    assert {one.options.folder for one in registry.contracts()} <= set(built.artifacts.functions)
    assert {"layer", "deployment", *(f"functions/{name}" for name in FUNCTIONS)} == set(built.archives)


def test_the_layer_holds_the_shared_packages_and_their_pins(built: Built) -> None:
    """All in `python/`, where Lambda's Python looks; with the versions that the tests ran with."""
    names = built.names("layer")
    assert all(name.startswith("python/") for name in names)
    shared = {f"python/{path.relative_to(ROOT / 'shared')}" for path in files_below(ROOT / "shared")}
    assert shared == ours(names, "python/qstash_jobs/", "python/saas/")
    assert pinned("requirements/layer.txt") | {"qstash-jobs": "0.1.0"} == installed(built, "layer")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_holds_its_own_code_and_its_own_packages(built: Built, function: str) -> None:
    """Nothing of another function, nothing of the layer a second time."""
    archive = f"functions/{function}"
    names = built.names(archive)
    own = {path.relative_to(ROOT).as_posix() for path in files_below(ROOT / "functions" / function)}
    requirements = f"functions/{function}/requirements.txt"
    assert {*own, "functions/__init__.py"} - {requirements} == ours(names, "functions/")
    assert (pinned(requirements) if requirements in own else {}) == installed(built, archive)
    assert not {"qstash_jobs", "saas", "infra"} & {PurePosixPath(name).parts[0] for name in names}


def test_the_layer_knows_the_time_zones(native: Built) -> None:
    """Lambda's system has none: without them no schedule could be declared, not even one in UTC."""
    program = "from zoneinfo import ZoneInfo; print(ZoneInfo('UTC'), ZoneInfo('Europe/Berlin'))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONTZPATH": "", "PYTHONPATH": str(native.folder / "layer/python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("UTC Europe/Berlin\n", "")


def test_the_deployment_holds_its_functions_and_the_migrations(built: Built) -> None:
    """And of `infra` nothing else: what runs on a desk stays there."""
    own = {"infra/__init__.py", "infra/stage.py"}
    for folder in ("deployment", "migrations"):
        own |= {path.relative_to(ROOT).as_posix() for path in files_below(ROOT / "infra" / folder)}
    requirements = "infra/deployment/requirements.txt"
    assert own - {requirements} == ours(built.names("deployment"), "infra/")
    assert pinned(requirements) == installed(built, "deployment")


def test_there_is_no_dead_weight(built: Built) -> None:
    """No tests, no boto3, which Lambda has, no sources of what is compiled, no caches but the bytecode, no commands."""
    unwanted = re.compile(
        r"(^|/)(tests?|bin|boto3|botocore|s3transfer|pip|setuptools)/|\.(c|h|cpp|pyx|pxd|pyi|pth|pyo|exe|dist-info/RECORD)$"
        r"|(^|/)\.|\.egg-info|conftest|requirements\.txt$"
    )
    found = [f"{name}: {entry}" for name in built.archives for entry in built.names(name) if unwanted.search(entry)]
    assert found == []


def test_every_module_comes_with_bytecode_that_lambda_trusts(arm64: Built) -> None:
    """For each source its bytecode, made of that very source, marked to be taken unchecked, and none without a source."""
    sources: dict[tuple[str, str], bytes] = {}
    bytecode: dict[tuple[str, str], bytes] = {}
    for archive, name, content in arm64.contents(".py", ".pyc"):
        if name.endswith(".py"):
            sources[archive, name] = content
        elif name.endswith(".pyc"):
            bytecode[archive, importlib.util.source_from_cache(name)] = content
    assert sources.keys() == bytecode.keys()
    for place, content in bytecode.items():
        assert content[:4] == importlib.util.MAGIC_NUMBER, place
        assert struct.unpack("<I", content[4:8])[0] == TRUSTED, place
        assert importlib.util.source_hash(sources[place]) == content[8:16], place


def test_tracebacks_name_the_files_as_lambda_has_them(arm64: Built) -> None:
    """And nothing of the machine that built."""
    for archive, name, content in arm64.contents(".pyc"):
        source = importlib.util.source_from_cache(name)
        mount = "/opt" if archive == "layer" else "/var/task"
        assert {f"{mount}/{source}"} == set(_filenames(marshal.loads(content[16:]))), name


def _filenames(code: CodeType) -> Iterator[str]:
    yield code.co_filename
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _filenames(constant)


def test_no_file_tells_where_it_was_built(arm64: Built) -> None:
    """The checkout's path is in none of them."""
    here = str(ROOT).encode()
    assert [f"{archive}: {name}" for archive, name, content in arm64.contents() if here in content] == []


def test_what_is_compiled_is_for_the_processor(built: Built) -> None:
    """Every shared library's header names it; and there are no others in disguise."""
    machines, named = {}, set()
    for archive, path in built.archives.items():
        with zipfile.ZipFile(path) as file:
            for name in file.namelist():
                with file.open(name) as content:
                    head = content.read(20)
                if head.startswith(b"\x7fELF"):
                    machines[f"{archive}: {name}"] = struct.unpack("<H", head[18:20])[0]
                if re.search(r"\.so($|\.)", name):
                    named.add(f"{archive}: {name}")
    assert {ELF_MACHINES[built.artifacts.architecture]} == set(machines.values())
    assert named == machines.keys()
    for library in ("pydantic_core", "typst", "rustpy_xlsxwriter"):
        assert any(library in name for name in machines), library


def test_archives_say_nothing_of_when_and_by_whom(built: Built) -> None:
    """One time, one mode that everybody may read, names in order: so that equal contents are equal archives."""
    for path in built.archives.values():
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
        assert {((1980, 1, 1, 0, 0, 0), 0o100644, b"", b"")} == {
            (one.date_time, one.external_attr >> 16, one.extra, one.comment) for one in entries
        }
        assert sorted(names := [one.filename for one in entries]) == names
        assert len(set(names)) == len(names)


def test_sizes_are_within_the_limits(built: Built) -> None:
    """Of our own budget for the layer, and of Lambda's for a function with it; and the manifest tells them truly."""
    layer = built.manifest.archives["layer"]
    assert 20 * MB < layer.unzipped - layer.bytecode <= LAYER
    assert layer.unzipped <= LAYER_WITH_BYTECODE
    for name, path in built.archives.items():
        told = built.manifest.archives[name]
        with zipfile.ZipFile(path) as file:
            assert sum(one.file_size for one in file.infolist()) == told.unzipped
            assert len(file.infolist()) == told.files
        assert path.stat().st_size == told.zipped
        assert told.unzipped + layer.unzipped <= UNZIPPED


def test_the_folders_hold_what_the_archives_hold(native: Built) -> None:
    """For who wants to look."""
    for name, path in native.archives.items():
        with zipfile.ZipFile(path) as file:
            for entry in file.namelist():
                assert file.getinfo(entry).file_size == (native.folder / name / entry).stat().st_size
