"""What jobs cost, from the model that the command `jobs cost` shows."""

from __future__ import annotations

from typing import Any

from infra.cli.cost import workload
from infra.cost import prices
from infra.cost.model import Item, bill
from infra.cost.prices import Price
from infra.docs.markdown import table

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
VARIATIONS: dict[str, dict[str, Any]] = {
    "as above": {},
    "on x86_64": {"architecture": "x86_64"},
    "a job takes 2 s": {"duration_ms": 2_000},
    "a job takes 2 s at 1,769 MB, a whole processor": {"duration_ms": 2_000, "memory_mb": 1_769},
    "the same with 4,096 MB of /tmp": {"duration_ms": 2_000, "memory_mb": 1_769, "ephemeral_mb": 4_096},
    "every second job is tried twice": {"retry_rate": 0.5},
    "each writes a file of 1 MB": {"files": 1_000_000},
    "Aurora at half a capacity unit, with its NAT gateway": {"aurora_acu": 0.5},
    "the same with an RDS Proxy": {"aurora_acu": 0.5, "proxy": True},
}


def of_a_million() -> str:
    """Line by line, as `jobs cost` says."""
    items = bill(workload())
    rows = [
        [one.name, _quantity(one.quantity), one.price.unit, _usd(one.list_usd), _usd(one.due_usd), one.formula]
        for one in items
    ]
    rows.append(["**together**", "", "", f"**{_usd(_list(items))}**", f"**{_usd(_due(items))}**", ""])
    return table(["item", "quantity", "unit", "list USD", "due USD", "how it is counted"], rows)


def by_size() -> str:
    """The sum for more jobs, and for fewer."""
    rows = []
    for jobs in SIZES:
        items = bill(workload(jobs=float(jobs)))
        due = _due(items)
        rows.append([f"{jobs:,}", _usd(_list(items)), _usd(due), f"{due / jobs * 1_000:.3f}"])
    return table(["jobs in a month", "list USD", "due USD", "due USD for 1,000 jobs"], rows)


def variations() -> str:
    """A million under other conditions."""
    rows = []
    for name, said in VARIATIONS.items():
        items = bill(workload(**said))
        rows.append([name, _usd(_list(items)), _usd(_due(items))])
    return table(["a million jobs, and", "list USD", "due USD"], rows)


def sources() -> str:
    """Each price, where it is written, and where it was read."""
    known = [value for value in vars(prices).values() if isinstance(value, Price)]
    rows = [
        [
            f"{one.usd:g} USD for {one.per:,.0f} {one.unit}{'s' if one.per > 1 else ''}",
            f"{one.free:,.0f}" if one.free else "–",
            f"<{one.source}>",
            "from memory" if one.from_memory else f"[a stored copy]({one.copy})" if one.copy else "–",
        ]
        for one in known
    ]
    return table(["price", "free each month", "written at", "read in"], rows)


def _list(items: list[Item]) -> float:
    return sum(one.list_usd for one in items)


def _due(items: list[Item]) -> float:
    return sum(one.due_usd for one in items)


def _usd(amount: float) -> str:
    return f"{amount:,.2f}"


def _quantity(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:,.2f}".rstrip("0").rstrip(".")
