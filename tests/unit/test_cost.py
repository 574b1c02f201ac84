"""What jobs cost: sums done by hand, and what the model promises."""

from __future__ import annotations

import pytest

from infra.cli.cost import firings, workload
from infra.cost import prices
from infra.cost.model import TTL_SECONDS, Workload, bill, exceeds_free_plan
from infra.cost.prices import Price
from qstash_jobs import secrets


def line(work: Workload, name: str) -> tuple[float, float, float]:
    """A line's quantity, its list price and what is due."""
    item = next(one for one in bill(work) if one.name == name)
    return round(item.quantity, 4), round(item.list_usd, 4), round(item.due_usd, 4)


PLAIN = Workload(
    jobs=1_000_000,
    duration_ms=500,
    memory_mb=1024,
    retry_rate=0,
    failure_rate=0,
    cold_rate=0,
    log_bytes=2_000,
    types=1,
)
"""A million jobs of half a second at a gigabyte, and nothing that goes wrong."""


def test_a_million_by_hand() -> None:
    """1,000,000 messages at 1 USD for 100,000; 500,000 GB-s of which 100,000 are due; 2 GB of logs, all free."""
    assert line(PLAIN, "QStash messages") == (1_000_000, 10, 10)
    assert line(PLAIN, "Lambda requests") == (1_000_000, 0.2, 0)
    assert line(PLAIN, "Lambda compute, arm64") == (500_000, 6.6667, 1.3333)
    assert line(PLAIN, "CloudWatch logs") == (2, 1, 0)
    assert line(PLAIN, "CloudWatch metrics") == (7, 2.1, 0)
    assert line(PLAIN, "Secrets") == (8, 3.2, 3.2)
    # One warm environment reads two secrets 12 times an hour for 730 hours.
    assert line(PLAIN, "Secrets, calls") == (17_520, 0.0876, 0.0876)
    assert sum(one.list_usd for one in bill(PLAIN)) == pytest.approx(10 + 0.2 + 6.6667 + 1 + 2.1 + 3 + 3.2 + 0.0876)


def test_what_goes_wrong_costs_by_hand() -> None:
    """10 % retried and 1 % failed are 110,000 more messages; the 10,000 callbacks run for 0.1 s at half a gigabyte; every
    second attempt starts cold, for a second."""
    work = Workload(
        jobs=1_000_000,
        duration_ms=500,
        memory_mb=1024,
        retry_rate=0.1,
        failure_rate=0.01,
        cold_rate=0.5,
        cold_ms=1_000,
    )
    assert line(work, "QStash messages") == (1_110_000, 11.1, 11.1)
    assert line(work, "Lambda compute, arm64")[0] == 1_100_000 * (0.5 + 0.5) + 10_000 * 0.05
    assert line(work, "Secrets, calls")[0] == 17_520 + 2 * 550_000


def test_x86_by_hand() -> None:
    """500,000 GB-s at 16.6667 USD a million."""
    work = Workload(jobs=1_000_000, duration_ms=500, memory_mb=1024, retry_rate=0, failure_rate=0, cold_rate=0)
    on_x86 = Workload(**{**vars(work), "architecture": "x86_64"})
    assert line(on_x86, "Lambda compute, x86_64") == (500_000, 8.3333, 1.6667)


def test_more_of_tmp_by_hand() -> None:
    """1,100,000 attempts of half a second, of which every second starts cold for a second, with 3.5 GB beyond the half that
    is free, at 0.0309 USD a million."""
    work = Workload(jobs=1_000_000, duration_ms=500, retry_rate=0.1, cold_rate=0.5, cold_ms=1_000, ephemeral_mb=4_096)
    assert line(work, "Lambda storage") == (3_850_000, 0.119, 0.119)
    assert "Lambda storage" not in {one.name for one in bill(PLAIN)}


def test_aurora_by_hand() -> None:
    """Half a unit for 730 hours, 10 GB, a NAT gateway and its address; a proxy counts as eight units."""
    work = Workload(jobs=0, aurora_acu=0.5, proxy=True)
    assert line(work, "Aurora capacity") == (365, 43.8, 43.8)
    assert line(work, "Aurora storage") == (10, 1, 1)
    assert line(work, "RDS Proxy") == (5840, 87.6, 87.6)
    assert line(work, "NAT gateway") == (730, 32.85, 32.85)
    assert line(work, "NAT address") == (730, 3.65, 3.65)


def test_files_by_hand() -> None:
    """3,650 files of 2 MB are 7.3 GB, kept for 7 of 30.4 days."""
    work = Workload(jobs=0, files=3_650, file_mb=2)
    assert line(work, "S3 storage") == (1.68, 0.0386, 0.0386)
    assert line(work, "S3 writes") == (3_650, 0.0182, 0.0182)


def test_busy_environments_are_counted() -> None:
    """Ten million jobs of half a minute keep 114 environments busy, and each reads its secrets."""
    work = Workload(jobs=10_000_000, duration_ms=30_000, retry_rate=0, cold_rate=0)
    assert work.warm == pytest.approx(114.155, abs=0.001)
    assert line(work, "Secrets, calls")[0] == pytest.approx(2 * 114.155 * 730 * 12, rel=0.0001)


def test_the_free_plan() -> None:
    """A thousand messages a day, of which the schedules need 292; `docs/cost.md` names how many jobs are left."""
    assert firings() == round(292 * 365 / 12 - 6 / 7 * 365 / 12)  # one of the five is weekly
    assert not exceeds_free_plan(workload(jobs=21_000.0, plan="free"))
    assert exceeds_free_plan(workload(jobs=22_000.0, plan="free"))
    assert "QStash messages" not in {one.name for one in bill(workload(plan="free"))}


@pytest.mark.parametrize(
    "wrong",
    [{"jobs": -1}, {"jobs": float("nan")}, {"jobs": float("inf")}, {"failure_rate": 1.1}, {"retry_rate": -0.1}],
)
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    """A sentence with the name of what is wrong."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Workload(**wrong)  # type: ignore[arg-type]


def test_the_waits_are_those_of_the_functions() -> None:
    """How long a secret is used, and how many there are."""
    assert secrets.TTL_SECONDS == TTL_SECONDS
    assert workload().secrets == 8


def test_each_price_has_a_source() -> None:
    """The seller's page, and the copy in which it was read, unless it says that it is from memory."""
    found = {name: value for name, value in vars(prices).items() if isinstance(value, Price)}
    assert len(found) > 15
    for name, one in found.items():
        assert one.source.startswith("https://"), name
        assert one.copy.startswith("https://") or one.from_memory, name
        assert one.usd > 0
