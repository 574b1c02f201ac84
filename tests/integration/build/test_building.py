"""Building: equal sources make equal archives, only what has changed is made again, and what fails says why."""

from __future__ import annotations

import re
import shutil
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer

from infra.build import __main__ as command
from infra.build.archive import Archive
from infra.build.artifacts import Artifacts, BuildMissing, BuildStale
from infra.build.builder import build
from infra.build.errors import BuildRefused, BuildTooLarge, PackageUnavailable
from infra.build.limits import LAYER, MB, UNZIPPED, check
from infra.build.manifest import Manifest
from infra.build.platform import check_interpreter
from tests.conftest import ROOT
from tests.integration.build.conftest import Built, pins

MODULE = "shared/qstash_jobs/__init__.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages, fetched once for all tests of this module."""
    return tmp_path_factory.mktemp("packages")


def change(path: Path) -> None:
    """A change that matters."""
    path.write_text(path.read_text() + "\nCHANGED = True\n")


def times(root: Path) -> dict[str, int]:
    """When each archive was written."""
    folder = root / "build"
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.zip")}


def test_equal_sources_make_equal_archives_wherever_they_are(arm64: Built, tmp_path: Path) -> None:
    """A copy of the checkout, in another folder and with packages that were fetched anew, comes out the same to the byte:
    so a deployment uploads only what has changed."""
    root = tmp_path / "elsewhere and anew"
    for name in ("shared", "infra/deployment", "infra/migrations", "functions/send_email", "functions/probe"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        *("pyproject.toml", "README.md", "LICENSE", "requirements/layer.txt"),
        *("functions/__init__.py", "infra/__init__.py", "infra/stage.py"),
    ):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    made = build(root, architecture="arm64")
    expected = {name: arm64.manifest.archives[name].sha256 for name in made.archives}
    assert expected == {name: archive.sha256 for name, archive in made.archives.items()}
    assert {"layer", "functions/send_email", "functions/probe", "deployment"} == set(made.archives)


def test_what_was_built_is_found_and_fits_its_sources(small: Path, cache: Path) -> None:
    """By whoever deploys it."""
    build(small, cache=cache)
    found = Artifacts.of(small)
    assert ("arm64", {"hello"}) == (found.architecture, set(found.functions))
    assert {small / "build/layer.zip", small / "build/deployment.zip", small / "build/functions/hello.zip"} == {
        found.layer,
        found.deployment,
        found.functions["hello"],
    }


def test_without_a_build_there_is_a_sentence(small: Path) -> None:
    """It names the command."""
    with pytest.raises(BuildMissing, match=r"nothing is built in .*build\. Run: make build"):
        Artifacts.of(small)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (MODULE, "shared/qstash_jobs/__init__.py has changed since the build. Run: make build"),
        ("functions/hello/new.py", "functions/hello/new.py is new since the build. Run: make build"),
        ("functions/hello/requirements.txt", "functions/hello/requirements.txt is new since the build"),
        ("requirements/layer.txt", "requirements/layer.txt has changed since the build"),
        ("pyproject.toml", "pyproject.toml has changed since the build"),
    ],
)
def test_a_source_that_changed_makes_a_build_stale(small: Path, cache: Path, path: str, sentence: str) -> None:
    """So that nobody deploys what is not what they see."""
    build(small, cache=cache)
    (small / path).write_text((small / path).read_text() + "# more\n" if (small / path).exists() else "")
    with pytest.raises(BuildStale, match=sentence):
        Artifacts.of(small)


def test_a_function_that_is_gone_makes_a_build_stale(small: Path, cache: Path) -> None:
    """And its archive goes with the next build."""
    shutil.copytree(small / "functions/hello", small / "functions/other")
    build(small, cache=cache)
    shutil.rmtree(small / "functions/other")
    with pytest.raises(BuildStale, match=r"functions/other/__init__.py is gone since the build, and so has one more"):
        Artifacts.of(small)
    build(small, cache=cache)
    assert {"hello"} == set(Artifacts.of(small).functions)
    assert {"hello", "hello.zip"} == {path.name for path in (small / "build/functions").iterdir()}


def test_an_archive_that_is_gone_makes_a_build_stale(small: Path, cache: Path) -> None:
    """Also one that somebody else wrote to; the next build makes it again."""
    build(small, cache=cache)
    before = (small / "build/layer.zip").read_bytes()
    for spoil in (Path.unlink, lambda path: path.write_bytes(b"")):
        spoil(small / "build/layer.zip")
        with pytest.raises(BuildStale, match=r"layer\.zip is gone, or not as it was built"):
            Artifacts.of(small)
        build(small, cache=cache)
        assert before == (small / "build/layer.zip").read_bytes()


