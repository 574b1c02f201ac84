"""`jobs cost`: the table, and the same as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.cli import cost
from infra.cost.model import bill
from tests.conftest import ROOT
from tests.integration.cli.conftest import Jobs


def test_the_table(jobs: Jobs, nowhere: pytest.MonkeyPatch) -> None:
    """Every line with its formula and price, the sum, and what is not in it; no setting and no network is needed."""
    done = jobs("cost")
    assert done.code == 0
    for item in bill(cost.workload()):
        assert f"  {item.name}: {item.formula}; " in done.out
    assert "check before relying on them" in done.out
    assert "Aurora's I/O (0.2 USD a million) and its backups of more than a day" in done.out
    assert "price from memory" in done.out


def test_for_programs(jobs: Jobs) -> None:
    """Each line with where its price is written; the sum is that of the table, and that of the page."""
    document = json.loads(jobs("cost", "--json").out)
    assert document["dueUsd"] == pytest.approx(sum(one["dueUsd"] for one in document["items"]), abs=0.001)
    assert all(one["source"].startswith("https://") for one in document["items"])
    page = (ROOT / "docs/cost.md").read_text()
    assert f"| **{document['listUsd']:.2f}** | **{document['dueUsd']:.2f}** |" in page
    assert f"{document['dueUsd']:.2f}" in jobs("cost").out


def test_of_a_job_type(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory and storage, and its times where they were measured; what is said goes first; an unknown type is a sentence."""
    measured = tmp_path / "runtime.json"
    monkeypatch.setattr(cost, "MEASURED", measured)
    assert json.loads(jobs("cost", "--type", "export-data", "--json").out)["workload"]["duration_ms"] == 200
    measured.write_text('{"export-data": {"cold": 257.2, "warm": 3.9, "invocations": 4}}')
    work = json.loads(jobs("cost", "--type", "export-data", "--json").out)["workload"]
    assert (work["memory_mb"], work["ephemeral_mb"], work["duration_ms"]) == (1769, 4096, 3.9)
    assert work["cold_ms"] == pytest.approx(257.2 - 3.9)  # what was measured is the whole first call
    assert "add the way to yours" in jobs("cost", "--type", "export-data").out
    said = json.loads(jobs("cost", "--type", "export-data", "--duration-ms", "70", "--memory", "256", "--json").out)
    assert (said["workload"]["memory_mb"], said["workload"]["duration_ms"]) == (256, 70)
    less = json.loads(jobs("cost", "--type", "export-data", "--ephemeral-storage", "512", "--json").out)
    assert "Lambda storage" not in {one["item"] for one in less["items"]}
    assert "unknown job type 'export'" in jobs("cost", "--type", "export").sentence


def test_the_free_plan_is_said_to_be_too_small(jobs: Jobs) -> None:
    """A million do not fit into a thousand a day."""
    assert "takes 1,000 messages a day" in jobs("cost", "--plan", "free").out
    assert "takes 1,000 messages a day" not in jobs("cost", "--plan", "free", "--jobs", "20000").out


@pytest.mark.parametrize("arguments", [("--jobs", "nan"), ("--jobs", "inf"), ("--jobs", "-1"), ("--failure-rate", "2")])
def test_what_cannot_be_is_a_wrong_argument(jobs: Jobs, arguments: tuple[str, str]) -> None:
    """Exit status 2, and no table."""
    done = jobs("cost", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
