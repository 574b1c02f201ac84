"""Everything that people can meet is documented, and every link leads somewhere."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import qstash_jobs
from infra.cli.app import app
from infra.docs.commands import leaves
from infra.docs.pages import BLOCKS, PageBroken, rendered
from qstash_jobs import errors
from qstash_jobs.executions.state import Outcome, Status, Verb
from qstash_jobs.schedules import SCHEDULES
from qstash_jobs.settings import Settings
from tests.conftest import ROOT
from tests.docs.pages import PAGES, name, snippets

OURS = (
    "shared/qstash_jobs",
    *(
        f"functions/{name}"
        for name in (
            *("cleanup_old_data", "download", "export_data", "failure_callback", "generate_report", "probe"),
            *("process_webhook", "reconcile_jobs", "send_email", "webhook_ingress"),
        )
    ),
)
"""What the project ships. The log lines and metrics of functions that someone adds are theirs to document."""
SOURCES = [path for folder in OURS for path in sorted((ROOT / folder).rglob("*.py"))]
REFERENCE = ROOT / "docs/reference"


def page(path: str) -> str:
    return (ROOT / path).read_text()


COMMANDS = {
    path: one
    for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    for path, one in leaves(name, command)
}


EVERYWHERE = {"--stage", "--app", "--region", "--profile"}


def test_generated_parts_are_up_to_date() -> None:
    """`make docs` would change nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.docs", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stale_page_is_named(tmp_path: Path) -> None:
    """What differs is known by comparing, and a page without its blocks is an error that says which."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    stale = tmp_path / "docs/reference/errors.md"
    stale.write_text(stale.read_text().replace("JobsError", "JobError"))
    assert stale.read_text() != rendered(tmp_path)[stale]
    stale.write_text("# Errors\n")
    with pytest.raises(PageBroken, match="errors"):
        rendered(tmp_path)


@pytest.mark.parametrize("block", BLOCKS)
def test_what_is_generated_is_the_same_each_time(block: str) -> None:
    """Nothing in it depends on the order of a set, on the time or on the terminal."""
    assert BLOCKS[block]() == BLOCKS[block]()


def test_every_setting_is_documented() -> None:
    """In the reference and in `.env.example`, which a shell can read."""
    names = {str(field.alias) for field in Settings.model_fields.values()}
    assert names <= set(re.findall(r"`([A-Z_]+)`", page("docs/reference/settings.md")))
    assert names == set(re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", page(".env.example"), re.MULTILINE))
    assert subprocess.run(["sh", "-n", ".env.example"], cwd=ROOT, check=False).returncode == 0


def test_the_defaults_of_the_example_are_accepted() -> None:
    """Each commented line can be used as it stands."""
    lines = re.findall(r'^# ([A-Z][A-Z_]+)="?([^"\n]+)"?$', page(".env.example"), re.MULTILINE)
    assert Settings.read(dict(lines)) == Settings.read({})


def test_every_declared_schedule_is_documented() -> None:
    """With when it fires, and what for."""
    text = page("docs/schedule-jobs.md")
    assert [one.id for one in SCHEDULES if not re.search(rf"^\| `{one.id}` \| \w.+ \| \w.+ \|$", text, re.M)] == []


def test_every_status_move_and_outcome_is_documented() -> None:
    """With more than its name."""
    text = page("docs/reference/lifecycle.md")
    assert [word for word in (*Status, *Verb, *Outcome) if not re.search(rf"^\| `{word}` \|.*\w", text, re.M)] == []


def test_every_error_is_documented() -> None:
    """Those that the package shows, and those that only its module does."""
    text = page("docs/reference/errors.md")
    named = [
        key for key, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    assert [one for one in named if f".{one}` |" not in text] == []


def test_every_command_is_documented() -> None:
    """With each of its options."""
    text = page("docs/reference/cli.md")
    assert [one for one in COMMANDS if f"### `jobs {one}`" not in text] == []


def test_every_public_name_is_used_or_explained_somewhere() -> None:
    """What `from qstash_jobs import ...` offers appears in the docs."""
    text = "\n".join(page.read_text() for page in PAGES)
    assert [one for one in qstash_jobs.__all__ if not re.search(rf"\b{one}\b", text)] == []


def calls(names: set[str]) -> set[str]:
    """The constant strings that are the first argument of calls of these names, in what is shipped."""
    found: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr=called) | ast.Name(id=called),
                    args=[ast.Constant(value=str(text)), *_],
                ) if called in names:
                    found.add(text)
    return found


def test_every_metric_is_documented() -> None:
    """Counters, times and gauges of everything that is shipped."""
    literal = calls({"count", "milliseconds", "seconds", "gauge", "single_metric"})
    looked_up = set(re.findall(r'"(Jobs[A-Z][a-z]+)"', page("shared/qstash_jobs/serving.py")))
    names = {one for one in literal if re.fullmatch(r"[A-Z]\w+", one)} | looked_up
    documented = set(re.findall(r"^\| `([A-Z]\w+)` \|", page("docs/reference/metrics-and-logs.md"), re.MULTILINE))
    assert documented == names


def test_every_log_line_is_documented() -> None:
    """By its first words, before what differs from line to line."""
    text = page("docs/reference/metrics-and-logs.md")
    said = {re.split(r"[:%(]", one)[0].strip() for one in calls({"info", "warning", "error", "exception"})}
    assert sorted(one for one in said if f"`{one}" not in text and f"{one}`" not in text) == []


def test_every_reason_of_a_rejection_is_documented() -> None:
    """As the metric's dimension shows it."""
    source = page("shared/qstash_jobs/signature.py")
    reasons = set(re.findall(r'(?:SignatureRejected\(|Error, |else |, )"([a-z_]+)"\)', source))
    reasons |= calls({"rejected", "SignatureRejected"})
    text = page("docs/reference/metrics-and-logs.md")
    assert {"wrong_url", "expired", "undecodable", "malformed"} <= reasons
    assert sorted(one for one in reasons if f"| `{one}` |" not in text) == []


