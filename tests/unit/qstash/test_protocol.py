"""The list of what the server offers is whole, and each line of it is shown by a test."""

from __future__ import annotations

import re

from infra.docs.local_qstash import protocol
from infra.local.qstash.app import ROUTES
from infra.local.qstash.options import OPTIONS
from tests.conftest import ROOT

ENTRIES = [entry for entries in protocol().values() for entry in entries]


def test_every_line_is_shown_or_explained() -> None:
    """What is offered names tests that exist; what differs or is missing says how or why."""
    written = "\n".join(path.read_text() for path in (ROOT / "tests/integration/qstash").glob("test_*.py"))
    tests = set(re.findall(r"^def (test_\w+)", written, re.MULTILINE))
    for entry in ENTRIES:
        assert entry["here"] in {"supported", "deviates", "not offered"}
        assert (entry["here"] == "not offered") == (not entry.get("shown_by")), entry["what"]
        assert entry["here"] == "supported" or entry["why"], entry["what"]
        assert set(entry.get("shown_by", ())) <= tests, entry["what"]


def test_every_endpoint_is_listed() -> None:
    """Each route of the API, whatever its parameters are called; `/reset` and its like stand behind a comma."""
    listed = {_shape(path) for entry in ENTRIES for path in _paths(entry["what"]) if entry["here"] != "not offered"}
    served = {_shape(route.path.rstrip("/")) for route in ROUTES if route.path.startswith("/v2/")}
    assert served - listed == set()


def test_every_header_is_listed() -> None:
    """Each that a publication may have."""
    listed = " ".join(entry["what"].lower() for entry in ENTRIES)
    assert [name for name in OPTIONS if name not in listed] == []


def _paths(what: str) -> list[str]:
    """`POST /v2/queues/{name}/pause, /resume` are two."""
    found: list[str] = []
    for path in re.findall(r"/\S+", what.replace(",", " ")):
        found.append(path if path.startswith("/v2/") else found[-1].rpartition("/")[0] + path)
    return found


def _shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}?", "{}", path).lower()