def test_words_and_caches_make_no_build_stale(small: Path, cache: Path) -> None:
    """The README is not in the layer; what Python keeps beside the sources, and an editor, is nobody's work."""
    build(small, cache=cache)
    change(small / "README.md")
    (small / "functions/hello/__pycache__").mkdir()
    (small / "functions/hello/__pycache__/handler.cpython-313.pyc").write_bytes(b"")
    (small / "functions/hello/.handler.py.swp").write_bytes(b"")
    assert Artifacts.of(small)


def test_only_what_changed_is_made_again(small: Path, cache: Path) -> None:
    """The rest is left alone, also when nothing has changed at all."""
    build(small, cache=cache)
    first = times(small)
    lines: list[str] = []
    build(small, cache=cache, progress=lines.append)
    assert (first, []) == (times(small), lines)
    change(small / "functions/hello/handler.py")
    build(small, cache=cache, progress=lines.append)
    now = times(small)
    assert [name for name in now if now[name] != first[name]] == ["functions/hello.zip"]
    assert lines == ["functions/hello: sources, bytecode, archive"]


def test_the_other_processor_is_another_build(small: Path, cache: Path) -> None:
    """It takes the place of the first."""
    build(small, cache=cache)
    build(small, architecture="x86_64", cache=cache)
    assert Artifacts.of(small).architecture == "x86_64"


def test_an_interrupted_build_leaves_the_last_one(small: Path, cache: Path) -> None:
    """What cannot be built is not built; of what could not be, the last archive is still there, and is stale."""
    build(small, cache=cache)
    before = (small / "build/functions/hello.zip").read_bytes()
    (small / "functions/hello/handler.py").write_text("def handler(event, context:\n")
    with pytest.raises(BuildRefused, match=r"(?s)functions/hello/handler\.py.*SyntaxError"):
        build(small, cache=cache)
    assert before == (small / "build/functions/hello.zip").read_bytes()
    with pytest.raises(BuildStale, match=r"functions/hello/handler\.py has changed"):
        Artifacts.of(small)
    assert not [path for path in (small / "build").iterdir() if path.name.startswith("new-")]


def test_a_failed_build_lets_nothing_through_that_is_not_in_the_checkout(small: Path, cache: Path) -> None:
    """Of two functions one was made with a change that is taken back later, and its archive has the size of the last."""
    shutil.copytree(small / "functions/hello", small / "functions/other")
    build(small, cache=cache)
    changed, broken = small / "functions/hello/handler.py", small / "functions/other/handler.py"
    archive = small / "build/functions/hello.zip"
    good, source = archive.read_bytes(), changed.read_text()
    changed.write_text(source.replace("200", "201"))
    broken.write_text("def handler(event, context:\n")
    with pytest.raises(BuildRefused, match=r"(?s)functions/other/handler\.py.*SyntaxError"):
        build(small, cache=cache)
    changed.write_text(source)
    broken.write_text(source)
    left = archive.read_bytes()
    assert (left != good, len(left)) == (True, len(good))
    with pytest.raises(BuildStale, match=r"hello\.zip is gone, or not as it was built"):
        Artifacts.of(small)
    build(small, cache=cache)
    assert archive.read_bytes() == good
    assert Artifacts.of(small)


def test_a_package_without_a_wheel_is_named(small: Path, cache: Path) -> None:
    """With where it is pinned, for which platform, and what to do."""
    nothing = pins("typing-extensions").replace("==4.16.0", "==0.0.1")
    (small / "functions/hello/requirements.txt").write_text(nothing)
    with pytest.raises(PackageUnavailable) as caught:
        build(small, cache=cache)
    assert "there is no wheel of typing-extensions==0.0.1 (hello/requirements.txt) for Python 3.13 on arm64" in str(
        caught.value
    )