def test_every_answer_is_documented() -> None:
    """Each reason that a function can give QStash stands in the table of answers."""
    reasons = calls({"final"})
    for path in SOURCES:
        reasons |= set(re.findall(r'Answer\(\d+, "(\w+)"', path.read_text()))
    text = page("docs/how-a-job-lives.md")
    assert "completed" in reasons
    assert sorted(one for one in reasons if f"`{one}`" not in text) == []


def test_the_promises_name_tests_that_exist() -> None:
    """Who wants to see a promise kept can run the test that is named."""
    defined = {
        found
        for path in (ROOT / "tests").rglob("test_*.py")
        for found in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = set(re.findall(r"`(test_\w+)`", page("docs/promises.md")))
    assert len(named) > 20
    assert sorted(named - defined) == []


def heading(text: str) -> str:
    """A heading as it stands in a link: as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower().replace("`", "")).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    """Each relative link of a page names a file, and a heading of it."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"(?:\]\(|src=\"|href=\")([^)\"\s]+)", text):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        headings = (
            {heading(one) for one in re.findall(r"^#+ (.+)$", target.read_text(), re.M)}
            if target.suffix == ".md" and target.is_file()
            else set()
        )
        if not target.exists() or (anchor and anchor not in headings):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached() -> None:
    """The index leads to each page of docs/."""
    index = page("docs/index.md")
    pages = [str(path.relative_to(ROOT / "docs")) for path in PAGES if path.is_relative_to(ROOT / "docs")]
    assert [one for one in pages if f"({one})" not in index and one != "index.md"] == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_make_targets_and_commands_exist(path: Path) -> None:
    """Each `make …` and `jobs …` that a page names is one."""
    text = path.read_text()
    targets = set(re.findall(r"^([a-z-]+):.*##", page("Makefile"), re.MULTILINE))
    commands = {one.partition(" ")[0] for one in COMMANDS}
    written = re.findall(r"(?:^|`|\n)(make|jobs) ((?:[a-z][a-z-]* ?)+)", text)
    wrong = [
        f"{program} {word}"
        for program, words in written
        for word in (words.split() if program == "make" else words.split()[:1])
        if word not in (targets if program == "make" else commands)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_options_of_commands_exist(path: Path) -> None:
    """Each `--option` in a shell block is one of its command."""
    wrong = []
    for block in snippets(path, "sh"):
        for line in block.code.replace("\\\n", " ").splitlines():
            words = line.partition("#")[0].split()
            if words[:1] != ["jobs"] or len(words) < 2:
                continue
            while words[1] in EVERYWHERE:  # which stand before the command, each with a value
                del words[1:3]
            command = COMMANDS.get(words[1]) or COMMANDS[" ".join(words[1:3])]
            options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
            wrong += [word for word in words if word.startswith("--") and word not in options]
    assert wrong == []