@pytest.mark.parametrize("status", [401, 403, 404, 503])
def test_an_index_that_refuses_is_not_taken_for_a_missing_wheel(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """pip says the same of both, so the sentence names both; it says no word of the index's password."""

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_arguments: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        only_index(monkeypatch, f"http://ada:hush@127.0.0.1:{server.server_port}/simple")
        with pytest.raises(PackageUnavailable) as caught:
            build(small, cache=tmp_path / "packages")
        server.shutdown()
    assert "no wheel of typing-extensions==4.16.0" in str(caught.value)
    assert "or the index refused, or does not have it: check PIP_INDEX_URL and its credentials" in str(caught.value)
    assert "hush" not in str(caught.value)


def only_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let pip ask there, and look nowhere else."""
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": url,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
    }.items():
        monkeypatch.setenv(name, value)


def test_an_index_that_gives_something_else_is_refused(small: Path, cache: Path) -> None:
    """Every package is pinned by its content."""
    other = "\n".join(["typing-extensions==4.16.0 \\", f"    --hash=sha256:{'0' * 64}"])
    (small / "functions/hello/requirements.txt").write_text(other + "\n")
    with pytest.raises(PackageUnavailable, match=r"not what hello/requirements\.txt pins(?s:.*)make lock"):
        build(small, cache=cache)


def test_without_a_network_there_is_a_sentence(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not pip's pages."""
    only_index(monkeypatch, "http://127.0.0.1:9/simple")
    with pytest.raises(PackageUnavailable) as caught:
        build(small, cache=tmp_path / "packages")
    assert "the package index did not answer when typing-extensions" in str(caught.value)
    assert "PIP_INDEX_URL" in str(caught.value)


def test_a_package_that_brings_a_file_of_ours_is_refused(small: Path, cache: Path) -> None:
    """One would hide the other, and nobody would know which."""
    (small / "functions/hello/requirements.txt").write_text(pins("typing-extensions"))
    build(small, cache=cache)
    wheel = small / "shared/saas"
    (small / "pyproject.toml").write_text(
        (small / "pyproject.toml")
        .read_text()
        .replace('"shared/saas"]', '"shared/saas", "shared/typing_extensions.py"]')
    )
    (wheel.parent / "typing_extensions.py").write_text("")
    with pytest.raises(BuildRefused, match=r"layer: a package brings .*typing_extensions.*, and so do we"):
        build(small, cache=cache)


def test_a_checkout_without_functions_is_refused(small: Path) -> None:
    """There would be nothing to deploy."""
    shutil.rmtree(small / "functions")
    with pytest.raises(BuildRefused, match="there is no function in"):
        build(small)


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 14)])
def test_another_python_is_refused(version: tuple[int, int]) -> None:
    """Its bytecode would be dead weight; the sentence says how to get the right one."""
    with pytest.raises(BuildRefused, match=rf"3\.{version[1]}\. Make it anew: .*make build PYTHON=python3\.13"):
        check_interpreter(version)


def archive(unzipped: int, bytecode: int = 0) -> Archive:
    """One of that size."""
    return Archive(sha256="", zipped=1, unzipped=unzipped, bytecode=bytecode, files=1, of="")


@pytest.mark.parametrize(
    ("archives", "sentence"),
    [
        ({"layer": archive(LAYER + MB)}, r"the layer has 46\.0 MB without its bytecode, and is to have at most 45"),
        ({"layer": archive(66 * MB, 30 * MB)}, r"the layer has 66\.0 MB with its bytecode"),
        (
            {"layer": archive(10 * MB), "functions/big": archive(UNZIPPED)},
            r"functions/big and the layer have 272\.1 MB together, and Lambda takes 262\.1",
        ),
    ],
)
def test_what_is_too_large_is_refused(archives: dict[str, Archive], sentence: str) -> None:
    """Before Lambda does, and with the figures."""
    with pytest.raises(BuildTooLarge, match=sentence):
        check(archives)


def test_the_command_says_what_it_does_and_how_large_it_came_out(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each archive while it is made, and a table."""
    monkeypatch.setattr(command, "ROOT", small)
    command.main("x86_64")
    said = capsys.readouterr().out
    assert "functions/hello: sources, bytecode, archive\n" in said
    assert re.search(r"archive +zipped +unzipped +of that bytecode +with the layer +files", said)
    assert re.search(r"functions/hello +0\.0 MB", said)
    assert "build/ is up to date for x86_64" in said


def test_the_command_builds_for_the_processor_of_the_deployment(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the context in cdk.json says, unless it is told another; one that there is not is refused."""
    monkeypatch.setattr(command, "ROOT", small)
    assert command.asked_for(small) == "arm64"
    (small / "cdk.json").write_text('{"context": {"architecture": "x86_64"}}')
    command.main()
    assert Artifacts.of(small).architecture == "x86_64"
    command.main("arm64")
    assert Artifacts.of(small).architecture == "arm64"
    (small / "cdk.json").write_text('{"context": {"architecture": "arm"}}')
    with pytest.raises(typer.Exit):
        command.main()
    assert "cdk.json asks for the architecture 'arm', and there are arm64, x86_64" in capsys.readouterr().err


def test_the_command_says_why_it_cannot(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence, and a status that stops a deployment."""
    monkeypatch.setattr(command, "ROOT", small)
    shutil.rmtree(small / "functions")
    with pytest.raises(typer.Exit) as caught:
        command.main("arm64")
    assert caught.value.exit_code == 1
    assert "Not built: there is no function in" in capsys.readouterr().err


def test_a_manifest_of_another_version_of_this_program_counts_as_none(small: Path, cache: Path) -> None:
    """Then everything is made again."""
    build(small, cache=cache)
    (small / "build/manifest.json").write_text('{"architecture": "arm64"}')
    assert Manifest.read(small / "build") is None
    with pytest.raises(BuildMissing):
        Artifacts.of(small)
    build(small, cache=cache)
    with zipfile.ZipFile(Artifacts.of(small).layer) as file:
        assert "python/typing_extensions.py" in file.namelist()
